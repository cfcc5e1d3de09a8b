"""Writes, marks, clears and times, through the pacer and its twin.

The first octets choose its settings; then every step is one operation.
"""

import random
from collections.abc import Sequence

from tests.fuzz.steps import Steps
from tests.fuzz.target import Target
from tests.native.drivers import PacerDriver

LINES = ((8000, 0xFF), (8000, 0xD5), (16000, 0), (32000, 0))
FRAMES_MS = (10, 20, 30, 40, 50, 60)


def driver_of(steps: Steps) -> PacerDriver:
    rate, silence = LINES[steps.number(256) % len(LINES)]
    frame_ms = FRAMES_MS[steps.number(256) % len(FRAMES_MS)]
    lead_ms = frame_ms + steps.number(600)
    group = min(steps.number(256) % 11, lead_ms // frame_ms)
    capacity_ms = frame_ms + steps.number(1000)
    return PacerDriver(rate, silence, frame_ms, lead_ms, group, capacity_ms)


def check(data: bytes) -> None:
    steps = Steps(data)
    driver = driver_of(steps)
    while steps:
        kind = steps.number(256) % 8
        if kind in {0, 1}:
            driver.write(steps.number(2000))
        elif kind in {2, 3}:
            driver.advance_ms(steps.number(256) / 4)
        elif kind == 4:
            driver.finish()
        elif kind == 5:
            driver.mark()
        elif kind == 6 and steps.number(256) < 64:
            driver.clear()
        else:
            driver.pump()
    driver.finish()
    while driver.native.queued_octets:
        driver.pump()
        driver.advance_ms(100)
    driver.pump()


def seeds() -> Sequence[bytes]:
    source = random.Random(3)
    steady = bytes([0, 1, 160, 0, 0, 200, 3]) + b"\x00\xa0\x00\x07\x02\x50" * 30
    return [steady, *(source.randbytes(150) for _ in range(30))]


TARGET = Target(
    check=check,
    allowed=(),
    seeds=seeds,
    tokens=(b"\x00\xa0\x00", b"\x00\x9f\x00", b"\x02\x50", b"\x04", b"\x05", b"\x06\x00", b"\x07"),
)
