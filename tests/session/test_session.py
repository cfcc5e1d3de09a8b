from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import (
    FakeCalls,
    FakePath,
    FakeResponder,
    FakeStt,
    FakeTts,
    Identity,
    record,
    run,
    soon,
    until,
)
from tests.speech.signals import noise, tone
from voicecall.call.events import (
    CallActive,
    CallDtmf,
    CallErrored,
    CallSpeaking,
    CallSpeech,
    CallSpoken,
)
from voicecall.call.record import CallState, Speaker
from voicecall.clock import ManualClock
from voicecall.dialog.history import History
from voicecall.dialog.turns import BargeIn
from voicecall.errors import CarrierError, NotConnected, SpeechError
from voicecall.ports import (
    FinalTranscript,
    HangUp,
    PartialTranscript,
    PressKeys,
    SpeechStarted,
    SpeechStopped,
    ToolUse,
    Transfer,
    Turn,
)
from voicecall.session.equipment import Equipment, SessionSettings, Surroundings
from voicecall.session.session import Session
from voicecall.speech.tts.cache import CachedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from voicecall.errors import VoicecallError
    from voicecall.ports import AudioFormat
    from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.unit

BARGE_IN = BargeIn(min_speech_ms=0, min_level_dbfs=-96)
TWO_STEPS = SessionSettings(barge_in=BargeIn(min_speech_ms=100, confirm_speech_ms=1000))
LONG = "One two three four five six seven eight nine ten and so on up to twenty if you like."
HISS = noise(20, 25)
LOUD = tone(20, 8000)
ECHO = tone(20, 800)


