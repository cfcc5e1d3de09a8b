"""Sounds of a telephone line at 8 kHz, full scale 1.0: made from a seed, none of it recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Sound = npt.NDArray[np.float64]

RATE_HZ = 8000

_BLOCK = 160
_ACTIVE_DB = 25.0
_ONSET_DB = 20.0
_SCALE_HZ = 220 * 2 ** (np.array([0, 2, 4, 7, 9, 12, 14, 16]) / 12)


def levels_dbfs(sound: Sound) -> Sound:
    """The level of each 20 ms."""
    blocks = sound[: len(sound) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    levels: Sound = 10 * np.log10(np.mean(blocks**2, axis=1) + 1e-12)
    return levels


def at_level(sound: Sound, dbfs: float) -> Sound:
    """`sound` with its active parts at `dbfs` on average."""
    levels = levels_dbfs(sound)
    active = levels[levels > levels.max() - _ACTIVE_DB]
    scaled: Sound = sound * 10 ** ((dbfs - 10 * np.log10(np.mean(10 ** (active / 10)))) / 20)
    return scaled


def onset_ms(sound: Sound) -> float:
    """When it begins to be heard: at most 20 dB below its active parts."""
    levels = levels_dbfs(sound)
    active = levels[levels > levels.max() - _ACTIVE_DB]
    return float(np.argmax(levels > active.mean() - _ONSET_DB) * 20)


def silence(ms: float) -> Sound:
    """Nothing."""
    return np.zeros(round(ms * RATE_HZ / 1000))


def noise(samples: int, dbfs: float, rng: np.random.Generator) -> Sound:
    """A line's hiss."""
    return rng.normal(0, 10 ** (dbfs / 20), samples)


def cough(rng: np.random.Generator) -> Sound:
    """One to three bursts of coloured noise that die away."""
    bursts = [np.concatenate([_burst(rng), silence(rng.uniform(80, 250))]) for _ in range(3)]
    return np.concatenate(bursts[: rng.integers(1, 4)])


def _burst(rng: np.random.Generator) -> Sound:
    count = round(rng.uniform(0.15, 0.35) * RATE_HZ)
    times = np.arange(count) / RATE_HZ
    spectrum = np.fft.rfft(rng.normal(size=count))
    hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    spectrum /= 1 + ((hz - rng.uniform(400, 1200)) / 500) ** 2
    decay = np.minimum(times / 0.01, 1) * np.exp(-times / rng.uniform(0.05, 0.12))
    burst: Sound = np.fft.irfft(spectrum, count) * decay
    return burst


def clicks(rng: np.random.Generator) -> Sound:
    """Keys, cups and pens: a few short clatters."""
    pieces = []
    for _ in range(rng.integers(2, 7)):
        count = round(rng.uniform(0.005, 0.03) * RATE_HZ)
        pieces += [rng.normal(size=count) * np.exp(-np.arange(count) / 60)]
        pieces += [silence(rng.uniform(60, 300))]
    return np.concatenate(pieces)


def music(rng: np.random.Generator, seconds: float) -> Sound:
    """Chords of plucked strings, two to four a second."""
    sound = silence(seconds * 1000)
    beat = rng.uniform(0.25, 0.5)
    for start in np.arange(0, seconds, beat):
        first = round(start * RATE_HZ)
        times = np.arange(min(len(sound) - first, round(beat * 1.5 * RATE_HZ))) / RATE_HZ
        envelope = np.exp(-times * 4) * np.minimum(times / 0.01, 1)
        for root_hz in rng.choice(_SCALE_HZ, 3):
            for harmonic in range(1, 5):
                tone = np.sin(2 * np.pi * root_hz * harmonic * times)
                sound[first : first + len(times)] += tone * envelope / harmonic
    return sound
