"""How long each step of answering the caller took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.clock import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class TurnTiming:
    """When each step of one turn happened, in monotonic nanoseconds; None while it has not.

    Attributes:
        caller_stopped_ns: the caller's last speech.
        final_ns: the final transcript of it arrived.
        first_token_ns: the first piece of the reply's text.
        first_audio_ns: the first octets of synthesized audio.
        first_frame_ns: the first audio was handed to the carrier's socket.
    """

    caller_stopped_ns: int | None = None
    final_ns: int | None = None
    first_token_ns: int | None = None
    first_audio_ns: int | None = None
    first_frame_ns: int | None = None

    @property
    def latency_ms(self) -> float | None:
        """From the caller's last speech to the bot's first audio, in milliseconds."""
        return _between_ms(self.caller_stopped_ns, self.first_frame_ns)

    @property
    def first_audio_ms(self) -> float | None:
        """From the transcript that is answered to the bot's first audio, in milliseconds."""
        return _between_ms(self.final_ns, self.first_frame_ns)

    def to_json(self) -> Mapping[str, float]:
        """The steps that are known, in milliseconds: each from the one before, and the total."""
        steps = {
            "finalMs": _between_ms(self.caller_stopped_ns, self.final_ns),
            "firstTokenMs": _between_ms(self.final_ns, self.first_token_ns),
            "firstAudioMs": _between_ms(self.first_token_ns, self.first_audio_ns),
            "firstFrameMs": _between_ms(self.first_audio_ns, self.first_frame_ns),
            "latencyMs": self.latency_ms,
        }
        return {name: ms for name, ms in steps.items() if ms is not None}


def _between_ms(earlier_ns: int | None, later_ns: int | None) -> float | None:
    if earlier_ns is None or later_ns is None:
        return None
    return round((later_ns - earlier_ns) / NS_PER_MS, 3)