@dataclass
class Call:
    """A session and its neighbours."""

    mode: str = "conversation"
    opening: str | None = None
    path: FakePath = field(default_factory=FakePath)
    calls: FakeCalls = field(default_factory=FakeCalls)
    stt: FakeStt = field(default_factory=FakeStt)
    tts: Sequence[FakeTts | CachedTextToSpeech] = field(default_factory=lambda: [FakeTts()])
    responder: FakeResponder = field(default_factory=FakeResponder)
    settings: SessionSettings = field(
        default_factory=lambda: SessionSettings(notify_hangup_delay_ms=0, barge_in=BARGE_IN)
    )
    clock: ManualClock = field(default_factory=ManualClock)
    history: History = field(default_factory=History)
    turns: list[TurnTiming] = field(default_factory=list)
    cleared: list[float] = field(default_factory=list)
    ended: list[tuple[str, CallState]] = field(default_factory=list)
    transfers: list[tuple[str, Callable[[VoicecallError], None]]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    tones: Callable[[str, AudioFormat], Iterable[bytes]] | None = None

    def __post_init__(self) -> None:
        self.session = Session(
            record(self.mode),
            self.opening,
            Equipment(self.tts, self.stt, self.responder, self.settings),
            self.history,
            Surroundings(
                calls=self.calls,
                clock=self.clock,
                convert=Identity,
                end=lambda call_id, reason: self.ended.append((call_id, reason)),
                transfer=lambda _, to, failed: self.transfers.append((to, failed)),
                on_turn=self.turns.append,
                on_cleared=self.cleared.append,
                on_closed=self.closed.append,
                tones=self.tones,
            ),
        )

    async def open(self) -> None:
        """The media socket starts, and recognition works."""
        self.session.on_path_open(self.path)
        await until(lambda: self.stt.opened and self.calls.of(CallActive))

    def hear(self, pcm: bytes) -> None:
        """The next 20 ms come from the caller, while as much is played to him."""
        if self.path.utterances and not self.path.clears:
            self.path.utterances[-1].play(20)
        assert self.path.sink is not None
        self.path.sink(pcm)

    def say(self, text: str) -> None:
        """The caller says something, all of it recognised."""
        now_ns = self.clock.now_ns()
        self.stt.stream.give(
            SpeechStarted(now_ns), SpeechStopped(now_ns), FinalTranscript(text, 0.9)
        )

    async def playing(self, utterances: int = 1) -> None:
        """The bot has begun to speak, for the so manieth time."""
        await until(lambda: len(self.path.utterances) == utterances)
        await until(lambda: self.path.utterances[-1].finished or not self.path.room.is_set())

    async def spoken(self, count: int) -> list[CallSpoken]:
        await until(lambda: len(self.calls.of(CallSpoken)) == count)
        return self.calls.of(CallSpoken)

    async def close(self) -> None:
        await self.session.close()


class LoudTts(FakeTts):
    """100 ms of a loud tone for each word."""

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        for _ in text.split():
            yield tone(100)


def test_an_open_path_makes_the_call_active_and_the_opening_is_said() -> None:
    async def case() -> None:
        call = Call(opening="Hello there.")
        await call.open()
        (spoken,) = await call.spoken(1)
        assert (spoken.text, spoken.heard, spoken.interrupted) == ("Hello there.",) * 2 + (False,)
        kinds = [type(event) for event in call.calls.events]
        assert kinds == [CallActive, CallSpeaking, CallSpoken]
        assert call.history.turns == (Turn(Speaker.BOT, "Hello there."),)
        await call.close()

    run(case())


def test_every_event_is_a_fact_of_its_own() -> None:
    async def case() -> None:
        call = Call(opening="Hello.")
        await call.open()
        await call.spoken(1)
        await call.close()
        assert len({event.dedupe_key for event in call.calls.events}) == 3
        assert {event.call_id for event in call.calls.events} == {"call-1"}
        assert {event.timestamp for event in call.calls.events} == {call.clock.wall_ms()}

    run(case())


def test_the_greeting_waits_for_recognition() -> None:
    async def case() -> None:
        call = Call(opening="Hello.")
        call.stt.may_open.clear()
        call.session.on_path_open(call.path)
        await until(lambda: call.calls.of(CallActive))
        assert not call.path.utterances
        call.stt.may_open.set()
        await call.spoken(1)
        await call.close()

    run(case())


def test_the_greeting_does_not_wait_for_ever() -> None:
    async def case() -> None:
        call = Call(opening="Hello.")
        call.stt.may_open.clear()
        call.session.on_path_open(call.path)
        await soon(lambda: call.calls.of(CallSpoken))
        await call.close()

    run(case())


def test_a_call_without_recognition_still_speaks() -> None:
    async def case() -> None:
        call = Call(opening="Hello.")
        call.stt.failure = SpeechError("no recogniser")
        call.session.on_path_open(call.path)
        await call.spoken(1)
        playback = await call.session.say("Still here.")
        assert not playback.interrupted
        await call.close()

    run(case())


def test_recognition_that_fails_later_leaves_the_call_speaking() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.stt.stream.give(SpeechError("gone"))
        await until(lambda: call.stt.stream.closed)
        await call.session.say("Still here.")
        assert not call.ended
        await call.close()

    run(case())


def test_in_notify_mode_the_message_is_said_and_the_call_ends() -> None:
    async def case() -> None:
        call = Call(mode="notify", opening="Your order is ready.", path=FakePath(instant=False))
        call.session.on_path_open(call.path)
        await call.playing()
        assert not call.ended
        call.path.utterances[0].play(9999)
        await until(lambda: call.ended)
        assert call.ended == [("call-1", CallState.HANGUP_BOT)]
        assert [spoken.heard for spoken in call.calls.of(CallSpoken)] == ["Your order is ready."]
        assert call.path.sink is None
        await call.close()

    run(case())


def test_a_message_that_cannot_be_said_ends_the_call_as_an_error() -> None:
    async def case() -> None:
        call = Call(mode="notify", opening="Hi.", tts=[FakeTts(SpeechError("mute"))])
        call.session.on_path_open(call.path)
        await until(lambda: call.ended)
        assert call.ended == [("call-1", CallState.ERROR)]
        await call.close()

    run(case())


def test_what_the_caller_says_is_answered() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder(["We open ", "at eight. ", "And close at six."]))
        await call.open()
        call.say("When do you open?")
        (spoken,) = await call.spoken(1)
        assert spoken.heard == "We open at eight. And close at six."
        (request,) = call.responder.requests
        assert request.call_id == "call-1"
        assert request.history == (Turn(Speaker.USER, "When do you open?"),)
        (speech,) = call.calls.of(CallSpeech)
        assert (speech.text, speech.is_final, speech.confidence) == ("When do you open?", True, 0.9)
        kinds = [type(event) for event in call.calls.events]
        assert kinds == [CallActive, CallSpeech, CallSpeaking, CallSpoken]
        await call.close()

    run(case())


def test_an_awaited_transcript_is_not_answered() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder(["No!"]))
        call.calls.awaited = True
        await call.open()
        call.say("Blue.")
        await until(lambda: call.calls.of(CallSpeech))
        call.calls.awaited = False
        call.say("Green.")
        await call.spoken(1)
        (request,) = call.responder.requests
        assert request.history == (Turn(Speaker.USER, "Blue. Green."),)
        await call.close()

    run(case())


