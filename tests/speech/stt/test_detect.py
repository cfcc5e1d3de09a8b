from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from voicecall.clock import ManualClock
from voicecall.ports import PCM16_8K, ULAW_8K
from voicecall.speech.stt.detect import Detection

if TYPE_CHECKING:
    from voicecall.errors import SpeechError

pytestmark = pytest.mark.unit


class Owner:
    """Looks for the letter x."""

    def __init__(self) -> None:
        self.looked: list[tuple[bytes, int]] = []
        self.threads: set[int] = set()
        self.found: list[int] = []
        self.failures: list[SpeechError] = []
        self.came = asyncio.Event()

    def look(self, audio: bytes, arrived_ns: int) -> list[int]:
        self.threads.add(threading.get_ident())
        self.looked.append((audio, arrived_ns))
        if b"!" in audio:
            raise ZeroDivisionError
        return [index for index, octet in enumerate(audio) if octet == ord("x")]

    def deliver(self, found: list[int]) -> None:
        self.found += found
        self.came.set()

    def fail(self, error: SpeechError) -> None:
        self.failures.append(error)
        self.came.set()

    def detection(
        self, worker: ThreadPoolExecutor, clock: ManualClock | None = None
    ) -> Detection[int]:
        return Detection(
            self.look,
            self.deliver,
            self.fail,
            worker=worker,
            clock=clock or ManualClock(now_ns=7),
            audio=ULAW_8K,
        )


async def idle(worker: ThreadPoolExecutor) -> None:
    """Once everything submitted was done, and what it found delivered."""
    await asyncio.get_running_loop().run_in_executor(worker, int)


def test_audio_is_looked_at_on_the_thread_and_findings_come_to_the_loop() -> None:
    async def case() -> None:
        owner = Owner()
        with ThreadPoolExecutor(1) as worker:
            detection = owner.detection(worker)
            detection.push(b"." * 255 + b"x")
            await asyncio.wait_for(owner.came.wait(), 5)
            assert owner.found == [255]
            assert owner.looked == [(b"." * 255 + b"x", 7)]
            assert threading.get_ident() not in owner.threads
            detection.close()

    asyncio.run(case())


def test_the_thread_is_not_woken_for_less_than_a_window() -> None:
    async def case() -> None:
        owner = Owner()
        with ThreadPoolExecutor(1) as worker:
            detection = owner.detection(worker)
            detection.push(b"x" * 255)
            await idle(worker)
            assert owner.looked == []
            detection.push(b".")
            await idle(worker)
            assert [len(audio) for audio, _ in owner.looked] == [255, 1]
            detection.close()

    asyncio.run(case())


def test_of_audio_that_waits_the_oldest_is_dropped_and_counted() -> None:
    async def case() -> None:
        owner = Owner()
        free = threading.Event()
        with ThreadPoolExecutor(1) as worker:
            detection = owner.detection(worker)
            worker.submit(free.wait, 10)
            for index in range(3):
                detection.push(bytes([index]) * 8000)
            assert detection.dropped_octets == 8000
            free.set()
            await idle(worker)
            assert [audio[0] for audio, _ in owner.looked] == [1, 2]
            detection.close()

    asyncio.run(case())


def test_a_failure_is_told_once_and_nothing_is_looked_at_after_it() -> None:
    async def case() -> None:
        owner = Owner()
        with ThreadPoolExecutor(1) as worker:
            detection = owner.detection(worker)
            detection.push(b"!" * 256)
            await asyncio.wait_for(owner.came.wait(), 5)
            detection.push(b"x" * 256)
            await idle(worker)
            assert [str(failure) for failure in owner.failures] == [
                "voice activity detection failed"
            ]
            assert len(owner.looked) == 1
            detection.close()

    asyncio.run(case())


def test_a_thread_that_is_gone_is_a_failure() -> None:
    async def case() -> None:
        owner = Owner()
        worker = ThreadPoolExecutor(1)
        worker.shutdown()
        detection = owner.detection(worker)
        detection.push(b"x" * 256)
        assert "closed" in str(owner.failures[0])
        detection.close()

    asyncio.run(case())


def test_a_closed_one_looks_at_nothing_and_tells_nothing() -> None:
    async def case() -> None:
        owner = Owner()
        free = threading.Event()
        with ThreadPoolExecutor(1) as worker:
            detection = owner.detection(worker)
            worker.submit(free.wait, 10)
            detection.push(b"x" * 256)
            detection.close()
            free.set()
            detection.push(b"x" * 256)
            await idle(worker)
        assert owner.looked == []
        assert owner.found == []

    asyncio.run(case())


def test_what_was_found_before_the_end_is_not_told_after_it() -> None:
    async def case() -> None:
        owner = Owner()
        with ThreadPoolExecutor(1) as worker:
            detection = owner.detection(worker)
            detection.push(b"x" * 256)
            worker.submit(int).result()
            # Found, and on its way to the loop.
            assert owner.looked
            detection.close()
            await idle(worker)
        assert owner.found == []

    asyncio.run(case())


def test_a_closed_one_does_not_hold_its_owner() -> None:
    async def case() -> None:
        owner = Owner()
        with ThreadPoolExecutor(1) as worker:
            detection = Detection(
                owner.look,
                owner.deliver,
                owner.fail,
                worker=worker,
                clock=ManualClock(),
                audio=PCM16_8K,
            )
            detection.push(b"x" * 512)
            await idle(worker)
            detection.close()
        gone = weakref.ref(owner)
        gc.disable()
        try:
            del owner
            await asyncio.sleep(0)
            assert gone() is None
        finally:
            gc.enable()

    asyncio.run(case())
