from __future__ import annotations

import asyncio
import time

import pytest

from tests.media.plane import run
from voicecall._codec import CallableOutlet, MediaStream, Pacer, WireFormat, Workspace
from voicecall.clock import SystemClock
from voicecall.media.ticker import MediaTicker

pytestmark = pytest.mark.unit


class Listener:
    """A stream that records when its audio leaves."""

    def __init__(self) -> None:
        self.left_s: list[float] = []
        self.pacer = Pacer(8000, 0xFF, 20, 40, 1)
        self.stream = MediaStream(Workspace(), self)
        self.stream.connect(CallableOutlet(lambda _: self.left_s.append(time.monotonic())))
        self.stream.begin("ulaw", WireFormat(b"[", b"]", b"(", b")", b"x"), self.pacer)


def test_every_stream_is_served_once_a_period_while_it_is_there() -> None:
    async def case() -> None:
        ticker = MediaTicker(SystemClock())
        listeners = [Listener() for _ in range(5)]
        for each in listeners:
            each.stream.write(b"\x55" * 4000, time.monotonic_ns())
            ticker.add(each.stream)
        await asyncio.sleep(0.2)
        for each in listeners:
            assert len(each.left_s) == pytest.approx(12, abs=2)
            ticker.discard(each.stream)
        assert len(ticker) == 0
        await asyncio.sleep(0.02)
        sent = [len(each.left_s) for each in listeners]
        assert ticker._handle is None
        await asyncio.sleep(0.05)
        assert [len(each.left_s) for each in listeners] == sent

    run(case())


def test_it_goes_on_after_a_rest_and_after_a_stop() -> None:
    async def case() -> None:
        ticker = MediaTicker(SystemClock())
        for stop in (False, True):
            listener = Listener()
            listener.stream.write(b"\x55" * 800, time.monotonic_ns())
            ticker.add(listener.stream)
            await asyncio.sleep(0.15)
            assert listener.pacer.queued_octets == 0
            ticker.discard(listener.stream)
            if stop:
                ticker.stop()
            else:
                await asyncio.sleep(0.02)
            assert ticker._handle is None

    run(case())