def test_an_interruption_stops_everything_and_keeps_only_what_was_heard() -> None:
    async def case() -> None:
        endless = asyncio.Event()
        responder = FakeResponder(["One two three four. ", endless], ["Yes?"])
        call = Call(responder=responder, path=FakePath(instant=False))
        await call.open()
        call.say("Count.")
        await until(lambda: call.path.utterances and call.path.utterances[0].total_ms == 400)
        call.path.utterances[0].play(250)
        call.stt.stream.give(SpeechStarted(call.clock.now_ns()), PartialTranscript("wait a moment"))
        (spoken,) = await call.spoken(1)
        assert call.path.clears == 1
        assert (spoken.heard, spoken.interrupted) == ("One two", True)
        assert spoken.text == "One two three four."
        assert call.responder.closed == 1
        call.stt.stream.give(SpeechStopped(0), FinalTranscript("Wait a moment."))
        await call.playing(2)
        assert call.responder.requests[1].history == (
            Turn(Speaker.USER, "Count."),
            Turn(Speaker.BOT, "One two"),
            Turn(Speaker.USER, "Wait a moment."),
        )
        await call.close()

    run(case())


def test_speech_that_lasts_interrupts_without_any_words() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder(["One two three."]), path=FakePath(instant=False))
        await call.open()
        call.say("Count.")
        await call.playing()
        call.stt.stream.give(SpeechStarted(call.clock.now_ns()))
        await soon(lambda: call.path.clears)
        await call.close()

    run(case())


def test_a_final_that_interrupts_is_recorded_after_what_it_interrupted() -> None:
    async def case() -> None:
        responder = FakeResponder(["One two three."], ["OK."])
        call = Call(responder=responder, path=FakePath(instant=False))
        await call.open()
        call.say("Count.")
        await call.playing()
        call.path.utterances[0].play(100)
        call.stt.stream.give(FinalTranscript("Stop."))
        await call.playing(2)
        await until(lambda: len(call.calls.events) == 6)
        kinds = [type(event) for event in call.calls.events][1:]
        assert kinds == [CallSpeech, CallSpeaking, CallSpoken, CallSpeech, CallSpeaking]
        assert responder.requests[1].history[1:] == (
            Turn(Speaker.BOT, "One"),
            Turn(Speaker.USER, "Stop."),
        )
        await call.close()

    run(case())


def test_a_murmur_over_the_bot_changes_nothing() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder([LONG]), path=FakePath(instant=False))
        await call.open()
        call.say("Count.")
        await call.playing()
        call.stt.stream.give(FinalTranscript("Uh-huh."))
        await until(call.stt.stream.events.empty)
        call.path.utterances[0].play(9999)
        (spoken,) = await call.spoken(1)
        assert not spoken.interrupted
        assert len(call.calls.of(CallSpeech)) == len(call.responder.requests) == 1
        await call.close()

    run(case())


def test_a_murmur_over_the_end_of_a_question_answers_it_without_cutting_it() -> None:
    async def case() -> None:
        responder = FakeResponder(["Shall I book it?"], ["Booked."])
        call = Call(responder=responder, path=FakePath(instant=False))
        await call.open()
        call.say("Tuesday.")
        await call.playing()
        call.stt.stream.give(FinalTranscript("Yes."))
        await until(lambda: len(call.calls.of(CallSpeech)) == 2)
        assert call.path.clears == 0
        call.path.utterances[0].play(9999)
        await call.playing(2)
        assert [turn.text for turn in responder.requests[1].history] == [
            "Tuesday.",
            "Shall I book it?",
            "Yes.",
        ]
        await call.close()

    run(case())


# --- held ------------------------------------------------------------------------------------


async def held(call: Call) -> None:
    """The bot is saying `LONG`, a second of which was heard, when the caller speaks over it."""
    await call.open()
    call.say("Count.")
    await call.playing()
    for _ in range(40):
        call.clock.advance_ms(20)
        call.hear(HISS)
    began_ns = call.clock.now_ns()
    for _ in range(10):
        call.clock.advance_ms(20)
        call.hear(LOUD)
    call.stt.stream.give(SpeechStarted(began_ns))
    await soon(lambda: call.path.clears)


