from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakeCalls, FakePath, Identity, run, soon, until
from voicecall.clock import ManualClock
from voicecall.errors import NotConnected, SpeechError
from voicecall.ports import PCM16_8K
from voicecall.session.keypad import Dialler, Keypad
from voicecall.session.rendition import Channel
from voicecall.session.unending import Unending
from voicecall.session.work import Work

pytestmark = pytest.mark.unit

TONES = [b"\x01\x00" * 160, b"\x02\x00" * 160]


def test_keys_pressed_in_quick_succession_are_told_together() -> None:
    async def case() -> None:
        told: list[str] = []
        keypad = Keypad(5, told.append)
        for digit in "4711":
            keypad.pressed(digit)
        assert told == []
        await soon(lambda: told)
        keypad.pressed("9")
        await soon(lambda: len(told) == 2)
        assert told == ["4711", "9"]

    run(case())


def test_a_hash_ends_them_at_once() -> None:
    async def case() -> None:
        told: list[str] = []
        keypad = Keypad(60_000, told.append)
        keypad.pressed("1")
        keypad.pressed("#")
        await soon(lambda: told)
        assert told == ["1#"]

    run(case())


def test_of_very_many_keys_the_newest_count() -> None:
    async def case() -> None:
        told: list[str] = []
        keypad = Keypad(5, told.append)
        for digit in "1" * 10 + "2" * 32:
            keypad.pressed(digit)
        await soon(lambda: told)
        assert told == ["2" * 32]

    run(case())


def test_closed_it_tells_nothing() -> None:
    async def case() -> None:
        told: list[str] = []
        keypad = Keypad(0, told.append)
        keypad.pressed("1")
        keypad.close()
        other = Keypad(1, told.append)
        other.pressed("2")
        await soon(lambda: told)
        assert told == ["2"]

    run(case())


class Case:
    def __init__(self, *, instant: bool = True) -> None:
        self.path = FakePath(instant=instant)
        clock = ManualClock()
        channel = Channel(self.path, PCM16_8K, Identity, clock)
        self.output = Unending(channel, on_begin=lambda _: None, on_end=lambda _: None)
        self.work = Work("call-1", FakeCalls(), clock)
        self.dialler = Dialler(self.path, self.output, self.work)

    async def end(self) -> None:
        await self.work.stop()
        await self.work.finish()


def test_keys_are_sounded_when_nothing_else_is_and_heard_before_it_is_told() -> None:
    async def case() -> None:
        this = Case(instant=False)
        async with this.output.hush():
            pressing = asyncio.create_task(this.dialler.press(TONES))
            await asyncio.sleep(0)
            assert not this.path.utterances
        await until(lambda: this.path.utterances and this.path.utterances[0].finished)
        assert this.path.utterances[0].audio == b"".join(TONES)
        assert not pressing.done()
        this.path.utterances[0].play(40)
        await pressing
        await this.end()

    run(case())


def test_keys_that_the_end_of_the_call_cut_were_not_sounded() -> None:
    async def case() -> None:
        this = Case(instant=False)
        pressing = asyncio.create_task(this.dialler.press(TONES))
        await until(lambda: this.path.utterances)
        this.path.close()
        with pytest.raises(NotConnected):
            await pressing
        await this.end()
        with pytest.raises(NotConnected):
            await this.dialler.press(TONES)

    run(case())


def test_a_ninth_sequence_is_refused() -> None:
    async def case() -> None:
        this = Case()
        async with this.output.hush():
            pressing = [asyncio.create_task(this.dialler.press(TONES)) for _ in range(8)]
            await asyncio.sleep(0)
            with pytest.raises(SpeechError):
                await this.dialler.press(TONES)
        await asyncio.gather(*pressing)
        await this.dialler.press(TONES)
        await this.end()

    run(case())
