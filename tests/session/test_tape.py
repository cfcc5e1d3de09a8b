from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import run
from tests.speech.signals import silence, tone
from voicecall.ports import PCM16_8K
from voicecall.session.tape import AHEAD_MS, Tape

pytestmark = pytest.mark.unit

OCTETS_PER_MS = 16


def sound(ms: int, seed: int = 0) -> bytes:
    """Audio in which every place looks different from its neighbours."""
    return bytes((seed + 7 * at) % 251 for at in range(ms * OCTETS_PER_MS))


async def filled(*pieces: bytes) -> Tape:
    tape = Tape(PCM16_8K)
    for piece in pieces:
        await tape.put(piece)
    tape.finish()
    return tape


async def rest(tape: Tape) -> bytes:
    read = b""
    while (audio := await tape.get()) is not None:
        read += audio
    return read


def test_what_is_put_on_it_is_read_from_it_a_second_at_a_time() -> None:
    async def case() -> None:
        tape = await filled(sound(1500), sound(700, 3))
        first = await tape.get()
        assert first == sound(1000)
        assert first + await rest(tape) == sound(1500) + sound(700, 3)
        assert tape.end == 2200 * OCTETS_PER_MS

    run(case())


def test_the_reader_waits_for_more_and_is_told_of_the_end() -> None:
    async def case() -> None:
        tape = Tape(PCM16_8K)
        reading = asyncio.create_task(tape.get())
        await asyncio.sleep(0)
        await tape.put(b"ab")
        assert await reading == b"ab"
        reading = asyncio.create_task(tape.get())
        await asyncio.sleep(0)
        tape.finish()
        assert await reading is None

    run(case())


def test_the_voice_waits_while_enough_is_unread() -> None:
    async def case() -> None:
        tape = Tape(PCM16_8K)
        putting = asyncio.create_task(tape.put(silence(AHEAD_MS + 20)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not putting.done()
        await tape.get()
        await putting

    run(case())


def test_while_it_is_stopped_nothing_is_read() -> None:
    async def case() -> None:
        tape = await filled(sound(100))
        tape.stop()
        reading = asyncio.create_task(tape.get())
        await asyncio.sleep(0)
        assert not reading.done()
        tape.resume(0)
        assert await reading == sound(100)

    run(case())


def test_it_is_taken_up_again_a_fifth_of_a_second_before_what_was_heard() -> None:
    async def case() -> None:
        spoken = tone(2000)
        tape = await filled(spoken)
        await rest(tape)
        tape.stop()
        start = tape.resume(1000 * OCTETS_PER_MS)
        assert start == 800 * OCTETS_PER_MS
        assert await rest(tape) == spoken[start:]

    run(case())


def test_it_is_taken_up_again_in_a_pause_if_there_was_one_shortly_before() -> None:
    async def case() -> None:
        tape = await filled(tone(500) + silence(60) + tone(1000))
        assert tape.resume(1000 * OCTETS_PER_MS) == 540 * OCTETS_PER_MS
        # Too long ago.
        assert tape.resume(1200 * OCTETS_PER_MS) == 1000 * OCTETS_PER_MS

    run(case())


def test_at_the_very_beginning_there_is_nothing_to_step_back_to() -> None:
    async def case() -> None:
        tape = await filled(tone(500))
        assert tape.resume(60 * OCTETS_PER_MS) == 0

    run(case())


def test_what_was_heard_to_its_end_is_not_repeated() -> None:
    async def case() -> None:
        tape = await filled(tone(505))
        assert await rest(tape)
        tape.stop()
        assert tape.resume(505 * OCTETS_PER_MS - 8) == tape.end
        assert await tape.get() is None

    run(case())


def test_what_was_heard_long_ago_is_forgotten() -> None:
    async def case() -> None:
        spoken = tone(4500)
        tape = await filled(spoken)
        await rest(tape)
        tape.forget(4000 * OCTETS_PER_MS)
        assert tape.end == len(spoken)
        assert tape.levels(4500 * OCTETS_PER_MS, 1000) == tape.levels(4500 * OCTETS_PER_MS, 75)
        start = tape.resume(4000 * OCTETS_PER_MS)
        assert await rest(tape) == spoken[start:]

    run(case())


def test_it_knows_how_loud_it_was_before_a_place() -> None:
    async def case() -> None:
        tape = await filled(silence(40) + tone(40, 3277, hz=100) + silence(40))
        assert tape.levels(80 * OCTETS_PER_MS, 3) == pytest.approx([-96, -23, -23], abs=0.1)
        assert tape.levels(20 * OCTETS_PER_MS, 3) == [-96]
        assert tape.levels(0, 3) == []

    run(case())
