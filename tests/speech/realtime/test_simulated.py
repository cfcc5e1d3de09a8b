"""The engines against the simulated vendor, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.models.vendor import EndlessEngines, spoken
from voicecall.clock import SystemClock
from voicecall.errors import SpeechError
from voicecall.ports import (
    Briefing,
    FinalTranscript,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolSpec,
)
from voicecall.simulator.models.brain import Brain, ToolRule, Use
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.faults import Close, Malformed, Refuse, Stall
from voicecall.simulator.models.server import ModelServer
from voicecall.speech.realtime.link import Limits, Link
from voicecall.speech.realtime.live import LIVE_LIMITS, LiveSettings, OpenAILive
from voicecall.speech.realtime.openai import OpenAIRealtime, RealtimeSettings
from voicecall.speech.realtime.sockets import Account

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from voicecall.ports import SpeechToSpeechEvent

pytestmark = pytest.mark.socket

QUESTION = "What are your opening hours?"
BOOK = ToolSpec("book", "Books a table.", {"type": "object", "properties": {}})
BOOKING = Brain(rules=[ToolRule("book", (Use("book", {"at": "ten"}),), then="Booked: {result}.")])
IMPATIENT = Limits(first_delay_ms=1, max_delay_ms=2, stall_ms=200, tick_ms=20)


@asynccontextmanager
async def served(
    *transcripts: str, brain: Brain | None = None, endless: bool = False
) -> AsyncGenerator[ModelServer]:
    make = EndlessEngines if endless else InstantEngines
    async with ModelServer(engines=make(transcripts or (QUESTION,)), brain=brain) as server:
        yield server


@asynccontextmanager
async def talking(
    server: ModelServer,
    briefing: Briefing | None = None,
    *,
    key: str | None = None,
    limits: Limits | None = None,
    **changes: Any,
) -> AsyncGenerator[Link]:
    account = Account(key or server.world.api_key, server.base_url)
    settings = RealtimeSettings("gpt-realtime-2.1", "marin", "gpt-transcribe", **changes)
    engine = OpenAIRealtime(account, settings, clock=SystemClock(), limits=limits)
    stream = await engine.open(briefing or Briefing("You answer the phone."))
    assert isinstance(stream, Link)
    try:
        yield stream
    finally:
        await stream.close()
        await engine.close()


@asynccontextmanager
async def living(
    server: ModelServer, settings: LiveSettings | None = None, briefing: Briefing | None = None
) -> AsyncGenerator[Link]:
    account = Account(server.world.api_key, server.base_url)
    settings = settings or LiveSettings("gpt-live-1", "marin")
    engine = OpenAILive(account, settings, clock=SystemClock(), limits=LIVE_LIMITS)
    stream = await engine.open(briefing or Briefing("You answer the phone."))
    assert isinstance(stream, Link)
    try:
        yield stream
    finally:
        await stream.close()
        await engine.close()


async def until(stream: Link, kind: type[Any]) -> list[SpeechToSpeechEvent]:
    """Events up to the first of this kind."""
    events: list[SpeechToSpeechEvent] = []
    async with asyncio.timeout(10):
        async for event in stream:
            events.append(event)
            if isinstance(event, kind):
                break
    return events


async def speak(stream: Link) -> None:
    """A caller says something, ten times as fast as people do."""
    audio = spoken()
    for start in range(0, len(audio), 160):
        stream.push(audio[start : start + 160])
        await asyncio.sleep(0.002)


def text_of(events: list[SpeechToSpeechEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReplyText))


def test_a_greeting_and_a_spoken_question() -> None:
    async def case() -> None:
        async with served() as server, talking(server) as stream:
            stream.say("Hello, this is Harbour Dental.")
            greeting = await until(stream, ReplyDone)
            assert text_of(greeting) == "Hello, this is Harbour Dental."
            await speak(stream)
            events = await until(stream, ReplyDone)
            kinds = [type(event) for event in events]
            assert kinds[:2] == [SpeechStarted, SpeechStopped]
            assert FinalTranscript(QUESTION) in events
            assert "open" in text_of(events)
            assert any(isinstance(event, ReplyAudio) for event in events)
            asked = [received.body for received in server.received("realtime")]
            assert all(body.get("type") != "error" for body in asked)

    asyncio.run(case())


def test_an_interrupted_answer_is_cut_to_what_was_heard() -> None:
    async def case() -> None:
        async with served(endless=True) as server, talking(server) as stream:
            stream.say("one two three four five six seven eight")
            first = (await until(stream, ReplyAudio))[-1]
            assert isinstance(first, ReplyAudio)
            await speak(stream)
            events = await until(stream, ReplyDone)
            assert any(isinstance(event, SpeechStarted) for event in events)
            assert events[-1] == ReplyDone(first.reply_id, interrupted=True)
            await until(stream, ReplyAudio)
            stream.heard(first.reply_id, 120)
            # Messages are taken in order: once this is answered, that was taken.
            stream.cancel()
            await until(stream, ReplyDone)
            (cut,) = truncations(server)
            assert cut["audio_end_ms"] == 120

    def truncations(server: ModelServer) -> list[Any]:
        bodies = [received.body for received in server.received("realtime")]
        return [body for body in bodies if body.get("type") == "conversation.item.truncate"]

    asyncio.run(case())


def test_a_reply_is_cancelled_when_the_call_wants_it() -> None:
    async def case() -> None:
        async with served(endless=True) as server, talking(server) as stream:
            stream.say("one two three")
            await until(stream, ReplyAudio)
            stream.cancel()
            (done,) = (await until(stream, ReplyDone))[-1:]
            assert isinstance(done, ReplyDone)
            assert done.interrupted

    asyncio.run(case())


def test_a_tool_is_used_and_its_result_spoken() -> None:
    async def case() -> None:
        briefing = Briefing("You book tables.", tools=(BOOK,))
        async with served(brain=BOOKING) as server, talking(server, briefing) as stream:
            stream.prompt("Please book a table.")
            call = (await until(stream, ToolCall))[-1]
            assert isinstance(call, ToolCall)
            assert (call.name, call.arguments) == ("book", '{"at": "ten"}')
            stream.tool_result(call.id, "ten")
            assert text_of(await until(stream, ReplyDone)) == "Booked: ten."

    asyncio.run(case())


def test_keys_are_answered() -> None:
    async def case() -> None:
        async with served() as server, talking(server) as stream:
            stream.prompt("[What are your opening hours?]")
            assert "open" in text_of(await until(stream, ReplyDone))

    asyncio.run(case())


def test_a_socket_killed_mid_answer_is_reopened_and_the_conversation_goes_on() -> None:
    async def case() -> None:
        async with served() as server:
            server.faults.add("realtime", Close(after="response.output_audio.delta"))
            async with talking(server, limits=IMPATIENT) as stream:
                stream.say("Hello, this is Harbour Dental. How can I help you?")
                broken = await until(stream, ReplyDone)
                assert isinstance(broken[-1], ReplyDone)
                assert broken[-1].failure is not None
                await until(stream, ReplyDone)
                assert stream.reopened == 1
                bodies = [received.body for received in server.received("realtime")]
                again = bodies[[body.get("type") for body in bodies].index("session.update") + 1 :]
                replayed = [body["item"] for body in again if "item" in body]
                assert replayed[0]["role"] == "assistant"
                assert replayed[0]["content"][0]["text"].startswith("Hello")
                await speak(stream)
                assert "open" in text_of(await until(stream, ReplyDone))

    asyncio.run(case())


def test_a_model_that_stalls_is_given_up_for_another_connection() -> None:
    async def case() -> None:
        async with served() as server:
            server.faults.add("realtime", Stall(after="response.created"))
            async with talking(server, limits=IMPATIENT) as stream:
                stream.say("Hello.")
                assert text_of(await until(stream, ReplyDone)) == "Hello."
                assert stream.reopened == 1

    asyncio.run(case())


def test_malformed_events_are_survived() -> None:
    async def case() -> None:
        async with served() as server:
            server.faults.add("realtime", Malformed(after="response.created"))
            async with talking(server) as stream:
                stream.say("Hello.")
                assert text_of(await until(stream, ReplyDone)) == "Hello."
                assert stream.reopened == 0

    asyncio.run(case())


@pytest.mark.parametrize("engine", ["realtime", "live"])
def test_a_service_that_is_busy_is_tried_again(engine: str) -> None:
    async def case() -> None:
        async with served() as server:
            server.faults.add(engine, Refuse(503))
            talk = talking if engine == "realtime" else living
            async with talk(server) as stream:
                stream.say("Hello.")
                assert text_of(await until(stream, ReplyAudio)) in ("Hello.", "")

    asyncio.run(case())


def test_a_wrong_key_ends_the_conversation_at_once() -> None:
    async def case() -> None:
        async with served() as server, talking(server, key="sk-wrong") as stream:
            with pytest.raises(SpeechError, match="API key") as caught:
                await until(stream, ReplyDone)
            assert caught.value.status == 401
            assert "sk-wrong" not in str(caught.value)

    asyncio.run(case())


def test_a_voice_or_setting_that_the_server_refuses_ends_the_conversation() -> None:
    async def case() -> None:
        async with (
            served() as server,
            talking(server, turn_detection="server", speed="x") as stream,
        ):
            with pytest.raises(SpeechError, match="refused the session") as caught:
                await until(stream, ReplyDone)
            assert not caught.value.retryable

    asyncio.run(case())


def test_a_live_model_converses_without_turns() -> None:
    async def case() -> None:
        async with served() as server, living(server) as stream:
            stream.say("Hello, this is Harbour Dental.")
            assert text_of(await until(stream, ReplyText)).startswith("Hello")
            await speak(stream)
            events = await until(stream, FinalTranscript)
            assert events[-1] == FinalTranscript(QUESTION)
            assert "open" in text_of(await until(stream, ReplyText))

    asyncio.run(case())


def test_a_live_socket_that_is_killed_is_reopened_and_knows_the_conversation() -> None:
    async def case() -> None:
        async with served() as server:
            server.faults.add("live", Close(after="session.input_transcript.delta"))
            async with living(server) as stream:
                stream.say("Hello.")
                await until(stream, ReplyText)
                await speak(stream)
                await until(stream, FinalTranscript)
                await until(stream, ReplyText)
                assert stream.reopened == 1
                bodies = [received.body for received in server.received("live")]
                starts = [body for body in bodies if body.get("type") == "session.start"]
                said = [turn["role"] for turn in starts[1]["session"]["input"]]
                assert said == ["assistant", "user"]

    asyncio.run(case())


def test_a_live_models_tools_are_used_by_the_model_behind() -> None:
    async def case() -> None:
        settings = LiveSettings("gpt-live-1", "marin", "a-text-model")
        briefing = Briefing("You book tables.", tools=(BOOK,))
        async with (
            served("book a table", brain=BOOKING) as server,
            living(server, settings, briefing) as stream,
        ):
            await speak(stream)
            call = (await until(stream, ToolCall))[-1]
            assert isinstance(call, ToolCall)
            assert call.name == "book"
            stream.tool_result(call.id, "ten")
            assert text_of(await until(stream, ReplyText)) == "Booked: ten. "

    asyncio.run(case())
