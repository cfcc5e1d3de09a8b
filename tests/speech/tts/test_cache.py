from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from tests.speech.tts.sockets import until
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import ULAW_8K, AudioFormat
from voicecall.speech.tts.cache import CachedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.unit

SECOND = b"x" * ULAW_8K.octets_per_second


class Engine:
    """Says what it is given, as far as the test lets it."""

    def __init__(self, *pieces: bytes, failure: Exception | None = None) -> None:
        self.pieces = deque(pieces)
        self.failure = failure
        self.texts: list[str] = []
        self.made = 0
        self.stopped = 0
        self.closed = False
        self.prepared = False
        self.going = asyncio.Event()
        self.going.set()

    @property
    def output(self) -> AudioFormat:
        return ULAW_8K

    async def prepare(self) -> None:
        self.prepared = True

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        self.texts.append(text)
        complete = False
        try:
            for piece in tuple(self.pieces) or (text.encode(),):
                self.made += 1
                yield piece
                await self.going.wait()
            if self.failure is not None:
                raise self.failure
            complete = True
        finally:
            self.stopped += not complete

    async def close(self) -> None:
        self.closed = True


async def all_of(voice: CachedTextToSpeech, text: str = "Hello.") -> bytes:
    return b"".join([piece async for piece in voice.synthesize(text)])


def test_what_was_said_is_said_again_without_the_engine() -> None:
    async def case() -> None:
        engine = Engine()
        voice = CachedTextToSpeech(engine, 1000)
        await voice.prepare()
        assert engine.prepared
        assert voice.output == ULAW_8K
        for _ in range(3):
            assert await all_of(voice, "Hello.") == b"Hello."
        assert engine.texts == ["Hello."]
        assert (voice.hits, voice.misses, voice.kept_octets) == (2, 1, 6)
        await voice.close()
        assert engine.closed

    asyncio.run(case())


def test_what_is_kept_is_delivered_in_pieces_of_at_most_200_ms() -> None:
    async def case() -> None:
        voice = CachedTextToSpeech(Engine(SECOND), len(SECOND))
        assert [len(piece) async for piece in voice.synthesize("Hello.")] == [8000]
        assert [len(piece) async for piece in voice.synthesize("Hello.")] == [1600] * 5
        await voice.close()

    asyncio.run(case())


def test_the_one_that_was_not_used_for_longest_goes_first() -> None:
    async def case() -> None:
        engine = Engine()
        voice = CachedTextToSpeech(engine, 3)
        for text in ("a", "b", "c", "a", "d"):
            await all_of(voice, text)
        assert voice.kept_octets == 3
        engine.texts.clear()
        for text in ("a", "c", "d", "b"):
            await all_of(voice, text)
        assert engine.texts == ["b"]
        await voice.close()

    asyncio.run(case())


@pytest.mark.parametrize(
    ("pieces", "octets"),
    [([b"12345"], 4), ([SECOND] * 31, 100 * len(SECOND)), ([b"x"], 0), ([b""], 10)],
)
def test_what_is_too_long_or_nothing_is_not_kept(pieces: list[bytes], octets: int) -> None:
    async def case() -> None:
        engine = Engine(*pieces)
        voice = CachedTextToSpeech(engine, octets)
        for _ in range(2):
            assert await all_of(voice) == b"".join(pieces)
        assert engine.texts == ["Hello.", "Hello."]
        assert voice.kept_octets == 0
        await voice.close()

    asyncio.run(case())


def test_thirty_seconds_are_kept() -> None:
    async def case() -> None:
        engine = Engine(*[SECOND] * 30)
        voice = CachedTextToSpeech(engine, 30 * len(SECOND))
        await all_of(voice)
        await all_of(voice)
        assert engine.texts == ["Hello."]
        await voice.close()

    asyncio.run(case())


def test_everybody_who_wants_the_same_text_shares_one_synthesis() -> None:
    async def case() -> None:
        engine = Engine(b"a", b"b")
        engine.going.clear()
        voice = CachedTextToSpeech(engine, 1000)
        early = voice.synthesize("Hello.")
        assert await anext(early) == b"a"
        late = asyncio.ensure_future(all_of(voice))
        other = asyncio.ensure_future(all_of(voice, "Good-bye."))
        await asyncio.sleep(0)
        engine.going.set()
        assert await late == b"ab"
        assert [piece async for piece in early] == [b"b"]
        await other
        assert engine.texts == ["Hello.", "Good-bye."]
        await voice.close()

    asyncio.run(case())


def test_who_leaves_early_does_not_spoil_it_for_others() -> None:
    async def case() -> None:
        engine = Engine(b"a", b"b")
        engine.going.clear()
        voice = CachedTextToSpeech(engine, 1000)
        first = voice.synthesize("Hello.")
        await anext(first)
        second = asyncio.ensure_future(all_of(voice))
        await asyncio.sleep(0)
        await first.aclose()
        engine.going.set()
        assert await second == b"ab"
        assert await all_of(voice) == b"ab"
        assert engine.texts == ["Hello."]
        assert engine.stopped == 0
        await voice.close()

    asyncio.run(case())


def test_the_last_to_leave_stops_the_synthesis_and_nothing_is_kept() -> None:
    async def case() -> None:
        engine = Engine(b"a", b"b")
        engine.going.clear()
        voice = CachedTextToSpeech(engine, 1000)
        async with aclosing(voice.synthesize("Hello.")) as pieces:
            await anext(pieces)
        assert engine.stopped == 1
        engine.going.set()
        assert await all_of(voice) == b"ab"
        assert engine.texts == ["Hello.", "Hello."]
        await voice.close()

    asyncio.run(case())


