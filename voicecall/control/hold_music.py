"""What a caller hears while being held: a soft chord that swells and fades, as a WAV file.

It is computed, so that no recording and no licence comes with the package.
"""

from __future__ import annotations

import io
import math
import wave
from array import array
from functools import cache
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

SAMPLE_RATE_HZ = 8000
CHORD_S = 3
# A minor seventh, F major seventh, C major, G: their notes in Hz.
CHORDS_HZ = (
    (220.0, 261.63, 329.63, 392.0),
    (174.61, 220.0, 261.63, 329.63),
    (196.0, 261.63, 329.63, 392.0),
    (196.0, 246.94, 293.66, 392.0),
)
_PEAK = 6000


async def hold_music(request: Request) -> Response:
    """The music as `audio/x-wav`, PCM16, 8 kHz, mono; it may be looped without a click."""
    del request
    return Response(
        _music(), media_type="audio/x-wav", headers={"cache-control": "public, max-age=86400"}
    )


@cache
def _music() -> bytes:
    samples = array("h")
    length = CHORD_S * SAMPLE_RATE_HZ
    for chord in CHORDS_HZ:
        for n in range(length):
            swell = math.sin(math.pi * n / length) ** 2
            tone = sum(math.sin(2 * math.pi * hz * n / SAMPLE_RATE_HZ) for hz in chord)
            samples.append(round(_PEAK * swell * tone / len(chord)))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE_HZ)
        out.writeframes(samples.tobytes())
    return file.getvalue()
