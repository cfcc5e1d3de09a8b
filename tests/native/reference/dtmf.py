"""The table of ITU-T Q.23, and a detector that looks at a whole recording at once."""

import cmath
import math

from tests.native.reference.g711 import samples_of

ROWS_HZ = (697.0, 770.0, 852.0, 941.0)
COLUMNS_HZ = (1209.0, 1336.0, 1477.0, 1633.0)
KEYPAD = ("123A", "456B", "789C", "*0#D")
KEYS = "".join(KEYPAD)


def frequencies_hz(key: str) -> tuple[float, float]:
    for row_hz, keys in zip(ROWS_HZ, KEYPAD, strict=True):
        if key in keys:
            return row_hz, COLUMNS_HZ[keys.index(key)]
    raise ValueError(key)


def phasor(samples: list[int], hz: float, rate_hz: int) -> complex:
    """The peak and phase of the sine of that frequency, over whole cycles of it."""
    total = sum(
        sample * cmath.exp(-2j * math.pi * hz * i / rate_hz) for i, sample in enumerate(samples)
    )
    return 2j * total / len(samples)


def amplitude(pcm: bytes, hz: float, rate_hz: int) -> float:
    """The peak of the sine of that frequency in the whole recording."""
    return abs(phasor(samples_of(pcm), hz, rate_hz))


def key_of(pcm: bytes, rate_hz: int) -> str:
    """The key whose two tones are strongest, assuming that there is one."""
    row = max(range(4), key=lambda k: amplitude(pcm, ROWS_HZ[k], rate_hz))
    column = max(range(4), key=lambda k: amplitude(pcm, COLUMNS_HZ[k], rate_hz))
    return KEYPAD[row][column]
