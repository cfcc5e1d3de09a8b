"""What the media plane has counted, for whoever scrapes it; per-frame code only counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from voicecall.metrics import FRAME_LATENESS, INBOUND_LATENCY, Distribution, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from voicecall._codec import MediaStream, Workspace
    from voicecall.media.admission import Admission
    from voicecall.metrics import Sample

_STREAM_COUNTERS = {
    "messages": ("stream_messages", "Messages received on media sockets."),
    "faults": ("stream_faults", "Messages received on media sockets that were unusable."),
    "octets_in": ("stream_in_octets", "Audio of callers handed on, in octets of the line."),
    "octets_out": ("stream_out_octets", "Audio sent to callers, in octets of the line."),
    "concealed": ("stream_concealed_frames", "Lost frames of callers that were filled in."),
}
_JITTER_COUNTERS = {
    "reordered": ("stream_reordered_frames", "Frames of callers that had to be put in order."),
    "duplicates": ("stream_duplicate_frames", "Frames of callers that came twice."),
    "late": ("stream_late_frames", "Frames of callers that came too late."),
}


class MediaMeasures:
    """Adds up the counters of all streams, those that are gone included.

    Args:
        workspace: keeps the distributions of its event loop.
        admission: counts of sockets.
        refusals: refused sockets by reason.
    """

    def __init__(self, workspace: Workspace, admission: Admission, refusals: Counter[str]) -> None:
        self._workspace = workspace
        self._admission = admission
        self._refusals = refusals
        self._gone: Counter[str] = Counter()
        self._complaints = 0

    def retire(self, stream: MediaStream) -> None:
        """Keep the counts of a stream that ends."""
        self._gone.update(_counts(stream))

    def count_complaint(self) -> None:
        """A carrier could not use something we sent."""
        self._complaints += 1

    def readings(self, streams: Iterable[MediaStream]) -> Iterator[Sample]:
        """Everything counted so far.

        Args:
            streams: those that are open.
        """
        totals = Counter(self._gone)
        for stream in streams:
            totals.update(_counts(stream))
        for name, text in (_STREAM_COUNTERS | _JITTER_COUNTERS).values():
            yield Reading(name, text, "counter", totals[name])
        text = "Messages in which carriers said that they could not use something we sent."
        yield Reading("stream_complaints", text, "counter", self._complaints)
        open_text = "Open media sockets."
        yield Reading("stream_sockets", open_text, "gauge", self._admission.open)
        pending_text = "Open media sockets that have shown no token yet."
        yield Reading("stream_sockets_pending", pending_text, "gauge", self._admission.pending)
        for reason, count in sorted(self._refusals.items()):
            text = "Media sockets that were refused or ended for a fault."
            yield Reading("stream_refusals", text, "counter", count, {"reason": reason})
        bounds_s, late, held = self._workspace.distributions()
        text = "How late audio left, against the moment the carrier ran dry."
        yield Distribution(FRAME_LATENESS, text, bounds_s, late[0], late[1] / 1e9)
        text = "How long a caller's frame waited here before it was handed on."
        yield Distribution(INBOUND_LATENCY, text, bounds_s, held[0], held[1] / 1e9)


def _counts(stream: MediaStream) -> dict[str, int]:
    counts = {name: getattr(stream, field) for field, (name, _) in _STREAM_COUNTERS.items()}
    jitter = stream.jitter
    counts.update({name: getattr(jitter, field) for field, (name, _) in _JITTER_COUNTERS.items()})
    return counts
