"""What may grow, what may not, and by how much: samples in, complaints out."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of the samples, by time: the server is warm after the first part, and judged by the last.
EARLY = (0.1, 0.4)
LATE = (0.7, 1.0)
SAMPLES_MIN = 6


@dataclass(frozen=True, slots=True)
class Bound:
    """How much a number may be higher in the late samples than in the early ones, as medians.

    Attributes:
        name: of the number.
        unit: of it.
        slack: grown by at most so much, or
        share: by at most this part of the early median.
        why: where the slack comes from.
    """

    name: str
    unit: str
    slack: float
    share: float
    why: str


BOUNDS = (
    Bound(
        "residentKib", "KiB", 4096, 0.03, "the allocator spreads over more pages as sockets vary"
    ),
    Bound("openFiles", "", 24, 0.5, "as many sockets are open as callers happen to hold"),
    Bound("threads", "", 4, 0.0, "the HTTP server's runtime starts helpers when it is busy"),
    Bound("tasks", "", 60, 0.5, "a few for each call that happens to be live"),
    Bound("objects", "", 8000, 0.05, "garbage that waits to be collected, and live calls"),
    Bound("blocks", "", 16000, 0.05, "the same, and what it holds"),
    Bound("sockets", "", 24, 0.5, "those of the callers at work"),
    Bound("calls", "", 24, 0.5, "the same"),
)

# Classes whose objects are kept on purpose, and how many at most. Everything else has to be gone
# when the callers are.
REMEMBERED = {
    # The newest 1000 calls that have ended, and their words; a call here has a few turns.
    "voicecall.call.record.CallRecord": 1000,
    "voicecall.call.record.TranscriptEntry": 1000 * 20,
    # The newest 1000 conversations, and their words.
    "voicecall.dialog.history.History": 1000,
    "voicecall.ports.Turn": 1000 * 20,
    # The 10 000 calls hung up last, and the few of the server itself.
    "asyncio.locks.Event": 10_000 + 20,
    # What the watch on each event loop saw when that last stood still.
    "voicecall.isolation.watch._Sight": 4,
    # The members of an enumeration, which makes those of unknown opcodes when it sees them.
    "picows.picows.WSMsgType": 16,
}

# Cyclic garbage that was not found while callers were at work: more than the young generations of
# the collector hold means that something piles up until the server is idle.
UNREACHABLE_MAX = 20_000


def sample(
    at_s: float, process: dict[str, int], census: dict[str, Any], state: dict[str, Any]
) -> dict[str, float]:
    """One line of the record.

    Args:
        at_s: since the callers came.
        process: what the system says of it.
        census: what it says of itself.
        state: what `/readyz` says.
    """
    return {
        "atSeconds": round(at_s, 1),
        **process,
        **{name: census[name] for name in ("tasks", "objects", "blocks")},
        "sockets": state["streams"]["open"],
        "calls": state["calls"]["live"],
    }


def part(samples: Sequence[dict[str, float]], share: tuple[float, float]) -> list[dict[str, float]]:
    """The samples of one part of the time."""
    begin, end = (round(len(samples) * at) for at in share)
    return list(samples[begin:end])


def grown(samples: Sequence[dict[str, float]]) -> list[str]:
    """A sentence for each number that is higher in the end than it may be.

    Raises:
        ValueError: there are too few samples to judge by.
    """
    if len(samples) < SAMPLES_MIN:
        raise ValueError(
            f"{len(samples)} samples are too few to judge by: {SAMPLES_MIN} are needed"
        )
    early, late = part(samples, EARLY), part(samples, LATE)
    complaints = []
    for bound in BOUNDS:
        before = statistics.median(each[bound.name] for each in early)
        after = statistics.median(each[bound.name] for each in late)
        allowed = max(bound.slack, before * bound.share)
        if after > before + allowed:
            unit = f" {bound.unit}" if bound.unit else ""
            complaints.append(
                f"{bound.name} grew from {before:g} to {after:g}{unit}, by more than {allowed:g}"
            )
    return complaints


def left_over(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """A sentence for each thing of which there is more than before, when nobody calls any more.

    Args:
        before: a census, taken after a collection.
        after: likewise.
    """
    then, now = before["classes"], after["classes"]
    counts = [(kind, then.get(kind, 0), count) for kind, count in sorted(now.items())]
    counts.append(("tasks", before["tasks"], after["tasks"]))
    garbage = after["unreachable"]
    piled_up = [f"{garbage} objects of garbage had piled up"] if garbage > UNREACHABLE_MAX else []
    return piled_up + [
        f"{count - allowed} of {kind} are left over"
        for kind, earlier, count in counts
        if count > (allowed := REMEMBERED.get(kind, earlier))
    ]
