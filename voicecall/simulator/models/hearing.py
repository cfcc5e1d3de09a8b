"""How a simulated model hears: whatever format the audio comes in, and where in it speech is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from voicecall.audio import Transcoder
from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat
from voicecall.speech.vad import Endpointer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from voicecall.ports import VoiceActivity
    from voicecall.speech.vad import Endpoint, Endpointing

_G711: Final = {"audio/pcmu": ULAW_8K, "audio/pcma": ALAW_8K}
_REALTIME_PCM_HZ = 24000


def audio_format(coding: Mapping[str, Any] | None) -> AudioFormat:
    """The audio that an `audio/...` object of the vendor's means; PCM at 24 kHz for none."""
    if coding is None:
        return AudioFormat("pcm16", _REALTIME_PCM_HZ)
    known = _G711.get(str(coding["type"]))
    return known or AudioFormat("pcm16", int(coding.get("rate") or _REALTIME_PCM_HZ))


class Hearing:
    """One connection's ears. Time is the audio's own: its start is 0, however fast it comes.

    Args:
        detector: tells speech from other sounds.
        audio: how the audio is coded.
        rules: when speech counts as begun and as over.
    """

    def __init__(self, detector: VoiceActivity, audio: AudioFormat, rules: Endpointing) -> None:
        self._audio = audio
        self._transcoder = Transcoder(audio, PCM16_8K)
        self._endpointer = Endpointer(detector, rules)
        self._octets = 0

    def push(self, audio: bytes) -> list[Endpoint]:
        """Take more audio; what became certain, where times are positions in the audio."""
        self._octets += len(audio)
        end_ns = self._octets * NS_PER_S // self._audio.octets_per_second
        return self._endpointer.push(self._transcoder.convert(audio), end_ns)


def position_ms(at_ns: int) -> int:
    """A position that `Hearing` gave as a time, in milliseconds."""
    return max(0, at_ns // NS_PER_MS)