def silent(call: Call, ms: int) -> None:
    for _ in range(ms // 20):
        call.clock.advance_ms(20)
        call.hear(HISS)


def test_after_a_cough_the_bot_goes_on_and_nothing_was_said() -> None:
    async def case() -> None:
        tts, responder = FakeTts(), FakeResponder([LONG])
        path = FakePath(instant=False)
        call = Call(path=path, tts=[tts], responder=responder, settings=TWO_STEPS)
        await held(call)
        assert call.cleared
        assert len(call.path.utterances) == 1
        silent(call, 1000)
        await soon(lambda: len(call.path.utterances) == 2)
        call.stt.stream.give(SpeechStopped(call.clock.now_ns()))
        await call.playing(2)
        call.path.utterances[1].play(9999)
        (spoken,) = await call.spoken(1)
        assert (spoken.heard, spoken.interrupted) == (LONG, False)
        assert len(call.calls.of(CallSpeaking)) == 1
        assert tts.texts == [LONG]
        assert call.history.turns[-1] == Turn(Speaker.BOT, LONG)
        assert len(responder.requests) == 1
        await call.close()

    run(case())


def test_words_while_it_is_held_make_it_an_interruption() -> None:
    async def case() -> None:
        responder = FakeResponder([LONG], ["At nine."])
        call = Call(responder=responder, path=FakePath(instant=False), settings=TWO_STEPS)
        await held(call)
        assert not call.calls.of(CallSpoken)
        call.stt.stream.give(PartialTranscript("and when"), FinalTranscript("And when exactly?"))
        await call.playing(2)
        assert call.path.clears == 1
        (spoken,) = call.calls.of(CallSpoken)
        assert spoken.interrupted
        assert LONG.startswith(spoken.heard)
        assert 8 <= len(spoken.heard.split()) <= 10
        assert [turn.text for turn in responder.requests[1].history][-2:] == [
            spoken.heard,
            "And when exactly?",
        ]
        await call.close()

    run(case())


def test_going_on_while_it_is_held_makes_it_an_interruption() -> None:
    async def case() -> None:
        responder = FakeResponder([LONG])
        call = Call(responder=responder, path=FakePath(instant=False), settings=TWO_STEPS)
        await held(call)
        for _ in range(60):
            call.clock.advance_ms(20)
            call.hear(LOUD)
        await soon(lambda: call.calls.of(CallSpoken))
        assert call.calls.of(CallSpoken)[0].interrupted
        assert responder.closed == 1
        await call.close()

    run(case())


def test_what_is_to_be_said_waits_while_the_bot_is_held() -> None:
    async def case() -> None:
        responder = FakeResponder([LONG])
        call = Call(responder=responder, path=FakePath(instant=False), settings=TWO_STEPS)
        await held(call)
        saying = asyncio.create_task(call.session.say("And this."))
        await asyncio.sleep(0)
        assert len(call.path.utterances) == 1
        silent(call, 1000)
        await soon(lambda: len(call.path.utterances) == 2)
        await call.playing(2)
        call.path.utterances[1].play(9999)
        await call.playing(3)
        call.path.utterances[2].play(9999)
        assert not (await saying).interrupted
        await call.close()

    run(case())


def test_a_call_can_end_while_the_bot_is_held() -> None:
    async def case() -> None:
        before = asyncio.all_tasks()
        responder = FakeResponder([LONG])
        call = Call(responder=responder, path=FakePath(instant=False), settings=TWO_STEPS)
        await held(call)
        await call.close()
        (spoken,) = call.calls.of(CallSpoken)
        assert spoken.interrupted
        assert asyncio.all_tasks() == before

    run(case())


def test_a_call_that_ended_while_the_bot_was_held_is_freed_at_once() -> None:
    async def case() -> None:
        responder = FakeResponder([LONG])
        call = Call(responder=responder, path=FakePath(instant=False), settings=TWO_STEPS)
        await held(call)
        await call.close()
        remains = weakref.ref(call.session)
        del call.session
        await asyncio.sleep(0)
        assert remains() is None

    gc.collect()
    gc.disable()
    try:
        run(case())
    finally:
        gc.enable()


def test_the_echo_of_the_bots_own_voice_neither_holds_it_nor_is_a_turn() -> None:
    async def case() -> None:
        responder = FakeResponder([LONG])
        call = Call(
            responder=responder,
            path=FakePath(instant=False),
            settings=TWO_STEPS,
            tts=[LoudTts()],
        )
        await call.open()
        call.say("Count.")
        await call.playing()
        started_ns = call.clock.now_ns()
        call.stt.stream.give(SpeechStarted(started_ns))
        for _ in range(60):
            call.clock.advance_ms(20)
            call.hear(ECHO)
        call.stt.stream.give(
            PartialTranscript("One two three for five"), FinalTranscript("One two three for five.")
        )
        await until(call.stt.stream.events.empty)
        await asyncio.sleep(0.03)
        assert call.path.clears == 0
        call.path.utterances[0].play(9999)
        (spoken,) = await call.spoken(1)
        assert not spoken.interrupted
        assert len(call.calls.of(CallSpeech)) == 1
        await call.close()

    run(case())


def test_a_reply_that_finds_no_voice_is_apologised_for_by_the_first_that_works_again() -> None:
    async def case() -> None:
        tts = FakeTts(SpeechError("down"), pieces_before=2)
        call = Call(tts=[tts], responder=FakeResponder(["One two three four."], ["Five."]))
        await call.open()
        call.say("Count.")
        await until(lambda: call.calls.of(CallErrored))
        tts.failure = None
        first, second = await call.spoken(2)
        assert second.heard == call.session._settings.apology
        assert "four" not in first.heard
        call.say("And then?")
        assert (await call.spoken(3))[-1].heard == "Five."
        await call.close()

    run(case())


# --- from the first ring ---------------------------------------------------------------------


def test_the_recogniser_is_opened_while_it_rings_and_closed_if_nobody_answers() -> None:
    async def case() -> None:
        call = Call()
        await until(lambda: call.stt.opened)
        assert call.path.sink is None
        await call.close()
        assert call.stt.stream.closed

    run(case())


@pytest.mark.parametrize("mode", ["conversation", "notify"])
def test_what_is_said_first_is_made_while_it_rings(mode: str) -> None:
    async def case() -> None:
        tts = FakeTts()
        voice = CachedTextToSpeech(tts, 1_000_000)
        call = Call(mode=mode, opening="Good day.", tts=[voice])
        await until(lambda: voice.kept_octets)
        call.session.on_path_open(call.path)
        await call.spoken(1)
        assert tts.texts == ["Good day."]
        await call.close()

    run(case())


def test_what_is_made_to_be_said_first_is_given_up_if_nobody_answers() -> None:
    async def case() -> None:
        tts = FakeTts()
        call = Call(opening="One two three four.", tts=[CachedTextToSpeech(tts, 1_000_000)])
        await until(lambda: tts.texts)
        await call.close()
        assert tts.stopped == ["One two three four."]

    run(case())


def test_a_message_needs_no_recogniser() -> None:
    async def case() -> None:
        call = Call(mode="notify", opening="Your order is ready.")
        call.session.on_path_open(call.path)
        await call.spoken(1)
        assert not call.stt.opened
        await call.close()

    run(case())


def test_a_protected_greeting_is_finished_before_the_question_in_it_is_answered() -> None:
    async def case() -> None:
        call = Call(
            opening="Welcome to us.",
            responder=FakeResponder(["At eight."]),
            path=FakePath(instant=False),
        )
        await call.open()
        await call.playing()
        call.say("When do you open?")
        await until(lambda: call.calls.of(CallSpeech))
        assert call.path.clears == 0
        call.path.utterances[0].play(9999)
        await call.playing(2)
        assert call.responder.requests[0].history == (
            Turn(Speaker.BOT, "Welcome to us."),
            Turn(Speaker.USER, "When do you open?"),
        )
        await call.close()

    run(case())


def test_a_caller_who_goes_on_gets_one_answer_to_all_of_it() -> None:
    async def case() -> None:
        thinking = asyncio.Event()
        call = Call(responder=FakeResponder([thinking, "Old."], ["New."]))
        await call.open()
        call.say("I would like")
        await until(lambda: call.responder.requests)
        call.say("an appointment.")
        (spoken,) = await call.spoken(1)
        assert spoken.heard == "New."
        assert call.responder.requests[1].history == (
            Turn(Speaker.USER, "I would like an appointment."),
        )
        await call.close()

    run(case())


def test_a_reply_can_end_the_call_once_it_was_heard() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder(["Goodbye.", HangUp()]), path=FakePath(instant=False))
        await call.open()
        call.say("Bye.")
        await call.playing()
        assert not call.ended
        call.path.utterances[0].play(9999)
        await until(lambda: call.ended)
        assert call.ended == [("call-1", CallState.HANGUP_BOT)]
        assert call.calls.of(CallSpoken)
        await call.close()

    run(case())


