"""Audio to listen to: PCM16 at 8 kHz."""

from __future__ import annotations

import numpy as np

from voicecall.audio import from_pcm16

FRAME_OCTETS = 320


def tone(ms: int, level: int = 8000, hz: int = 440) -> bytes:
    times = np.arange(ms * 8) / 8000
    pcm: bytes = (np.sin(2 * np.pi * hz * times) * level).astype("<i2").tobytes()
    return pcm


def silence(ms: int) -> bytes:
    return bytes(ms * 16)


def noise(ms: int, level: float, seed: int = 1) -> bytes:
    samples = np.random.default_rng(seed).normal(0, level, ms * 8)
    pcm: bytes = np.clip(samples, -32768, 32767).astype("<i2").tobytes()
    return pcm


def frames(pcm: bytes) -> list[bytes]:
    return [pcm[start : start + FRAME_OCTETS] for start in range(0, len(pcm), FRAME_OCTETS)]


def as_ulaw(pcm: bytes) -> bytes:
    """As it comes over a mu-law line."""
    return from_pcm16(pcm, "ulaw")
