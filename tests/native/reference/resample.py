"""Resampling by the sampling theorem, and what the resampler's number formats have to do."""

import math

HALF_WIDTH = 64


def rounded(value: float) -> int:
    """To nearest, half to even, within 16 bits."""
    return max(-32768, min(32767, round(value)))


def windowed_sinc(x: float) -> float:
    if abs(x) >= HALF_WIDTH:
        return 0.0
    sinc = 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)
    return sinc * (0.5 + 0.5 * math.cos(math.pi * x / HALF_WIDTH))


def sample_at(samples: list[int], position: float) -> float:
    """The sound between the samples: the sum of the sinc functions of those around the position."""
    first, end = int(position) - HALF_WIDTH, int(position) + HALF_WIDTH + 1
    near = range(max(0, first), min(len(samples), end))
    return sum(samples[i] * windowed_sinc(i - position) for i in near)
