from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from voicecall.audio import Transcoder
from voicecall.call.record import Speaker
from voicecall.errors import SpeechError
from voicecall.ports import (
    PCM16_8K,
    ULAW_8K,
    AudioFormat,
    Briefing,
    FinalTranscript,
    HangUp,
    PartialTranscript,
    PressKeys,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolSpec,
    ToolUse,
    Transfer,
    Turn,
)
from voicecall.speech.realtime.local import LocalConversation, LocalSpeechToSpeech, LocalTimes
from voicecall.speech.stt.results import ResultQueue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from voicecall.ports import ReplyPart, ReplyRequest, SpeechToSpeechEvent, SttEvent

pytestmark = pytest.mark.unit

MS_PER_CHARACTER = 10


class Ears:
    """Recognition that says what it is told, and is its own stream."""

    def __init__(self, audio: AudioFormat = PCM16_8K) -> None:
        self.input = audio
        self.results = ResultQueue()
        self.octets = 0
        self.closed = False

    def hear(self, *events: SttEvent) -> None:
        for event in events:
            self.results.put(event)

    async def prepare(self) -> None: ...

    async def open(self) -> Ears:
        return self

    def push(self, audio: bytes) -> None:
        self.octets += len(audio)

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        return self.results

    async def close(self) -> None:
        self.closed = True
        self.results.close()


class Mouth:
    """A voice that takes 10 ms for each character, and waits where it is told to."""

    output = PCM16_8K

    def __init__(self) -> None:
        self.spoken: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False

    async def prepare(self) -> None: ...

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        if self.fails:
            raise SpeechError("hoarse")
        self.spoken.append(text)
        octets = PCM16_8K.octets_per_second * MS_PER_CHARACTER * len(text) // 1000
        yield bytes(octets)
        await self.gate.wait()

    async def close(self) -> None: ...


class Mind:
    """A responder that gives one list of parts after the other."""

    def __init__(self, *replies: Sequence[ReplyPart | Exception]) -> None:
        self.replies = list(replies)
        self.requests: list[ReplyRequest] = []
        self.closed = 0

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyPart]:
        self.requests.append(request)
        try:
            for part in self.replies.pop(0):
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            self.closed += 1

    async def close(self) -> None: ...


@asynccontextmanager
async def talking(
    ears: Ears,
    mind: Mind,
    mouth: Mouth,
    briefing: Briefing | None = None,
    times: LocalTimes | None = None,
) -> AsyncGenerator[LocalConversation]:
    engine = LocalSpeechToSpeech(
        ears,
        mind,
        mouth,
        convert=Transcoder,
        destinations={"the desk": "+15550001"},
        times=times,
    )
    await engine.prepare()
    stream = await engine.open(briefing or Briefing("Be kind."))
    assert isinstance(stream, LocalConversation)
    try:
        yield stream
    finally:
        await stream.close()
        await engine.close()


async def next_event(stream: LocalConversation) -> SpeechToSpeechEvent:
    return await asyncio.wait_for(anext(aiter(stream)), 5)


async def until_done(stream: LocalConversation) -> list[SpeechToSpeechEvent]:
    events = []
    while True:
        events.append(await next_event(stream))
        if isinstance(events[-1], ReplyDone):
            return events


def texts(events: Sequence[SpeechToSpeechEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, ReplyText)]


def audio_ms(events: Sequence[SpeechToSpeechEvent]) -> float:
    octets = sum(len(event.audio) for event in events if isinstance(event, ReplyAudio))
    return ULAW_8K.duration_ms(octets)


def test_what_the_caller_says_is_answered_sentence_by_sentence() -> None:
    async def case() -> None:
        ears, mind, mouth = Ears(), Mind(["We open ", "at ten. ", "**Goodbye** 🙂!"]), Mouth()
        async with talking(ears, mind, mouth) as stream:
            heard: list[SttEvent] = [
                SpeechStarted(1),
                PartialTranscript("when"),
                SpeechStopped(2),
                FinalTranscript("When?"),
            ]
            ears.hear(*heard)
            events = await until_done(stream)
        assert [event for event in events if event in heard] == heard
        assert texts(events) == ["We open at ten. ", "Goodbye! "]
        assert mouth.spoken == ["We open at ten.", "Goodbye!"]
        assert audio_ms(events) == pytest.approx(23 * MS_PER_CHARACTER, abs=2)
        (request,) = mind.requests
        assert request.history == (Turn(Speaker.USER, "When?"),)
        assert request.instructions == "Be kind."
        assert ears.closed

    asyncio.run(case())


