"""A conversation that the carrier speaks and hears: what is said, cut, answered and remembered."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import FakeCalls, FakeResponder, Identity, record, run, soon, until
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
from voicecall.ports import HangUp, Playback
from voicecall.session.equipment import Equipment, SessionSettings, Surroundings
from voicecall.session.spoken import PASSAGE_CHARS, SpokenSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.errors import VoicecallError
    from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.unit

LINE = "CA1"


class FakeVoice:
    """Says each text until a test ends it; remembers all requests in their order."""

    def __init__(self, *, instant: bool = True, clock: ManualClock | None = None) -> None:
        self.instant = instant
        self.clock = clock
        self.done: list[str] = []
        self.failures: list[Exception] = []
        self.listen_failure: Exception | None = None
        self.stop_failure: Exception | None = None
        self.saying: asyncio.Future[bool] | None = None
        # Cleared: a request to speak is under way, and a cut does not reach it yet.
        self.sent = asyncio.Event()
        self.sent.set()

    async def say(self, provider_call_id: str, text: str) -> bool:
        assert provider_call_id == LINE
        self.done.append(f"say {text}")
        if self.failures:
            raise self.failures.pop(0)
        if self.instant:
            await asyncio.sleep(0)
            if self.clock is not None:
                self.clock.advance_ms(700)
            return True
        await self.sent.wait()
        self.saying = asyncio.get_running_loop().create_future()
        try:
            return await self.saying
        finally:
            self.saying = None

    async def stop_speaking(self, provider_call_id: str) -> None:
        assert provider_call_id == LINE
        self.done.append("stop")
        if self.stop_failure is not None:
            raise self.stop_failure
        if self.saying is not None and not self.saying.done():
            self.saying.set_result(False)
        await asyncio.sleep(0)

    async def listen(self, provider_call_id: str) -> None:
        assert provider_call_id == LINE
        self.done.append("listen")
        if self.listen_failure is not None:
            raise self.listen_failure

    def end(self, *, completed: bool = True) -> None:
        assert self.saying is not None
        self.saying.set_result(completed)

    @property
    def texts(self) -> list[str]:
        return [each.removeprefix("say ") for each in self.done if each.startswith("say ")]


@dataclass
class Call:
    """A conversation and its neighbours."""

    mode: str = "conversation"
    opening: str | None = None
    named: str | None = LINE
    voice: FakeVoice = field(default_factory=FakeVoice)
    calls: FakeCalls = field(default_factory=FakeCalls)
    responder: FakeResponder | None = field(default_factory=FakeResponder)
    settings: SessionSettings = field(
        default_factory=lambda: SessionSettings(notify_hangup_delay_ms=0)
    )
    clock: ManualClock = field(default_factory=ManualClock)
    history: History = field(default_factory=History)
    turns: list[TurnTiming] = field(default_factory=list)
    ended: list[tuple[str, CallState]] = field(default_factory=list)
    transfers: list[tuple[str, Callable[[VoicecallError], None]]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.record = record(self.mode)
        self.record.provider_call_id = self.named
        self.session = SpokenSession(
            self.record,
            self.opening,
            Equipment((), None, self.responder, self.settings),
            self.history,
            Surroundings(
                calls=self.calls,
                clock=self.clock,
                convert=Identity,
                end=lambda call_id, reason: self.ended.append((call_id, reason)),
                transfer=lambda _, to, failed: self.transfers.append((to, failed)),
                on_turn=self.turns.append,
                on_cleared=lambda _: None,
                on_closed=self.closed.append,
            ),
            self.voice,
        )

    async def open(self) -> None:
        self.session.answered()
        await until(lambda: self.calls.of(CallActive) and "listen" in self.voice.done)

    async def speaking(self, text: str) -> None:
        await until(lambda: self.voice.saying is not None and self.voice.texts[-1] == text)

    async def spoken(self, count: int) -> list[CallSpoken]:
        await until(lambda: len(self.calls.of(CallSpoken)) == count)
        return self.calls.of(CallSpoken)

    @property
    def memory(self) -> list[tuple[Speaker, str]]:
        return [(turn.speaker, turn.text) for turn in self.history.turns]


# --- the course of the call ------------------------------------------------------------------


def test_a_notification_is_said_and_the_call_hung_up() -> None:
    async def case() -> None:
        call = Call(mode="notify", opening="Your car is **ready**. Call 5551234.")
        assert call.voice.done == []
        call.session.answered()
        await soon(lambda: call.ended)
        # Nobody listens, and what is read out digit by digit is remembered as written.
        assert call.voice.done == ["say Your car is ready. Call 5 5 5, 1 2 3 4."]
        assert call.ended == [("call-1", CallState.HANGUP_BOT)]
        assert [type(event) for event in call.calls.events] == [
            CallActive,
            CallSpeaking,
            CallSpoken,
        ]
        assert call.memory == [(Speaker.BOT, "Your car is ready. Call 5551234.")]
        await call.session.close()

    run(case())


def test_the_call_is_hung_up_only_after_the_message_was_said_and_the_delay() -> None:
    async def case() -> None:
        settings = SessionSettings(notify_hangup_delay_ms=20)
        voice = FakeVoice(instant=False)
        call = Call(mode="notify", opening="Hello.", voice=voice, settings=settings)
        call.session.answered()
        await call.speaking("Hello.")
        voice.end()
        await call.spoken(1)
        assert call.ended == []
        await soon(lambda: call.ended)
        await call.session.close()

    run(case())


def test_a_notification_that_cannot_be_said_ends_the_call_as_an_error() -> None:
    async def case() -> None:
        call = Call(mode="notify", opening="Hello.")
        call.voice.failures = [CarrierError("no such voice")]
        call.session.answered()
        await until(lambda: call.ended)
        assert call.ended == [("call-1", CallState.ERROR)]
        (errored,) = call.calls.of(CallErrored)
        assert (errored.message, errored.retryable) == ("no such voice", True)
        assert [spoken.heard for spoken in call.calls.of(CallSpoken)] == [""]
        assert call.memory == []
        await call.session.close()

    run(case())


def test_a_conversation_listens_and_greets_once_however_often_it_is_answered() -> None:
    async def case() -> None:
        call = Call(opening="Good day.")
        for _ in range(2):
            await call.open()
        await call.spoken(1)
        assert sorted(call.voice.done) == ["listen", "say Good day."]
        assert call.ended == []
        await call.session.close()

    run(case())


@pytest.mark.parametrize("what", ["listen", "greet"])
def test_a_carrier_that_fails_is_told_of_and_the_conversation_goes_on(what: str) -> None:
    async def case() -> None:
        call = Call(opening="Good day.", responder=FakeResponder(["Yes."]))
        if what == "listen":
            call.voice.listen_failure = CarrierError("broken")
        else:
            call.voice.failures = [CarrierError("broken")]
        await call.open()
        await until(lambda: call.calls.of(CallErrored))
        call.session.heard("Are you there?", awaited=False)
        await until(lambda: "Yes." in call.voice.texts)
        assert [errored.message for errored in call.calls.of(CallErrored)] == ["broken"]
        await call.session.close()

    run(case())


def test_a_call_that_the_carrier_has_not_named_is_an_error_told_of() -> None:
    async def case() -> None:
        call = Call(named=None)
        call.session.answered()
        await until(lambda: call.calls.of(CallErrored))
        with pytest.raises(CarrierError, match="not named"):
            await call.session.say("Hello.")
        await call.session.close()

    run(case())


# --- hearing and answering -------------------------------------------------------------------


def test_words_are_answered_in_one_text_and_both_are_remembered() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder(["It is ", "three. ", "And a ", "half."]))
        await call.open()
        call.session.heard("What time is it?", awaited=False)
        (spoken,) = await call.spoken(1)
        assert call.voice.texts == ["It is three. And a half."]
        assert (spoken.heard, spoken.interrupted) == ("It is three. And a half.", False)
        assert call.memory == [
            (Speaker.USER, "What time is it?"),
            (Speaker.BOT, "It is three. And a half."),
        ]
        # What webhooks reported is not reported again.
        assert call.calls.of(CallSpeech) == []
        await call.session.close()

    run(case())


def test_a_long_reply_is_said_in_passages_of_whole_sentences() -> None:
    async def case() -> None:
        sentence = "This is a sentence of a very long story. "
        call = Call(responder=FakeResponder([sentence * 60]))
        await call.open()
        call.session.heard("Go on.", awaited=False)
        (spoken,) = await call.spoken(1)
        assert len(call.voice.texts) == 3
        assert all(text.endswith("story.") for text in call.voice.texts)
        assert max(map(len, call.voice.texts)) < PASSAGE_CHARS + len(sentence)
        assert spoken.heard == " ".join(call.voice.texts) == (sentence * 60).strip()
        await call.session.close()

    run(case())


def test_the_turn_is_timed_from_the_transcript_to_the_request() -> None:
    async def case() -> None:
        clock = ManualClock()
        call = Call(
            clock=clock, voice=FakeVoice(clock=clock), responder=FakeResponder(["Fine. Thanks."])
        )
        await call.open()
        call.session.heard("How are you?", awaited=False)
        (spoken,) = await call.spoken(1)
        (timing,) = call.turns
        assert (timing.caller_stopped_ns, timing.latency_ms, timing.first_audio_ms) == (
            None,
            None,
            0.0,
        )
        assert list(call.session.timings) == [timing]
        assert spoken.timing == {"firstTokenMs": 0.0}
        assert await call.session.say("One more.") == Playback(700, 700, interrupted=False)
        assert call.turns == [timing]
        await call.session.close()

    run(case())


def test_words_that_somebody_waits_for_are_remembered_and_not_answered() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder(["No."]))
        await call.open()
        call.session.heard("Bond.", awaited=True)
        assert call.memory == [(Speaker.USER, "Bond.")]
        assert call.responder is not None
        await call.session.say("Thank you.")
        assert call.responder.requests == []
        await call.session.close()

    run(case())


def test_keys_reach_the_responder_and_are_forgotten_once_answered() -> None:
    async def case() -> None:
        responder = FakeResponder(["Sales."], ["Support."])
        call = Call(responder=responder)
        await call.open()
        for count, digits in enumerate(("12", "3"), 1):
            call.session.pressed(digits)
            await call.spoken(count)
        assert [request.digits for request in responder.requests] == ["12", "3"]
        assert call.calls.of(CallDtmf) == []
        await call.session.close()

    run(case())


def test_keys_pressed_while_somebody_waits_for_words_are_kept_for_the_next_reply() -> None:
    async def case() -> None:
        responder = FakeResponder(["Well."])
        call = Call(responder=responder)
        await call.open()
        call.calls.awaited = True
        call.session.pressed("7")
        call.calls.awaited = False
        call.session.heard("So?", awaited=False)
        await call.spoken(1)
        assert [request.digits for request in responder.requests] == ["7"]
        await call.session.close()

    run(case())


def test_a_reply_may_end_the_call_once_it_was_said() -> None:
    async def case() -> None:
        voice = FakeVoice(instant=False)
        call = Call(voice=voice, responder=FakeResponder(["Bye.", HangUp()]))
        await call.open()
        call.session.heard("Bye.", awaited=False)
        await call.speaking("Bye.")
        assert call.ended == []
        voice.end()
        await until(lambda: call.ended)
        assert call.ended == [("call-1", CallState.HANGUP_BOT)]
        await call.session.close()

    run(case())


def test_a_responder_that_fails_is_apologised_for_once() -> None:
    async def case() -> None:
        call = Call(responder=FakeResponder([SpeechError("down")]))
        await call.open()
        call.session.heard("Hello there.", awaited=False)
        await call.spoken(1)
        assert call.voice.texts == [call.settings.apology]
        assert call.memory[-1] == (Speaker.BOT, call.settings.apology)
        await call.session.close()

    run(case())


def test_newer_words_are_answered_instead_of_older_ones() -> None:
    async def case() -> None:
        responder = FakeResponder([asyncio.Event(), "Old."], ["New."])
        call = Call(responder=responder)
        await call.open()
        call.session.heard("First thing.", awaited=False)
        await until(lambda: responder.requests)
        call.session.heard("Second thing.", awaited=False)
        await call.spoken(1)
        assert call.voice.texts == ["New."]
        assert responder.closed == 2
        assert responder.requests[1].history[-1].text == "First thing. Second thing."
        await call.session.close()

    run(case())


def test_a_call_without_a_responder_hears_and_does_not_answer() -> None:
    async def case() -> None:
        call = Call(responder=None)
        await call.open()
        call.session.heard("Anybody?", awaited=False)
        assert call.memory == [(Speaker.USER, "Anybody?")]
        await call.session.close()

    run(case())


@pytest.mark.parametrize("when", ["before the answer", "on a notification", "after the end"])
def test_what_is_heard_out_of_place_changes_nothing(when: str) -> None:
    async def case() -> None:
        mode = "notify" if when == "on a notification" else "conversation"
        call = Call(mode=mode, responder=FakeResponder(["No."]))
        if when != "before the answer":
            call.session.answered()
            await until(lambda: call.calls.of(CallActive))
        if when == "after the end":
            await call.session.close()
            call.session.answered()
        call.session.heard("Hello?", awaited=False)
        call.session.pressed("1")
        assert call.memory == []
        await call.session.close()
        assert call.voice.texts == []

    run(case())


# --- interruptions ---------------------------------------------------------------------------


def test_words_cut_what_is_being_said_and_are_answered() -> None:
    async def case() -> None:
        voice = FakeVoice(instant=False)
        call = Call(voice=voice, responder=FakeResponder(["A long story."], ["Sorry."]))
        await call.open()
        call.session.heard("Tell me.", awaited=False)
        await call.speaking("A long story.")
        call.session.heard("No, stop it.", awaited=False)
        (cut,) = await call.spoken(1)
        assert (cut.text, cut.heard, cut.interrupted) == ("A long story.", "", True)
        await call.speaking("Sorry.")
        # The carrier has fallen silent before it is told to say something else.
        assert voice.done == ["listen", "say A long story.", "stop", "say Sorry."]
        voice.end()
        await call.spoken(2)
        assert call.memory == [(Speaker.USER, "Tell me. No, stop it."), (Speaker.BOT, "Sorry.")]
        await call.session.close()

    run(case())


def test_a_request_to_speak_that_a_cut_has_overtaken_is_cut_again() -> None:
    async def case() -> None:
        voice = FakeVoice(instant=False)
        call = Call(voice=voice)
        await call.open()
        voice.sent.clear()
        saying = asyncio.create_task(call.session.say("Hello."))
        await until(lambda: voice.texts)
        call.session.pressed("1")
        await until(lambda: "stop" in voice.done)
        voice.sent.set()
        await until(lambda: voice.saying is not None)
        voice.end()
        assert (await saying).interrupted
        await until(lambda: voice.done.count("stop") == 2)
        await call.session.close()

    run(case())


def test_a_carrier_that_does_not_fall_silent_does_not_keep_the_floor() -> None:
    async def case() -> None:
        voice = FakeVoice(instant=False)
        voice.stop_failure = CarrierError("it is silent already")
        call = Call(voice=voice)
        await call.open()
        first = asyncio.create_task(call.session.say("One."))
        await call.speaking("One.")
        call.session.pressed("1")
        assert (await first).interrupted
        voice.instant = True
        assert not (await call.session.say("Two.")).interrupted
        assert call.calls.of(CallErrored) == []
        await call.session.close()

    run(case())


@pytest.mark.parametrize("protected", ["greeting", "barge-in off", "assent"])
def test_some_things_are_not_cut(protected: str) -> None:
    async def case() -> None:
        voice = FakeVoice(instant=False)
        settings = SessionSettings(barge_in=BargeIn(enabled=protected != "barge-in off"))
        opening = "Good day." if protected == "greeting" else None
        call = Call(opening=opening, voice=voice, settings=settings)
        await call.open()
        saying = None if opening else asyncio.create_task(call.session.say("Good day."))
        await call.speaking("Good day.")
        call.session.heard("Aha." if protected == "assent" else "Who is it?", awaited=True)
        voice.end()
        (spoken,) = await call.spoken(1)
        assert (spoken.heard, spoken.interrupted) == ("Good day.", False)
        assert "stop" not in voice.done
        # What the bot was saying was there first.
        assert call.memory[0] == (Speaker.BOT, "Good day.")
        assert len(call.memory) == (1 if protected == "assent" else 2)
        assert saying is None or not (await saying).interrupted
        await call.session.close()

    run(case())


def test_of_a_text_that_the_carrier_cut_only_whole_passages_count() -> None:
    async def case() -> None:
        voice = FakeVoice(instant=False)
        sentence = "This is a sentence of a very long story. "
        call = Call(voice=voice)
        await call.open()
        saying = asyncio.create_task(call.session.say(sentence * 40))
        for completed in (True, False):
            await until(lambda: voice.saying is not None)
            voice.end(completed=completed)
            await until(lambda: voice.saying is None)
        assert (await saying).interrupted
        (spoken,) = await call.spoken(1)
        assert spoken.heard == voice.texts[0]
        assert spoken.text == " ".join(voice.texts)
        await call.session.close()

    run(case())


# --- being asked to speak --------------------------------------------------------------------


def test_texts_are_said_one_after_the_other() -> None:
    async def case() -> None:
        voice = FakeVoice(instant=False)
        call = Call(voice=voice)
        await call.open()
        sayings = [asyncio.create_task(call.session.say(text)) for text in ("One.", "Two.")]
        await call.speaking("One.")
        assert voice.texts == ["One."]
        voice.end()
        await call.speaking("Two.")
        voice.end()
        assert [(await saying).interrupted for saying in sayings] == [False, False]
        await call.session.close()

    run(case())


def test_an_interruption_skips_texts_that_wait() -> None:
    async def case() -> None:
        voice = FakeVoice(instant=False)
        call = Call(voice=voice)
        await call.open()
        sayings = [asyncio.create_task(call.session.say(text)) for text in ("One.", "Two.")]
        await call.speaking("One.")
        call.session.heard("Wait a moment.", awaited=False)
        assert [(await saying).interrupted for saying in sayings] == [True, True]
        assert voice.texts == ["One."]
        await call.session.close()

    run(case())


def test_a_text_nothing_of_which_can_be_said_is_no_text() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        assert await call.session.say("\U0001f600 ...") == Playback(0, 0, interrupted=False)
        assert call.voice.texts == []
        assert call.calls.of(CallSpeaking) == []
        await call.session.close()

    run(case())


def test_a_refused_text_is_an_error_for_whoever_asked() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.voice.failures = [CarrierError("busy", status=429)]
        with pytest.raises(CarrierError, match="busy"):
            await call.session.say("Hello.")
        assert not (await call.session.say("Hello again.")).interrupted
        await call.session.close()

    run(case())


def test_nothing_can_be_said_before_the_answer_and_after_the_end() -> None:
    async def case() -> None:
        call = Call()
        with pytest.raises(NotConnected):
            await call.session.say("Hello.")
        await call.open()
        await call.session.close()
        with pytest.raises(NotConnected):
            await call.session.say("Hello.")

    run(case())


# --- end -------------------------------------------------------------------------------------


def test_closing_ends_everything_and_tells_what_was_cut() -> None:
    async def case() -> None:
        before = asyncio.all_tasks()
        voice = FakeVoice(instant=False)
        call = Call(voice=voice)
        await call.open()
        saying = asyncio.create_task(call.session.say("One two three."))
        await call.speaking("One two three.")
        for _ in range(2):
            await call.session.close()
        assert (await saying).interrupted
        assert [spoken.heard for spoken in call.calls.of(CallSpoken)] == [""]
        assert call.closed == ["call-1"]
        assert voice.saying is None
        assert asyncio.all_tasks() == before

    run(case())


def test_an_ended_conversation_is_freed_at_once() -> None:
    async def case() -> None:
        call = Call(opening="Good day.", responder=FakeResponder(["Yes."]))
        await call.open()
        call.session.heard("Are you there?", awaited=False)
        await call.spoken(2)
        await call.session.close()
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
