"""The caller's audio in even pieces, and what becomes of it when nobody reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from voicecall.audio import Transcoder
from voicecall.errors import NotConnected
from voicecall.ports import ULAW_8K, AudioFormat
from voicecall.session.raw_audio import CallerAudio, RawAudio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.unit


class Path:
    """An audio path that only listens."""

    audio = ULAW_8K

    def __init__(self) -> None:
        self.sink: Callable[[bytes], None] | None = None

    def listen(self, sink: Callable[[bytes], None] | None, *, coded: bool = False) -> None:
        assert not coded
        self.sink = sink


async def read(audio: CallerAudio) -> list[bytes]:
    return [chunk async for chunk in audio]


def test_pieces_are_of_20_ms_however_they_arrive() -> None:
    audio = CallerAudio(8000)
    for size in (100, 540, 321, 319, 10):
        audio.offer(bytes(size))
    audio.end()
    assert [len(chunk) for chunk in asyncio.run(read(audio))] == [320] * 4


def test_of_what_is_not_read_the_newest_five_seconds_are_kept() -> None:
    audio = CallerAudio(8000)
    for n in range(252):
        audio.offer(bytes([n]) * 320)
    audio.end()
    chunks = asyncio.run(read(audio))
    assert audio.dropped == 2
    assert len(chunks) == 250
    assert (chunks[0][0], chunks[-1][0]) == (2, 251)


def test_a_reader_waits_for_what_comes_and_ends_with_the_call() -> None:
    async def case() -> None:
        audio = CallerAudio(8000)
        reading = asyncio.create_task(read(audio))
        await asyncio.sleep(0)
        audio.offer(bytes(320))
        await asyncio.sleep(0)
        audio.end()
        assert await reading == [bytes(320)]

    asyncio.run(case())


def test_each_listener_has_its_rate_and_a_recogniser_keeps_the_path() -> None:
    raw = RawAudio("c-1", Transcoder)
    early = raw.listen(8000)
    path: Any = Path()
    raw.attach(path, None)
    assert path.sink is not None
    path.sink(bytes(320))
    # Now somebody recognises speech, and passes on what is coded.
    path.sink = None
    raw.attach(path, ULAW_8K)
    late = raw.listen(16_000)
    assert path.sink is None
    for _ in range(3):
        raw.hear(bytes([0xFF]) * 160)
    raw.close()
    assert len(asyncio.run(read(early))) == 4
    heard = asyncio.run(read(late))
    assert 2 <= len(heard) <= 3
    assert {len(chunk) for chunk in heard} == {640}
    assert late.format == AudioFormat("pcm16", 16_000)


def test_on_a_call_that_is_over_there_is_nothing_to_hear_or_to_play() -> None:
    async def sound() -> AsyncIterator[bytes]:
        yield bytes(320)

    async def case() -> None:
        raw = RawAudio("c-1", Transcoder)
        raw.close()
        assert await read(raw.listen(8000)) == []
        floor: Any = None
        with pytest.raises(NotConnected):
            await raw.play(sound(), 8000, floor)
        raw.clear()

    asyncio.run(case())