def test_a_reply_that_says_nothing_can_end_the_call() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder([HangUp()]))
        await call.open()
        call.say("Bye.")
        await until(lambda: call.ended)
        assert not call.path.utterances
        await call.close()

    run(case())


def test_a_reply_sends_keys_after_what_was_said_before_them_and_then_goes_on() -> None:
    async def case() -> None:
        responder = FakeResponder(["I press one.", PressKeys("1"), "Done."])
        call = Call(responder=responder, path=FakePath(instant=False))
        await call.open()
        call.say("Press one, please.")
        await call.playing()
        assert not call.calls.keys
        call.path.utterances[0].play(9999)
        await call.playing(2)
        assert call.calls.keys == [("call-1", "1")]
        call.path.utterances[1].play(9999)
        await call.spoken(2)
        assert len(call.turns) == 1
        await call.close()

    run(case())


def test_keys_that_are_sounded_here_do_not_wait_for_the_reply_that_asked_for_them() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder([PressKeys("1"), "Done."]), tones=lambda *_: [b"\0\0"])
        call.calls.send = call.session.press
        await call.open()
        call.say("Press one, please.")
        await call.spoken(1)
        await call.close()

    run(case())


def test_a_reply_can_hand_the_call_on_once_it_was_heard() -> None:
    async def case() -> None:
        responder = FakeResponder(["I connect you.", Transfer("+15550000009")])
        call = Call(responder=responder, path=FakePath(instant=False))
        await call.open()
        call.say("A human, please.")
        await call.playing()
        assert not call.transfers
        call.path.utterances[0].play(9999)
        await until(lambda: call.transfers)
        assert call.transfers[0][0] == "+15550000009"
        await call.close()

    run(case())


