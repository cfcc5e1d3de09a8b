"""A whole media stream and its twin: messages in, audio out, time passing.

The first octets choose the line and the listener; then every step is a message, well formed or raw
octets of the input, or something that our side does.
"""

import random
from collections.abc import Sequence
from typing import get_args

from tests.fuzz.steps import Steps
from tests.fuzz.target import Target
from tests.native import messages
from tests.native.drivers import StreamDriver
from voicecall.ports import Encoding

ENCODINGS: tuple[Encoding | None, ...] = (*get_args(Encoding), None)


def check(data: bytes) -> None:
    steps = Steps(data)
    encoding = ENCODINGS[steps.number(256) % len(ENCODINGS)]
    driver = StreamDriver(encoding, steps.number(256) % 121, coded=steps.number(256) % 2 == 1)
    number = 0
    while steps:
        kind = steps.number(256) % 16
        if kind < 8:
            number = max(0, number + 1 + (steps.signed(127) if kind == 0 else 0))
            dialect = messages.DIALECTS[kind % 3]
            driver.receive(messages.media_message(audio_of(steps), number, dialect))
        elif kind < 10:
            driver.receive(steps.take(steps.number(512)))
        elif kind == 10:
            driver.write(audio_of(steps))
        elif kind == 11:
            driver.finish()
        elif kind == 12:
            driver.clear()
        else:
            driver.advance_ms(steps.number(256) / 2)
            driver.pump()


def audio_of(steps: Steps) -> bytes:
    """Up to 255 octets that are cheap to describe."""
    return bytes([steps.number(256)]) * steps.number(256)


def seeds() -> Sequence[bytes]:
    source = random.Random(4)
    raw = [messages.any_message(source)[:511] for _ in range(20)]
    spoken = [
        bytes([0, 60, 0]) + b"\x01\x80\xa0" * 3 + b"\x08" + len(said).to_bytes(2, "little") + said
        for said in raw
    ]
    return [bytes([0, 60, 0]) + b"\x01\x80\xa0\x0d\x28" * 30, *spoken]


TARGET = Target(
    check=check,
    allowed=(),
    seeds=seeds,
    tokens=(
        b"\x01\x80\xa0",
        b"\x00\x05\x80\xa0",
        b"\x0d\x28",
        b"\x0b",
        b"\x0c",
        b'"event":"media"',
    ),
)
