"""Resampling by the sampling theorem, and the resampler's own filter in floating point."""

import math
from functools import cache

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


# --- the resampler's filter, weighed sample by sample ---

LOWER_SAMPLES = 32
STEP = 16
KAISER_BETA = 7.5


def bessel(x: float) -> float:
    """The modified Bessel function of the first kind and order 0."""
    return sum((x / 2) ** (2 * k) / math.factorial(k) ** 2 for k in range(40))


def taps_of(in_hz: int, out_hz: int) -> int:
    """How many samples each output weighs."""
    taps = math.ceil(LOWER_SAMPLES * max(in_hz, out_hz) / out_hz)
    return math.ceil(taps / STEP) * STEP


@cache
def weights(in_hz: int, out_hz: int, phase: int) -> tuple[float, ...]:
    """Of the samples around an output that many parts of a sample behind one of them."""
    taps = taps_of(in_hz, out_hz)
    cutoff = min(1, out_hz / in_hz)
    parts = out_hz // math.gcd(in_hz, out_hz)
    exact = []
    for k in range(taps):
        distance = phase / parts + taps // 2 - 1 - k
        angle = math.pi * cutoff * distance
        sinc = 1.0 if angle == 0 else math.sin(angle) / angle
        edge = distance / (taps / 2)
        exact.append(sinc * bessel(KAISER_BETA * math.sqrt(max(0, 1 - edge**2))))
    return tuple(weight / sum(exact) for weight in exact)


def converted(samples: list[int], in_hz: int, out_hz: int) -> list[int]:
    """The whole stream at the other rate, with silence before and after it."""
    taps = taps_of(in_hz, out_hz)
    common = math.gcd(in_hz, out_hz)
    parts, advance = out_hz // common, in_hz // common
    padded = [0] * (taps // 2 - 1) + samples + [0] * (taps // 2)
    outputs = []
    for n in range(-(-len(samples) * parts // advance)):
        first, phase = divmod(n * advance, parts)
        near = padded[first : first + taps]
        pairs = zip(near, weights(in_hz, out_hz, phase), strict=True)
        outputs.append(rounded(sum(sample * weight for sample, weight in pairs)))
    return outputs
