from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from voicecall.clock import NS_PER_MS, ManualClock
from voicecall.errors import SpeechError
from voicecall.ports import PartialTranscript
from voicecall.speech.stt.channel import SocketChannel
from voicecall.speech.stt.sending import Piece

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voicecall.ports import SttEvent

pytestmark = pytest.mark.unit


class FakeSocket:
    def __init__(self, *messages: bytes) -> None:
        self.messages = deque(messages)
        self.sent: list[str] = []
        self.closed = False
        self.broken = False

    async def send(self, message: str, /) -> None:
        if self.broken:
            raise SpeechError("broken")
        self.sent.append(message)

    async def receive(self) -> bytes:
        if not self.messages:
            await asyncio.get_running_loop().create_future()
        return self.messages.popleft()

    async def close(self) -> None:
        self.closed = True


class FakeDialect:
    """Every event says a text; time says one too."""

    def __init__(self, *, talks: bool = True) -> None:
        self.deadline_ns: int | None = None
        self.talks = talks

    def audio(self, piece: Piece) -> Sequence[str]:
        return piece.audio.decode().split()

    def rest(self) -> str | None:
        return "rest" if self.talks else None

    def farewell(self) -> str | None:
        return "goodbye" if self.talks else None

    def receive(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        if event["says"] == "over":
            raise SpeechError("over")
        return [PartialTranscript(f"{text} {now_ns}") for text in event["says"]]

    def tick(self, now_ns: int) -> Sequence[SttEvent]:
        self.deadline_ns = None
        return [PartialTranscript(f"time {now_ns}")]


def channel(
    *messages: bytes, dialect: FakeDialect | None = None
) -> tuple[SocketChannel[str], FakeSocket]:
    socket = FakeSocket(*messages)
    return SocketChannel(socket, dialect or FakeDialect(), ManualClock(now_ns=5)), socket


def says(*texts: str) -> bytes:
    return orjson.dumps({"says": texts})


def test_audio_becomes_as_many_messages_as_the_dialect_makes_of_it() -> None:
    async def case() -> None:
        each, socket = channel()
        await each.send(Piece(b"one two", 0))
        await each.send(Piece(b"", 0))
        await each.rest()
        assert socket.sent == ["one", "two", "rest"]

    asyncio.run(case())


def test_a_message_becomes_as_many_events_as_it_means() -> None:
    async def case() -> None:
        each, _ = channel(says("a", "b"), says(), says("c"))
        texts = [await anext(each) for _ in range(3)]
        assert texts == [PartialTranscript(text) for text in ("a 5", "b 5", "c 5")]

    asyncio.run(case())


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"17",
        b"{}",
        b'{"says": 3}',
        b"\xff",
        b'{"says": null}',
    ],
)
def test_a_message_that_makes_no_sense_is_skipped_and_its_content_not_logged(
    nonsense: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        each, _ = channel(nonsense, says("secret"))
        assert await anext(each) == PartialTranscript("secret 5")

    with caplog.at_level(logging.DEBUG, "voicecall"):
        asyncio.run(case())
    assert [record.message for record in caplog.records] == ["a recogniser sent an unusable event"]


def test_the_end_of_the_session_is_raised() -> None:
    async def case() -> None:
        each, _ = channel(b'{"says": "over"}')
        with pytest.raises(SpeechError, match="over"):
            await anext(each)

    asyncio.run(case())


def test_when_nothing_comes_until_the_deadline_time_speaks() -> None:
    async def case() -> None:
        dialect = FakeDialect()
        dialect.deadline_ns = 5 + NS_PER_MS
        each, socket = channel(dialect=dialect)
        assert await asyncio.wait_for(anext(each), 5) == PartialTranscript("time 5")
        socket.messages.append(says("a"))
        assert await asyncio.wait_for(anext(each), 5) == PartialTranscript("a 5")

    asyncio.run(case())


def test_cancelling_the_wait_for_an_event_loses_none() -> None:
    async def case() -> None:
        each, socket = channel()
        waiting = asyncio.ensure_future(anext(each))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        socket.messages.append(says("a"))
        assert await anext(each) == PartialTranscript("a 5")

    asyncio.run(case())


@pytest.mark.parametrize("talks", [True, False])
def test_it_says_goodbye_where_the_vendor_wants_it(*, talks: bool) -> None:
    async def case() -> None:
        each, socket = channel(dialect=FakeDialect(talks=talks))
        await each.rest()
        await each.close()
        assert socket.sent == (["rest", "goodbye"] if talks else [])
        assert socket.closed

    asyncio.run(case())


def test_a_broken_socket_is_closed_without_a_word() -> None:
    async def case() -> None:
        each, socket = channel()
        socket.broken = True
        await each.close()
        assert socket.closed

    asyncio.run(case())