def test_a_transfer_that_fails_is_apologised_for() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder([Transfer("+15550000009")]))
        await call.open()
        call.say("A human, please.")
        await until(lambda: call.transfers)
        call.transfers[0][1](CarrierError("refused"))
        (apology,) = await call.spoken(1)
        assert apology.heard == call.settings.transfer_apology
        assert call.calls.of(CallErrored)
        await call.close()

    run(case())


def test_tools_that_a_reply_used_are_remembered() -> None:
    async def case() -> None:
        use = ToolUse("book", '{"day": 3}', "booked")
        call = Call(responder=FakeResponder([use, "It is booked."], ["You are welcome."]))
        await call.open()
        call.say("Book it.")
        await call.spoken(1)
        assert call.history.turns == (
            Turn(Speaker.USER, "Book it."),
            Turn(Speaker.BOT, "", use),
            Turn(Speaker.BOT, "It is booked."),
        )
        await call.close()

    run(case())


def test_an_interruption_cancels_the_hang_up() -> None:
    async def case() -> None:
        responder = FakeResponder(["Goodbye.", HangUp()], ["Of course."])
        call = Call(responder=responder, path=FakePath(instant=False))
        await call.open()
        call.say("Bye.")
        await call.playing()
        call.stt.stream.give(FinalTranscript("One more question."))
        await call.playing(2)
        call.path.utterances[1].play(9999)
        await call.spoken(2)
        assert not call.ended
        await call.close()

    run(case())


@pytest.mark.parametrize("failure", [SpeechError("no model"), ValueError("a bug")])
def test_a_responder_that_fails_is_apologised_for(failure: Exception) -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder([failure], ["Better."]))
        await call.open()
        call.say("Hello.")
        (apology,) = await call.spoken(1)
        assert apology.heard == call.settings.apology
        call.say("Hello again.")
        assert (await call.spoken(2))[1].heard == "Better."
        await call.close()

    run(case())


def test_a_responder_that_takes_too_long_is_apologised_for_once() -> None:
    async def case() -> None:
        settings = SessionSettings(response_timeout_ms=1, barge_in=BARGE_IN, apology="Sorry.")
        call = Call(responder=FakeResponder([asyncio.Event(), "Late."]), settings=settings)
        await call.open()
        call.say("Hello.")
        await soon(lambda: call.calls.of(CallSpoken))
        assert [spoken.heard for spoken in call.calls.of(CallSpoken)] == ["Sorry."]
        assert call.responder.closed == 1
        await call.close()

    run(case())


def test_a_reply_that_cannot_be_spoken_is_reported() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder(["Hi."]), tts=[FakeTts(SpeechError("mute"))])
        await call.open()
        call.say("Hello.")
        await until(lambda: call.calls.of(CallErrored))
        assert call.calls.of(CallErrored)[0].retryable
        await call.close()

    run(case())


def test_a_key_is_reported_and_answered() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder(["You pressed one."], ["And five."]))
        await call.open()
        call.session.on_path_dtmf("1")
        await call.spoken(1)
        call.session.on_path_dtmf("5")
        await call.spoken(2)
        assert [event.digits for event in call.calls.of(CallDtmf)] == ["1", "5"]
        assert [request.digits for request in call.responder.requests] == ["1", "5"]
        await call.close()

    run(case())


def test_keys_pressed_before_the_answer_are_answered_together() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder([asyncio.Event()], ["Twelve."]))
        await call.open()
        call.session.on_path_dtmf("1")
        await until(lambda: call.responder.requests)
        call.session.on_path_dtmf("2")
        await call.spoken(1)
        assert [request.digits for request in call.responder.requests] == ["1", "12"]
        await call.close()

    run(case())


def test_a_key_in_notify_mode_is_only_reported() -> None:
    async def case() -> None:
        call = Call(mode="notify", opening="Hello you.", path=FakePath(instant=False))
        call.session.on_path_open(call.path)
        await call.playing()
        call.session.on_path_dtmf("1")
        await until(lambda: call.calls.of(CallDtmf))
        assert not call.responder.requests
        assert call.path.clears == 0
        await call.close()

    run(case())


