"""Keys as a telephone's own tones, for lines on which a carrier cannot send them without harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from voicecall.audio import dtmf_tones, from_pcm16
from voicecall.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voicecall.ports import AudioFormat

KEYS_MAX: Final = 128
# Receivers need 40 ms of each; what carriers' gateways pass on unharmed is longer.
TONE_MS: Final = 100
GAP_MS: Final = 100


def key_tones(digits: str, audio: AudioFormat) -> Iterator[bytes]:
    """What keys sound like, coded as `audio`.

    Args:
        digits: up to 128 of `0`-`9`, `A`-`D`, `*`, `#`; `w` is a pause of 500 ms, `W` of 1000 ms.
        audio: the line's format, at 8 to 48 kHz.

    Returns:
        One piece for each of `digits`, made when it is asked for: 100 ms of tone and 100 ms of
        silence, or a pause.

    Raises:
        InvalidRequest: they are too many.
        CodecError: one of them is no key; raised when its turn comes.

    Source: ITU-T Q.23 for the tones, Q.24, annex A, for their length and level.
    """
    if len(digits) > KEYS_MAX:
        raise InvalidRequest(f"at most {KEYS_MAX} keys are sent at once")
    return (
        from_pcm16(dtmf_tones(key, audio.rate_hz, TONE_MS, GAP_MS), audio.encoding)
        for key in digits
    )
