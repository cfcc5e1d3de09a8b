"""What the peers say: the gliding tone of `benchmarks.load.target`, ten seconds that repeat."""

import math
import struct

RATE_HZ = 8000
LOOP_S = 10


def tone_pcm16() -> bytes:
    """Ten seconds of 8000 Hz PCM16 that glide between 300 and 900 Hz at -9 dBFS.

    One glide takes the whole loop, so no two frames of 20 ms are the same.
    """
    phase = 0.0
    samples = bytearray()
    for n in range(RATE_HZ * LOOP_S):
        phase += 2 * math.pi * (600 + 300 * math.sin(2 * math.pi * n / RATE_HZ / LOOP_S)) / RATE_HZ
        samples += struct.pack("<h", round(11626 * math.sin(phase)))
    return bytes(samples)
