"""Numbers and times, through the jitter buffer and its twin.

The first two octets choose the delay and where numbers begin; then every step is a jump of the
number and a pause, or a time at which what is due is asked for.
"""

import random
from collections.abc import Sequence

from tests.fuzz.steps import Steps
from tests.fuzz.target import Target
from tests.native.drivers import JitterDriver

STARTS = (0, 1, 65500, 2**31 - 20, 2**32 - 20, 10**17)
JUMPS = (2**16, -(2**16), 2**31, -(2**31), 2**32, 200, -200)


def check(data: bytes) -> None:
    steps = Steps(data)
    driver = JitterDriver(jitter_ms=steps.number(256) % 121)
    number = STARTS[steps.number(256) % len(STARTS)]
    while steps:
        kind = steps.number(256)
        if kind < 32:
            driver.expire()
            driver.assert_nothing_overstayed()
            continue
        number += 1
        if kind < 40:
            number += JUMPS[kind % len(JUMPS)]
        elif kind < 128:
            number += steps.signed(127)
        number = max(0, number)
        driver.push(number)
        driver.advance_ms(steps.number(256) % 41)
    driver.advance_ms(1000)
    driver.expire()
    assert driver.native.held == 0


def seeds() -> Sequence[bytes]:
    source = random.Random(2)
    in_order = bytes([60, 0]) + bytes([200, 20]) * 50
    return [in_order, *(source.randbytes(200) for _ in range(30))]


TARGET = Target(
    check=check,
    allowed=(),
    seeds=seeds,
    tokens=(b"\x00", b"\x20\x00", b"\x80\x7f\x00", b"\x80\x80\x14"),
)