def test_nothing_can_be_said_without_a_path() -> None:
    async def case() -> None:
        call = Call()
        with pytest.raises(NotConnected):
            await call.session.say("Hello.")
        await call.open()
        await call.close()
        with pytest.raises(NotConnected):
            await call.session.say("Hello.")

    run(case())


def test_texts_are_said_one_after_another() -> None:
    async def case() -> None:
        call = Call(path=FakePath(instant=False))
        await call.open()
        first = asyncio.create_task(call.session.say("First text."))
        await call.playing()
        second = asyncio.create_task(call.session.say("Second."))
        await asyncio.sleep(0)
        assert len(call.path.utterances) == 1
        call.path.utterances[0].play(9999)
        await call.playing(2)
        call.path.utterances[1].play(9999)
        assert (await first).heard_ms == 200
        assert (await second).heard_ms == 100
        await call.close()

    run(case())


def test_an_interruption_skips_texts_that_wait() -> None:
    async def case() -> None:
        call = Call(path=FakePath(instant=False))
        await call.open()
        first = asyncio.create_task(call.session.say("First text."))
        await call.playing()
        second = asyncio.create_task(call.session.say("Second."))
        await asyncio.sleep(0)
        call.path.utterances[0].play(100)
        call.stt.stream.give(PartialTranscript("excuse me"))
        assert ((await first).heard_ms, (await first).interrupted) == (100, True)
        assert ((await second).heard_ms, (await second).interrupted) == (0, True)
        assert len(call.path.utterances) == 1
        await call.close()

    run(case())


def test_the_ninth_waiting_text_is_refused() -> None:
    async def case() -> None:
        call = Call(path=FakePath(instant=False))
        await call.open()
        first = asyncio.create_task(call.session.say("First."))
        await call.playing()
        waiting = [asyncio.create_task(call.session.say("More.")) for _ in range(8)]
        await asyncio.sleep(0)
        with pytest.raises(SpeechError, match="too many"):
            await call.session.say("Too much.")
        await call.close()
        assert all(playback.interrupted for playback in await asyncio.gather(first, *waiting))

    run(case())


def test_a_text_that_cannot_be_synthesized_is_told_to_who_wanted_it() -> None:
    async def case() -> None:
        call = Call(tts=[FakeTts(SpeechError("mute"))])
        await call.open()
        with pytest.raises(SpeechError):
            await call.session.say("Hello.")
        await call.close()

    run(case())


def test_who_stops_waiting_for_a_text_does_not_stop_it() -> None:
    async def case() -> None:
        call = Call(path=FakePath(instant=False))
        await call.open()
        saying = asyncio.create_task(call.session.say("Hello."))
        await call.playing()
        saying.cancel()
        await asyncio.wait({saying})
        call.path.utterances[0].play(9999)
        (spoken,) = await call.spoken(1)
        assert spoken.heard == "Hello."
        await call.close()

    run(case())


def test_closing_ends_everything_and_records_what_was_heard() -> None:
    async def case() -> None:
        before = asyncio.all_tasks()
        call = Call(path=FakePath(instant=False))
        await call.open()
        saying = asyncio.create_task(call.session.say("One two three."))
        await call.playing()
        call.path.utterances[0].play(100)
        await call.close()
        await call.session.close()
        assert (await saying).interrupted
        assert [spoken.heard for spoken in call.calls.of(CallSpoken)] == ["One"]
        assert call.path.closed
        assert call.path.sink is None
        assert call.stt.stream.closed
        assert call.closed == ["call-1"]
        assert asyncio.all_tasks() == before

    run(case())


def test_closing_before_the_path_opens_closes_a_path_that_comes_late() -> None:
    async def case() -> None:
        call = Call()
        await call.close()
        call.session.on_path_open(call.path)
        assert call.path.closed

    run(case())


def test_a_lost_path_is_the_caller_hanging_up() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.session.on_path_lost("no media for 30 s")
        assert call.ended == [("call-1", CallState.HANGUP_USER)]
        await call.close()

    run(case())


def test_each_answer_is_timed() -> None:
    async def case() -> None:
        thinking = asyncio.Event()
        call = Call(responder=FakeResponder([thinking, "Yes."]))
        await call.open()
        stopped_ns = call.clock.now_ns()
        call.stt.stream.give(SpeechStopped(stopped_ns))
        await asyncio.sleep(0)
        call.clock.advance_ms(500)
        call.stt.stream.give(FinalTranscript("Well?"))
        await until(lambda: call.responder.requests)
        call.clock.advance_ms(300)
        thinking.set()
        (spoken,) = await call.spoken(1)
        assert spoken.timing == {
            "finalMs": 500,
            "firstTokenMs": 300,
            "firstAudioMs": 0,
            "firstFrameMs": 0,
            "latencyMs": 800,
        }
        assert list(call.session.timings) == call.turns
        assert [timing.latency_ms for timing in call.turns] == [800]
        await call.close()

    run(case())