def test_a_listener_that_is_cancelled_stops_the_synthesis() -> None:
    async def case() -> None:
        engine = Engine(b"a", b"b")
        engine.going.clear()
        voice = CachedTextToSpeech(engine, 1000)
        task = asyncio.ensure_future(all_of(voice))
        await until(lambda: engine.made)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.stopped == 1
        await voice.close()

    asyncio.run(case())


def test_failures_are_told_to_everybody_and_not_kept() -> None:
    async def case() -> None:
        engine = Engine(b"a", failure=SpeechError("no", retryable=True, status=7))
        engine.going.clear()
        voice = CachedTextToSpeech(engine, 1000)
        tasks = [asyncio.ensure_future(all_of(voice)) for _ in range(2)]
        await until(lambda: engine.made)
        engine.going.set()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        for error in errors:
            assert isinstance(error, SpeechError)
            assert (str(error), error.retryable, error.status) == ("no", True, 7)
        # Each its own, as a traceback belongs to a call.
        assert errors[0] is not errors[1]
        engine.failure = None
        assert await all_of(voice) == b"a"
        assert len(engine.texts) == 2
        await voice.close()

    asyncio.run(case())


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (DependencyMissing("pip install it"), DependencyMissing),
        (ZeroDivisionError("a bug"), SpeechError),
    ],
)
def test_other_failures_are_told_as_what_the_port_allows(
    failure: Exception, told: type[Exception]
) -> None:
    async def case() -> None:
        voice = CachedTextToSpeech(Engine(b"a", failure=failure), 1000)
        with pytest.raises(told):
            await all_of(voice)
        await voice.close()

    asyncio.run(case())


def test_pieces_are_heard_as_they_are_made() -> None:
    async def case() -> None:
        engine = Engine(b"a", b"b")
        engine.going.clear()
        voice = CachedTextToSpeech(engine, 1000)
        pieces = voice.synthesize("Hello.")
        assert await anext(pieces) == b"a"
        assert engine.made == 1
        engine.going.set()
        assert [piece async for piece in pieces] == [b"b"]
        await voice.close()

    asyncio.run(case())


def test_of_a_long_text_no_more_waits_than_thirty_seconds_of_the_slowest_listener() -> None:
    async def case() -> None:
        engine = Engine(*[SECOND] * 100)
        engine.going.clear()
        voice = CachedTextToSpeech(engine, 1000 * len(SECOND))
        slow, fast = voice.synthesize("Hello."), voice.synthesize("Hello.")
        assert await anext(slow) == await anext(fast) == SECOND
        engine.going.set()
        for _ in range(31):
            await anext(fast)
        waiting = asyncio.ensure_future(anext(fast))
        await asyncio.wait({waiting}, timeout=0.02)
        assert not waiting.done()
        assert engine.made == 32
        # Its beginning is gone: somebody else gets a synthesis of their own.
        async with aclosing(voice.synthesize("Hello.")) as other:
            assert await anext(other) == SECOND
        assert engine.texts == ["Hello.", "Hello."]
        await anext(slow)
        await waiting
        await slow.aclose()
        assert len([piece async for piece in fast]) == 67
        assert voice.kept_octets == 0
        await voice.close()

    asyncio.run(case())


def test_a_text_can_be_made_ready_before_it_is_wanted() -> None:
    async def case() -> None:
        engine = Engine()
        voice = CachedTextToSpeech(engine, 1000)
        await voice.warm("Hello.")
        await voice.warm("Hello.")
        assert engine.texts == ["Hello."]
        assert await all_of(voice) == b"Hello."
        assert (voice.hits, engine.texts) == (1, ["Hello."])
        engine.failure = SpeechError("no")
        with pytest.raises(SpeechError, match="no"):
            await voice.warm("Good-bye.")
        await voice.close()

    asyncio.run(case())


def test_somebody_who_wants_it_while_it_is_made_ready_joins_in() -> None:
    async def case() -> None:
        engine = Engine(b"a", b"b")
        engine.going.clear()
        voice = CachedTextToSpeech(engine, 1000)
        warming = asyncio.ensure_future(voice.warm("Hello."))
        await until(lambda: engine.made)
        pieces = voice.synthesize("Hello.")
        assert await anext(pieces) == b"a"
        engine.going.set()
        await warming
        assert [piece async for piece in pieces] == [b"b"]
        assert engine.texts == ["Hello."]
        await voice.close()

    asyncio.run(case())


def test_closing_ends_what_is_being_made_and_then_refuses() -> None:
    async def case() -> None:
        engine = Engine(b"a", b"b")
        engine.going.clear()
        voice = CachedTextToSpeech(engine, 1000)
        begun = voice.synthesize("Hello.")
        await anext(begun)
        # Its task has not even begun when everything is closed.
        asked = asyncio.ensure_future(all_of(voice, "Good-bye."))
        await until(lambda: len(voice._tasks) == 2)
        await voice.close()
        for broken in (anext(begun), asked, all_of(voice)):
            with pytest.raises(SpeechError, match="was closed"):
                await broken
        assert engine.closed
        assert engine.stopped >= 1

    asyncio.run(case())
