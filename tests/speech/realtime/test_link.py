from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.speech.realtime.wire import SILENCE_20_MS, FakeSocket, FakeSockets
from voicecall.clock import ManualClock
from voicecall.errors import SpeechError
from voicecall.ports import ULAW_8K, ReplyText, SpeechStopped
from voicecall.speech.realtime.link import Limits, Link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voicecall.ports import SpeechToSpeechEvent

pytestmark = pytest.mark.unit

QUICK = Limits(first_delay_ms=1, max_delay_ms=2, tick_ms=1, send_ms=20)
BROKEN = SpeechError("the line went dead", retryable=True, status=1011)
REFUSED = SpeechError("no such key", status=401)


class Echo:
    """A dialogue that says what it is told."""

    def __init__(self) -> None:
        self.outbox: deque[str] = deque()
        self.ready = False
        self.due = False
        self.quiet = True
        self.expires_ns: int | None = None
        self.asked: list[tuple[str, ...]] = []

    def opened(self, now_ns: int) -> None:
        del now_ns
        self.outbox.append("hello")

    def broken(self, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        self.ready = False
        self.outbox.clear()
        return (SpeechStopped(now_ns),)

    def receive(self, message: bytes, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        if message == b"ready":
            self.ready = True
        if message == b"final":
            raise SpeechError("over", status="over")
        if message == b"bug":
            raise RuntimeError("a bug")
        return (ReplyText("r", message.decode()),)

    def tick(self, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        return ()

    def audio(self, audio: bytes, now_ns: int) -> str:
        del now_ns
        return json.dumps(len(audio))

    def farewell(self) -> str | None:
        return "goodbye" if self.ready else None

    def say(self, text: str) -> None:
        self.asked.append(("say", text))
        self.outbox.append(f"say {text}")

    def prompt(self, text: str) -> None:
        self.asked.append(("prompt", text))

    def cancel(self) -> None:
        self.asked.append(("cancel",))

    def heard(self, reply_id: str, heard_ms: int) -> None:
        self.asked.append(("heard", reply_id, str(heard_ms)))

    def tool_result(self, tool_call_id: str, output: str) -> None:
        self.asked.append(("tool", tool_call_id, output))


def link(
    sockets: FakeSockets,
    dialogue: Echo | None = None,
    *,
    clock: ManualClock | None = None,
    limits: Limits = QUICK,
) -> Link:
    return Link(
        sockets, dialogue or Echo(), audio=ULAW_8K, clock=clock or ManualClock(), limits=limits
    )


async def next_event(stream: Link) -> SpeechToSpeechEvent:
    return await asyncio.wait_for(anext(aiter(stream)), 5)


async def to_the_end(stream: Link) -> None:
    async with asyncio.timeout(5):
        async for _ in stream:
            pass


def test_messages_and_events_pass_in_order_and_closing_says_goodbye() -> None:
    async def case() -> None:
        socket = FakeSocket()
        stream = link(FakeSockets(socket))
        socket.give(b"ready", b"one")
        assert await next_event(stream) == ReplyText("r", "ready")
        assert await next_event(stream) == ReplyText("r", "one")
        stream.say("hi")
        await socket.sees(lambda message: message == "say hi")
        await stream.close()
        assert socket.sent == ["hello", "say hi", "goodbye"]
        assert socket.closed
        assert [event async for event in stream] == []

    asyncio.run(case())


def test_what_is_asked_reaches_the_dialogue() -> None:
    async def case() -> None:
        dialogue = Echo()
        stream = link(FakeSockets(FakeSocket()), dialogue)
        stream.prompt("key 5")
        stream.cancel()
        stream.heard("r", 40)
        stream.tool_result("t", "done")
        asked = [("prompt", "key 5"), ("cancel",), ("heard", "r", "40"), ("tool", "t", "done")]
        assert dialogue.asked == asked
        await stream.close()

    asyncio.run(case())


def test_audio_is_sent_only_to_a_session_that_is_ready_and_in_batches() -> None:
    async def case() -> None:
        socket = FakeSocket()
        stream = link(FakeSockets(socket))
        stream.push(SILENCE_20_MS)
        stream.push(SILENCE_20_MS)
        await socket.sees(lambda message: message == "hello")
        assert socket.sent == ["hello"]
        socket.give(b"ready")
        assert await socket.sees(str.isdigit) == "320"
        await stream.close()

    asyncio.run(case())


def test_while_nobody_listens_the_oldest_audio_is_dropped_and_counted() -> None:
    async def case() -> None:
        socket = FakeSocket()
        stream = link(FakeSockets(socket), limits=replace(QUICK, backlog_ms=100))
        for _ in range(8):
            stream.push(SILENCE_20_MS)
        assert stream.dropped_octets == 3 * 160
        socket.give(b"ready")
        assert await socket.sees(str.isdigit) == "800"
        await stream.close()

    asyncio.run(case())


def test_a_socket_that_breaks_is_replaced_and_what_it_ends_is_told() -> None:
    async def case() -> None:
        first, second = FakeSocket(), FakeSocket()
        stream = link(FakeSockets(first, second))
        first.give(b"ready")
        first.cut(BROKEN)
        second.give(b"again")
        assert await next_event(stream) == ReplyText("r", "ready")
        assert isinstance(await next_event(stream), SpeechStopped)
        assert await next_event(stream) == ReplyText("r", "again")
        assert first.closed
        assert stream.reopened == 1
        await stream.close()

    asyncio.run(case())


def test_after_so_many_failures_in_a_row_the_conversation_ends() -> None:
    async def case() -> None:
        sockets = FakeSockets()
        stream = link(sockets, limits=replace(QUICK, attempts=3))
        with pytest.raises(SpeechError, match="gone"):
            await to_the_end(stream)
        assert sockets.dialled == 4
        await stream.close()

    asyncio.run(case())


def test_an_outage_that_lasts_too_long_ends_the_conversation() -> None:
    async def case() -> None:
        clock = ManualClock()

        class Slow(FakeSockets):
            async def __call__(self) -> FakeSocket:
                clock.advance_ms(300)
                return await super().__call__()

        sockets = Slow()
        limits = replace(QUICK, attempts=1000, outage_ms=1000, settled_ms=10_000)
        stream = link(sockets, clock=clock, limits=limits)
        with pytest.raises(SpeechError, match="gone"):
            await to_the_end(stream)
        assert sockets.dialled == 5
        await stream.close()

    asyncio.run(case())


def test_a_connection_that_lasted_gives_the_next_failures_their_full_budget() -> None:
    async def case() -> None:
        clock = ManualClock()
        first, second = FakeSocket(), FakeSocket()
        sockets = FakeSockets(BROKEN, first, BROKEN, second)
        stream = link(sockets, clock=clock, limits=replace(QUICK, attempts=1))
        first.give(b"ready")
        while await next_event(stream) != ReplyText("r", "ready"):
            pass
        clock.advance_ms(60_000)
        first.cut(BROKEN)
        with pytest.raises(SpeechError, match="dead"):
            await to_the_end(stream)
        assert sockets.dialled == 3
        await stream.close()

    asyncio.run(case())


@pytest.mark.parametrize("how", ["when it is dialled", "later"])
def test_a_refusal_that_nothing_heals_ends_the_conversation_at_once(how: str) -> None:
    async def case() -> None:
        socket = FakeSocket()
        socket.give(b"final")
        sockets = FakeSockets(REFUSED if how == "when it is dialled" else socket)
        stream = link(sockets)
        with pytest.raises(SpeechError) as caught:
            await to_the_end(stream)
        assert caught.value.status == (401 if how == "when it is dialled" else "over")
        assert not caught.value.retryable
        assert sockets.dialled == 1
        await stream.close()

    asyncio.run(case())


def test_a_bug_ends_the_conversation_instead_of_leaving_it_silent() -> None:
    async def case() -> None:
        socket = FakeSocket()
        socket.give(b"bug")
        stream = link(FakeSockets(socket))
        with pytest.raises(SpeechError, match="failed"):
            await next_event(stream)
        assert socket.closed
        await stream.close()

    asyncio.run(case())


def test_a_session_that_does_not_become_ready_is_replaced() -> None:
    async def case() -> None:
        clock = ManualClock()
        first, second = FakeSocket(), FakeSocket()
        stream = link(FakeSockets(first, second), clock=clock)
        await first.sees(lambda message: message == "hello")
        clock.advance_ms(10_001)
        await second.sees(lambda message: message == "hello")
        await stream.close()

    asyncio.run(case())


def test_a_model_that_owes_something_and_says_nothing_is_replaced() -> None:
    async def case() -> None:
        clock = ManualClock()
        first, second = FakeSocket(), FakeSocket()
        dialogue = Echo()
        stream = link(FakeSockets(first, second), dialogue, clock=clock)
        first.give(b"ready")
        await next_event(stream)
        clock.advance_ms(60_000)
        stream.say("still there")
        await first.sees(lambda message: message == "say still there")
        assert stream.reopened == 0
        dialogue.due = True
        await second.sees(lambda message: message == "hello")
        await stream.close()

    asyncio.run(case())


def test_a_socket_that_takes_nothing_is_replaced() -> None:
    async def case() -> None:
        first, second = FakeSocket(), FakeSocket()
        first.stuck = True
        stream = link(FakeSockets(first, second))
        await second.sees(lambda message: message == "hello")
        assert first.closed
        await stream.close()

    asyncio.run(case())


def test_a_session_is_replaced_before_its_end_once_nobody_speaks() -> None:
    async def case() -> None:
        clock = ManualClock()
        first, second = FakeSocket(), FakeSocket()
        sockets = FakeSockets(first, second)
        dialogue = Echo()
        dialogue.quiet = False
        stream = link(sockets, dialogue, clock=clock)
        first.give(b"ready")
        await next_event(stream)
        clock.advance_ms(51 * 60_000)
        first.give(b"speaking")
        assert await next_event(stream) == ReplyText("r", "speaking")
        assert sockets.dialled == 1
        dialogue.quiet = True
        await second.sees(lambda message: message == "hello")
        assert first.closed
        await stream.close()

    asyncio.run(case())


@pytest.mark.parametrize("told", [False, True])
def test_a_session_is_replaced_before_its_end_even_if_somebody_never_falls_silent(
    told: bool,
) -> None:
    async def case() -> None:
        clock = ManualClock()
        first, second = FakeSocket(), FakeSocket()
        dialogue = Echo()
        dialogue.quiet = False
        stream = link(FakeSockets(first, second), dialogue, clock=clock)
        first.give(b"ready")
        await next_event(stream)
        if told:
            dialogue.expires_ns = clock.now_ns() + 30 * 60_000 * 1_000_000
        clock.advance_ms(30 * 60_000 if told else 58 * 60_000)
        await second.sees(lambda message: message == "hello")
        await stream.close()

    asyncio.run(case())


def test_a_conversation_that_was_closed_leaves_no_cycles() -> None:
    async def case() -> weakref.ref[Link]:
        socket = FakeSocket()
        stream = link(FakeSockets(socket))
        socket.give(b"ready")
        await next_event(stream)
        await stream.close()
        return weakref.ref(stream)

    gc.disable()
    try:
        assert asyncio.run(case())() is None
    finally:
        gc.enable()