# --- keys of our own -------------------------------------------------------------------------


def hum(digits: str, audio: AudioFormat) -> Iterable[bytes]:
    """100 ms of something for each key."""
    return (key.encode() * (audio.octets_per_second // 10) for key in digits)


def test_keys_sound_after_what_is_being_said_and_are_no_speech() -> None:
    async def case() -> None:
        call = Call(tones=hum, path=FakePath(instant=False), opening="Hello there.")
        await call.open()
        await call.playing()
        pressing = asyncio.create_task(call.session.press("12"))
        await asyncio.sleep(0)
        greeting = call.path.utterances[0]
        assert len(call.path.utterances) == 1
        greeting.play(greeting.total_ms)
        await call.playing(2)
        keys = call.path.utterances[1]
        assert keys.audio == b"1" * 1600 + b"2" * 1600
        assert not pressing.done()
        keys.play(keys.total_ms)
        assert await pressing is True
        assert len(await call.spoken(1)) == 1
        assert [event.text for event in call.calls.of(CallSpeaking)] == ["Hello there."]
        await call.close()

    run(case())


def test_nothing_that_the_other_side_says_cuts_keys() -> None:
    async def case() -> None:
        call = Call(tones=hum, path=FakePath(instant=False))
        await call.open()
        pressing = asyncio.create_task(call.session.press("1"))
        await call.playing()
        call.say("For sales, press one.")
        call.session.on_path_dtmf("5")
        await until(lambda: call.calls.of(CallSpeech) and call.calls.of(CallDtmf))
        assert call.path.clears == 0
        assert not pressing.done()
        call.path.utterances[0].play(100)
        assert await pressing is True
        await call.close()

    run(case())


def test_an_interruption_of_speech_leaves_keys_that_wait() -> None:
    async def case() -> None:
        call = Call(tones=hum, path=FakePath(instant=False))
        await call.open()
        saying = asyncio.create_task(call.session.say("A long story."))
        await call.playing()
        pressing = asyncio.create_task(call.session.press("9"))
        await asyncio.sleep(0)
        call.say("Stop!")
        assert (await saying).interrupted
        await call.playing(2)
        call.path.utterances[1].play(100)
        assert await pressing is True
        await call.close()

    run(case())


def test_where_the_carrier_sends_keys_it_is_left_to_it() -> None:
    async def case() -> None:
        call = Call()
        assert await call.session.press("1") is False
        await call.open()
        assert await call.session.press("1") is False
        assert call.path.utterances == []
        await call.close()

    run(case())


def test_without_a_path_no_keys_can_be_heard() -> None:
    async def case() -> None:
        call = Call(tones=hum)
        with pytest.raises(NotConnected):
            await call.session.press("1")
        await call.open()
        await call.close()
        with pytest.raises(NotConnected):
            await call.session.press("1")

    run(case())


def test_a_call_that_ends_under_keys_says_that_they_were_not_heard() -> None:
    async def case() -> None:
        call = Call(tones=hum, path=FakePath(instant=False))
        await call.open()
        sounding, waiting = (asyncio.create_task(call.session.press(key)) for key in "12")
        await call.playing()
        await call.close()
        for pressing in (sounding, waiting):
            with pytest.raises(NotConnected):
                await pressing

    run(case())


def test_whoever_stops_waiting_for_keys_does_not_stop_them() -> None:
    async def case() -> None:
        call = Call(tones=hum, path=FakePath(instant=False))
        await call.open()
        pressing = asyncio.create_task(call.session.press("1"))
        await call.playing()
        pressing.cancel()
        await asyncio.gather(pressing, return_exceptions=True)
        again = asyncio.create_task(call.session.press("2"))
        await asyncio.sleep(0)
        call.path.utterances[0].play(100)
        await call.playing(2)
        call.path.utterances[1].play(100)
        assert await again is True
        await call.close()

    run(case())


def test_the_ninth_sequence_of_keys_is_refused() -> None:
    async def case() -> None:
        call = Call(tones=hum, path=FakePath(instant=False))
        await call.open()
        waiting = [asyncio.create_task(call.session.press("1")) for _ in range(8)]
        await call.playing()
        with pytest.raises(SpeechError, match="too many keys"):
            await call.session.press("1")
        for at in range(8):
            await call.playing(at + 1)
            call.path.utterances[at].play(100)
        assert await asyncio.gather(*waiting) == [True] * 8
        assert len(call.path.utterances) == 8
        await call.close()

    run(case())