def test_the_callers_audio_reaches_the_recogniser_in_its_own_format() -> None:
    async def case() -> None:
        for audio, octets in ((PCM16_8K, 320), (ULAW_8K, 160)):
            ears = Ears(audio)
            async with talking(ears, Mind(), Mouth()) as stream:
                stream.push(b"\xff" * 160)
            assert ears.octets == octets

    asyncio.run(case())


def test_it_is_a_conversation_in_turns_over_mu_law() -> None:
    engine = LocalSpeechToSpeech(Ears(), Mind(), Mouth(), convert=Transcoder)
    assert engine.audio == ULAW_8K
    assert engine.takes_turns


def test_what_it_is_told_to_say_is_said_and_remembered() -> None:
    async def case() -> None:
        ears, mind = Ears(), Mind(["At ten."])
        async with talking(ears, mind, Mouth()) as stream:
            stream.say("Hello. This is Harbour Dental.")
            assert texts(await until_done(stream)) == ["Hello. ", "This is Harbour Dental. "]
            ears.hear(FinalTranscript("When?"))
            await until_done(stream)
        assert [turn.text for turn in mind.requests[0].history] == [
            "Hello. This is Harbour Dental.",
            "When?",
        ]

    asyncio.run(case())


def test_keys_and_other_events_are_answered() -> None:
    async def case() -> None:
        mind = Mind(["Five."], ["Noted."])
        async with talking(Ears(), mind, Mouth()) as stream:
            stream.prompt("[The caller pressed 5# on the keypad.]")
            await until_done(stream)
            stream.prompt("[The door opened.]")
            await until_done(stream)
        assert mind.requests[0].digits == "5#"
        assert mind.requests[1].history[-1] == Turn(Speaker.USER, "[The door opened.]")

    asyncio.run(case())


def test_new_words_stop_the_reply_that_is_being_made() -> None:
    async def case() -> None:
        ears, mind, mouth = Ears(), Mind(["One. Two. Three."], ["Four."]), Mouth()
        mouth.gate.clear()
        async with talking(ears, mind, mouth) as stream:
            ears.hear(FinalTranscript("count"))
            while not isinstance(await next_event(stream), ReplyAudio):
                pass
            ears.hear(FinalTranscript("go on"))
            events = await until_done(stream)
            assert events[-1] == ReplyDone("reply-2", interrupted=True)
            mouth.gate.set()
            assert texts(await until_done(stream)) == ["Four. "]
        assert mind.closed == 2

    asyncio.run(case())


@pytest.mark.parametrize("long_enough", [True, False])
def test_speech_stops_a_reply_once_it_has_lasted(long_enough: bool) -> None:
    async def case() -> None:
        ears, mind, mouth = Ears(), Mind(["One."]), Mouth()
        mouth.gate.clear()
        times = LocalTimes(min_speech_ms=1 if long_enough else 60_000)
        async with talking(ears, mind, mouth, times=times) as stream:
            ears.hear(FinalTranscript("count"))
            while not isinstance(await next_event(stream), ReplyAudio):
                pass
            ears.hear(SpeechStarted(1))
            assert await next_event(stream) == SpeechStarted(1)
            if not long_enough:
                ears.hear(SpeechStopped(2))
                assert await next_event(stream) == SpeechStopped(2)
                mouth.gate.set()
            done = (await until_done(stream))[-1]
        assert done == ReplyDone("reply-2", interrupted=long_enough)

    asyncio.run(case())


def test_a_reply_can_be_cancelled_and_the_next_one_follows() -> None:
    async def case() -> None:
        mouth = Mouth()
        mouth.gate.clear()
        async with talking(Ears(), Mind(), mouth) as stream:
            stream.say("One.")
            stream.say("Two.")
            while not isinstance(await next_event(stream), ReplyAudio):
                pass
            stream.cancel()
            assert (await until_done(stream))[-1] == ReplyDone("reply-1", interrupted=True)
            mouth.gate.set()
            assert texts(await until_done(stream)) == ["Two. "]
            stream.cancel()

    asyncio.run(case())


def test_the_responder_is_told_what_was_heard_of_a_reply() -> None:
    async def case() -> None:
        ears, mind = Ears(), Mind(["Yes."], ["No."])
        async with talking(ears, mind, Mouth()) as stream:
            stream.say("one two three four five six")
            await until_done(stream)
            stream.heard("reply-1", 140)
            stream.heard("never said", 140)
            ears.hear(FinalTranscript("stop"))
            await until_done(stream)
            stream.heard("reply-3", 0)
            ears.hear(FinalTranscript("again"))
            await until_done(stream)
        assert [turn.text for turn in mind.requests[0].history] == ["one two three", "stop"]
        said = [turn.text for turn in mind.requests[1].history]
        assert said == ["one two three", "stop", "again"]

    asyncio.run(case())


TOOLS = tuple(ToolSpec(name, "", {}) for name in ("end_call", "send_dtmf", "transfer_call"))


