"""How long callers waited for answers, and we for callers: counted up over the turns of calls."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from voicecall.call.machine import TURNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voicecall.call.record import CallRecord

STEPS: Final = ("finalMs", "firstTokenMs", "firstAudioMs", "firstFrameMs")
"""The steps of an answer in order, as a turn's measurements name them."""

_MEDIAN: Final = 50
_HIGH: Final = 95


def latencies(records: Sequence[CallRecord]) -> dict[str, Any]:
    """What the turns of some calls took.

    Args:
        records: the calls.

    Returns:
        `calls` and `turns`, how many there were; `turnLatencyMs`, from the caller's last word to
        the first sound of the answer; `listenWaitMs`, from the bot's last word until the caller had
        answered; and `steps` by name, what a turn's latency is made of. Each is summed up by
        `summary`, in milliseconds.
    """
    turns = [turn for record in records for turn in record.metadata.get(TURNS, ())]
    return {
        "calls": len(records),
        "turns": len(turns),
        "turnLatencyMs": summary(_measured(turns, "latencyMs")),
        "listenWaitMs": summary(_measured(turns, "listenWaitMs")),
        "steps": {step: summary(_measured(turns, step)) for step in STEPS},
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """`count`, `min`, `max`, `avg`, `p50` and `p95` of some values; without any, only `count`.

    Percentiles are values that occur: the smallest that so many in a hundred do not exceed.
    """
    if not values:
        return {"count": 0}
    ordered = sorted(values)
    return {
        "count": len(ordered),
        "min": ordered[0],
        "max": ordered[-1],
        "avg": round(math.fsum(ordered) / len(ordered), 3),
        "p50": _percentile(ordered, _MEDIAN),
        "p95": _percentile(ordered, _HIGH),
    }


def _percentile(ordered: Sequence[float], percent: int) -> float:
    # Whole numbers: 0.95 * 20 is more than 19.
    rank = -(-percent * len(ordered) // 100)
    return ordered[rank - 1]


def _measured(turns: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [turn[name] for turn in turns if name in turn]