@pytest.mark.parametrize(
    ("action", "name", "arguments"),
    [
        (HangUp(), "end_call", "{}"),
        (PressKeys("12#"), "send_dtmf", '{"digits":"12#"}'),
        (Transfer("+15550001"), "transfer_call", '{"destination":"the desk"}'),
    ],
)
def test_what_a_reply_wants_done_is_a_use_of_a_tool_after_it(
    action: HangUp | PressKeys | Transfer, name: str, arguments: str
) -> None:
    async def case() -> None:
        ears, mind = Ears(), Mind(["Goodbye.", action], ["Hm."])
        async with talking(ears, mind, Mouth(), Briefing("", tools=TOOLS)) as stream:
            ears.hear(FinalTranscript("bye"))
            events = await until_done(stream)
            assert texts(events) == ["Goodbye. "]
            call = await next_event(stream)
            assert isinstance(call, ToolCall)
            assert (call.name, call.arguments) == (name, arguments)
            stream.tool_result(call.id, "done")
            stream.tool_result(call.id, "twice")
            ears.hear(FinalTranscript("hm?"))
            await until_done(stream)
        used = Turn(Speaker.BOT, "", ToolUse(name, arguments, "done"))
        assert [*mind.requests[1].history].count(used) == 1

    asyncio.run(case())


def test_what_there_is_no_tool_for_is_not_asked() -> None:
    async def case() -> None:
        ears, mind = Ears(), Mind(["Goodbye.", HangUp()], ["Hm."])
        async with talking(ears, mind, Mouth()) as stream:
            ears.hear(FinalTranscript("bye"))
            await until_done(stream)
            ears.hear(FinalTranscript("hm?"))
            assert await next_event(stream) == FinalTranscript("hm?")

    asyncio.run(case())


def test_tools_that_the_responder_uses_itself_are_remembered() -> None:
    async def case() -> None:
        use = ToolUse("book", "{}", "booked")
        ears, mind = Ears(), Mind([use, "Booked."], ["Yes."])
        async with talking(ears, mind, Mouth()) as stream:
            ears.hear(FinalTranscript("book"))
            await until_done(stream)
            ears.hear(FinalTranscript("sure?"))
            await until_done(stream)
        assert Turn(Speaker.BOT, "", use) in mind.requests[1].history

    asyncio.run(case())


def test_a_responder_or_voice_that_fails_ends_the_reply_and_not_the_conversation() -> None:
    async def case() -> None:
        ears, mouth = Ears(), Mouth()
        mind = Mind(["Well, "], [SpeechError("no answer")], [ValueError("a bug")], ["Yes."])
        async with talking(ears, mind, mouth) as stream:
            mouth.fails = True
            for expected in ("SpeechError", "SpeechError", "ValueError"):
                ears.hear(FinalTranscript("hm?"))
                done = (await until_done(stream))[-1]
                assert isinstance(done, ReplyDone)
                assert done.failure == expected
            mouth.fails = False
            ears.hear(FinalTranscript("hm?"))
            assert texts(await until_done(stream)) == ["Yes. "]

    asyncio.run(case())


def test_a_responder_or_voice_that_says_nothing_is_given_up() -> None:
    async def case() -> None:
        class Silent(Mind):
            async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyPart]:
                del request
                await asyncio.get_running_loop().create_future()
                yield ""

        mouth = Mouth()
        mouth.gate.clear()
        times = LocalTimes(response_ms=1, synthesis_ms=1)
        ears = Ears()
        async with talking(ears, Silent(), mouth, times=times) as stream:
            ears.hear(FinalTranscript("hm?"))
            assert (await until_done(stream))[-1] == ReplyDone("reply-2", failure="TimeoutError")
            stream.say("One.")
            assert (await until_done(stream))[-1] == ReplyDone("reply-3", failure="TimeoutError")

    asyncio.run(case())


def test_when_nothing_can_be_heard_any_more_the_conversation_ends() -> None:
    async def case() -> None:
        ears = Ears()
        async with talking(ears, Mind(), Mouth()) as stream:
            ears.results.fail(SpeechError("deaf", status=7))
            with pytest.raises(SpeechError, match="deaf") as caught:
                await next_event(stream)
            assert caught.value.status == 7

    asyncio.run(case())


def test_a_conversation_that_was_closed_leaves_no_cycles() -> None:
    async def case() -> weakref.ref[LocalConversation]:
        ears, mind = Ears(), Mind(["One."])
        async with talking(ears, mind, Mouth()) as stream:
            ears.hear(SpeechStarted(1), FinalTranscript("count"))
            await until_done(stream)
            return weakref.ref(stream)

    gc.disable()
    try:
        assert asyncio.run(case())() is None
    finally:
        gc.enable()
