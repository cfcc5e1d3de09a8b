from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import (
    FakeCalls,
    FakeModel,
    FakePath,
    FakeTts,
    FakeUtterance,
    Identity,
    record,
    run,
    soon,
    until,
)
from voicecall.audio import Transcoder
from voicecall.call.events import (
    CallActive,
    CallDtmf,
    CallErrored,
    CallSpeaking,
    CallSpeech,
    CallSpoken,
)
from voicecall.call.record import CallState, Speaker
from voicecall.clock import NS_PER_MS, ManualClock
from voicecall.dialog.history import History
from voicecall.dialog.turns import BargeIn
from voicecall.errors import DependencyMissing, NotConnected, SpeechError
from voicecall.llm.actions import end_call, send_dtmf, transfer_call
from voicecall.llm.toolbox import Toolbox
from voicecall.llm.tools import tool
from voicecall.ports import (
    PCM16_8K,
    ULAW_8K,
    FinalTranscript,
    PartialTranscript,
    Playback,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolUse,
    Turn,
)
from voicecall.session.equipment import Equipment, SessionSettings, Surroundings
from voicecall.session.errands import ErrandSettings
from voicecall.session.realtime import Model, RealtimeSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from voicecall.errors import VoicecallError
    from voicecall.ports import AudioFormat
    from voicecall.session.errands import Tools
    from voicecall.session.speak import MakeConversion
    from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.unit

SECOND = b"\x01\x00" * 8000
BARGE_IN = BargeIn(min_speech_ms=0, min_level_dbfs=-96)


@tool
async def look_up(question: str) -> str:
    """Look something up.

    Args:
        question: what.
    """
    return f"About {question}: eight o'clock."


@dataclass
class Call:
    """A session and its neighbours."""

    mode: str = "conversation"
    opening: str | None = None
    path: FakePath = field(default_factory=lambda: FakePath(instant=False))
    calls: FakeCalls = field(default_factory=FakeCalls)
    engine: FakeModel = field(default_factory=FakeModel)
    tts: Sequence[FakeTts] = ()
    tools: Tools | None = None
    errands: ErrandSettings = field(default_factory=ErrandSettings)
    settings: SessionSettings = field(
        default_factory=lambda: SessionSettings(notify_hangup_delay_ms=0, barge_in=BARGE_IN)
    )
    clock: ManualClock = field(default_factory=ManualClock)
    history: History = field(default_factory=History)
    convert: MakeConversion = Identity
    turns: list[TurnTiming] = field(default_factory=list)
    cleared: list[float] = field(default_factory=list)
    ended: list[CallState] = field(default_factory=list)
    transfers: list[tuple[str, Callable[[VoicecallError], None]]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    tones: Callable[[str, AudioFormat], Iterable[bytes]] | None = None

    def __post_init__(self) -> None:
        self.stream = self.engine.stream
        self.session = RealtimeSession(
            record(self.mode),
            self.opening,
            Equipment(self.tts, settings=self.settings),
            self.history,
            Surroundings(
                calls=self.calls,
                clock=self.clock,
                convert=self.convert,
                end=lambda _, reason: self.ended.append(reason),
                transfer=lambda _, to, failed: self.transfers.append((to, failed)),
                on_turn=self.turns.append,
                on_cleared=self.cleared.append,
                on_closed=self.closed.append,
                tones=self.tones,
            ),
            Model(self.engine, self.tools, self.errands, key_pause_ms=5),
        )

    async def open(self) -> None:
        """The media socket starts, and the model is there."""
        self.session.on_path_open(self.path)
        await until(lambda: self.path.sink is not None or self.mode == "notify")

    def reply(self, reply_id: str, text: str, *, seconds: int = 1, complete: bool = True) -> None:
        """The model makes a reply, much faster than it is played."""
        self.stream.give(ReplyText(reply_id, text))
        self.stream.give(*[ReplyAudio(reply_id, SECOND)] * seconds)
        if complete:
            self.stream.give(ReplyDone(reply_id))

    async def playing(self, count: int = 1, octets: int = len(SECOND)) -> FakeUtterance:
        """So many things have been or are being said; the newest."""
        await until(lambda: len(self.path.utterances) == count)
        await until(lambda: len(self.path.utterances[-1].audio) >= octets)
        return self.path.utterances[-1]

    async def played(self, count: int = 1) -> None:
        """Wait for the so many-th thing to be handed over, and play it."""
        utterance = await self.playing(count)
        await until(lambda: utterance.finished)
        utterance.play(99_999)

    def started(self) -> None:
        self.stream.give(SpeechStarted(self.clock.now_ns()))

    def stopped(self) -> None:
        self.stream.give(SpeechStopped(self.clock.now_ns()))

    async def consumed(self) -> None:
        """The session has seen everything the model has given."""
        await until(self.stream._events.empty)

    async def spoken(self, count: int) -> list[CallSpoken]:
        await until(lambda: len(self.calls.of(CallSpoken)) == count)
        return self.calls.of(CallSpoken)

    @property
    def remembered(self) -> list[tuple[Speaker, str]]:
        return [(turn.speaker, turn.text) for turn in self.history.turns]

    async def close(self) -> None:
        await self.session.close()


# --- the beginning --------------------------------------------------------------------------------


def test_the_model_is_there_before_the_call_is_answered_and_knows_what_came_before() -> None:
    async def case() -> None:
        history = History()
        history.add(Speaker.USER, "I called yesterday.")
        settings = SessionSettings(instructions="You are a baker.")
        call = Call(history=history, settings=settings, tools=Toolbox([look_up]))
        await until(lambda: call.session._stream is not None)
        (briefing,) = call.engine.briefings
        assert briefing.instructions.startswith("You are a baker.")
        assert briefing.history == (Turn(Speaker.USER, "I called yesterday."),)
        assert [spec.name for spec in briefing.tools] == ["look_up"]
        assert not call.calls.events
        await call.close()
        assert call.stream.closed

    run(case())


def test_the_model_is_asked_to_greet_and_the_greeting_is_played_and_recorded() -> None:
    async def case() -> None:
        call = Call(opening="Hello there.")
        await call.open()
        await until(lambda: call.stream.said)
        assert call.stream.said == ["Hello there."]
        call.reply("r1", "Hello there!")
        await call.played()
        (spoken,) = await call.spoken(1)
        assert (spoken.text, spoken.heard, spoken.interrupted) == ("Hello there!",) * 2 + (False,)
        kinds = [type(event) for event in call.calls.events]
        assert kinds == [CallActive, CallSpeaking, CallSpoken]
        assert call.remembered == [(Speaker.BOT, "Hello there!")]
        assert call.turns == []
        await call.close()

    run(case())


def test_the_greeting_waits_for_a_model_that_is_not_there_yet() -> None:
    async def case() -> None:
        call = Call(opening="Hello.")
        call.engine.may_open.clear()
        call.session.on_path_open(call.path)
        await until(lambda: call.calls.of(CallActive))
        assert call.path.sink is None
        call.engine.may_open.set()
        await until(lambda: call.stream.said == ["Hello."])
        await call.close()

    run(case())


def test_a_greeting_that_the_model_cannot_say_does_not_end_the_call() -> None:
    async def case() -> None:
        call = Call(opening="Hello.")
        await call.open()
        await until(lambda: call.stream.said)
        call.stream.give(ReplyDone("wish-1", failure="rate_limit_exceeded"))
        await until(lambda: call.calls.of(CallErrored))
        call.reply("r1", "Anybody there?")
        await call.played()
        await call.spoken(1)
        assert not call.ended
        await call.close()

    run(case())


def test_what_the_model_says_before_anybody_listens_is_not_heard() -> None:
    async def case() -> None:
        call = Call()
        call.reply("r1", "Is anybody there?")
        call.stream.give(FinalTranscript("Noise."), PartialTranscript("Noise"))
        await until(lambda: call.engine.briefings)
        await call.open()
        assert not call.path.utterances
        await call.close()

    run(case())


# --- audio ----------------------------------------------------------------------------------------


def test_audio_goes_both_ways_untouched_where_the_formats_are_the_same() -> None:
    async def case() -> None:
        call = Call(engine=FakeModel(ULAW_8K), path=FakePath(audio=ULAW_8K, instant=False))
        await call.open()
        assert call.path.coded
        assert call.path.sink is not None
        call.path.sink(b"\x7f" * 160)
        assert call.stream.pushed == [b"\x7f" * 160]
        call.stream.give(ReplyAudio("r1", b"\x80" * 8000), ReplyDone("r1"))
        utterance = await call.playing(octets=8000)
        assert utterance.audio == b"\x80" * 8000
        await call.close()

    run(case())


def test_otherwise_it_is_converted_both_ways() -> None:
    async def case() -> None:
        call = Call(
            engine=FakeModel(ULAW_8K),
            path=FakePath(audio=PCM16_8K, instant=False),
            convert=Transcoder,
        )
        await call.open()
        assert not call.path.coded
        assert call.path.sink is not None
        call.path.sink(bytes(320))
        assert [len(audio) for audio in call.stream.pushed] == [160]
        call.stream.give(ReplyAudio("r1", b"\xff" * 8000), ReplyDone("r1"))
        utterance = await call.playing(octets=15_900)
        assert set(utterance.audio) == {0}
        await call.close()

    run(case())


# --- turns ----------------------------------------------------------------------------------------


def test_the_model_answers_by_itself_and_the_turn_is_timed() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.started()
        call.stopped()
        await call.consumed()
        stopped_ns = call.clock.now_ns()
        call.clock.advance_ms(500)
        call.stream.give(FinalTranscript("When do you open?"))
        await until(lambda: call.calls.of(CallSpeech))
        call.clock.advance_ms(100)
        call.reply("r1", "We open at eight.")
        await call.played()
        (spoken,) = await call.spoken(1)
        assert spoken.timing == {
            "finalMs": 500.0,
            "firstTokenMs": 100.0,
            "firstAudioMs": 0.0,
            "firstFrameMs": 0.0,
            "latencyMs": 600.0,
        }
        (timing,) = call.turns
        assert timing.caller_stopped_ns == stopped_ns
        (speech,) = call.calls.of(CallSpeech)
        assert (speech.text, speech.confidence) == ("When do you open?", None)
        assert not call.stream.said
        assert not call.stream.heards
        assert call.remembered == [
            (Speaker.USER, "When do you open?"),
            (Speaker.BOT, "We open at eight."),
        ]
        await call.close()

    run(case())


def test_a_transcript_that_comes_during_the_answer_belongs_before_it() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.started()
        call.stopped()
        await call.consumed()
        call.clock.advance_ms(400)
        call.reply("r1", "We open at eight.")
        await call.playing()
        call.clock.advance_ms(400)
        call.stream.give(FinalTranscript("When do you open?"))
        await until(lambda: call.calls.of(CallSpeech))
        await call.played()
        (spoken,) = await call.spoken(1)
        assert not spoken.interrupted
        assert spoken.timing == {"firstFrameMs": 0.0, "latencyMs": 400.0, "firstAudioMs": 0.0}
        assert [text for _, text in call.remembered] == ["When do you open?", "We open at eight."]
        assert len(call.turns) == 1
        await call.close()

    run(case())


def test_an_awaited_transcript_is_reported_and_answered_all_the_same() -> None:
    async def case() -> None:
        call = Call()
        call.calls.awaited = True
        await call.open()
        call.started()
        call.stopped()
        call.stream.give(FinalTranscript("Blue."))
        call.reply("r1", "Blue it is.")
        await call.played()
        await call.spoken(1)
        assert [speech.text for speech in call.calls.of(CallSpeech)] == ["Blue."]
        await call.close()

    run(case())


# --- interruptions --------------------------------------------------------------------------------


def test_an_interruption_falls_silent_and_both_sides_know_what_was_heard() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.reply("r1", "one two three four", complete=False)
        utterance = await call.playing()
        utterance.play(500)
        call.started()
        (spoken,) = await call.spoken(1)
        assert (spoken.text, spoken.heard, spoken.interrupted) == (
            "one two three four",
            "one two",
            True,
        )
        assert call.path.clears == 1
        assert call.stream.cancels == 1
        assert call.stream.heards == [("r1", 500)]
        assert len(call.cleared) == 1
        call.stream.give(ReplyAudio("r1", SECOND), ReplyDone("r1", interrupted=True))
        call.stopped()
        call.stream.give(FinalTranscript("Stop."))
        call.reply("r2", "Sorry.")
        await call.played(2)
        await call.spoken(2)
        assert len(utterance.audio) == len(SECOND)
        assert call.remembered == [
            (Speaker.BOT, "one two"),
            (Speaker.USER, "Stop."),
            (Speaker.BOT, "Sorry."),
        ]
        await call.close()

    run(case())


def test_a_reply_that_the_model_has_made_whole_is_cut_without_cancelling_anything() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.reply("r1", "one two three four")
        (await call.playing()).play(250)
        call.started()
        await call.spoken(1)
        assert (call.stream.cancels, call.stream.heards) == (0, [("r1", 250)])
        await call.close()

    run(case())


def test_a_cough_does_not_cut_what_has_come() -> None:
    async def case() -> None:
        settings = SessionSettings(barge_in=BargeIn(min_speech_ms=200, min_level_dbfs=-96))
        call = Call(settings=settings)
        await call.open()
        call.reply("r1", "one two three four", complete=False)
        await call.playing()
        call.started()
        call.stopped()
        call.stream.give(ReplyDone("r1", interrupted=True))
        await call.consumed()
        call.clock.advance_ms(1000)
        await call.played()
        (spoken,) = await call.spoken(1)
        assert (spoken.heard, call.path.clears, call.cleared) == ("one two three four", 0, [])
        # It was the model that stopped in the middle.
        assert spoken.interrupted
        await call.close()

    run(case())


def test_speech_that_goes_on_cuts_when_it_is_long_and_loud_enough() -> None:
    async def case() -> None:
        settings = SessionSettings(barge_in=BargeIn(min_speech_ms=5, min_level_dbfs=-40))
        call = Call(settings=settings)
        await call.open()
        call.reply("r1", "one two three four")
        await call.playing()
        call.started()
        await call.consumed()
        call.clock.advance_ms(10)
        await soon(
            lambda: call.session._overlap.deadline_ns == call.clock.now_ns() + 100 * NS_PER_MS
        )
        assert call.path.clears == 0
        assert call.path.sink is not None
        call.path.sink(b"\x00\x20\x00\xe0" * 400)
        call.clock.advance_ms(200)
        await soon(lambda: call.path.clears)
        await call.close()

    run(case())


def test_where_interruptions_are_switched_off_replies_are_heard_to_their_end() -> None:
    async def case() -> None:
        call = Call(settings=SessionSettings(barge_in=BargeIn(enabled=False)))
        await call.open()
        call.reply("r1", "one two three four")
        await call.playing()
        call.started()
        call.session.on_path_dtmf("1")
        await call.played()
        (spoken,) = await call.spoken(1)
        assert not spoken.interrupted
        assert call.path.clears == 0
        await call.close()

    run(case())


def test_the_greeting_is_protected_and_what_follows_is_not() -> None:
    async def case() -> None:
        call = Call(opening="Hello there.")
        await call.open()
        await until(lambda: call.stream.said)
        call.reply("r1", "Hello there.")
        await call.playing()
        call.started()
        call.session.on_path_dtmf("1")
        await call.consumed()
        assert call.path.clears == 0
        await call.played()
        await call.spoken(1)
        call.stopped()
        call.reply("r2", "How can I help?")
        await call.playing(2)
        call.started()
        await until(lambda: call.path.clears)
        await call.close()

    run(case())


# --- saying what others want ----------------------------------------------------------------------


def test_texts_are_said_by_the_model_after_what_it_is_saying() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.reply("r1", "Let me see.")
        await call.playing()
        saying = asyncio.create_task(call.session.say("Your table is booked."))
        await asyncio.sleep(0)
        assert call.stream.said == []
        await call.played()
        await until(lambda: call.stream.said == ["Your table is booked."])
        call.reply("r2", "Your table is booked.")
        await call.played(2)
        assert await saying == Playback(1000, 1000, interrupted=False)
        await call.close()

    run(case())


def test_a_text_the_caller_interrupts_is_told_as_far_as_it_was_heard() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        saying = asyncio.create_task(call.session.say("one two three four"))
        await until(lambda: call.stream.said)
        call.reply("r1", "one two three four")
        (await call.playing()).play(500)
        call.started()
        assert await saying == Playback(500, 1000, interrupted=True)
        await call.close()

    run(case())


def test_nothing_can_be_said_before_the_path_opens_nor_without_the_model() -> None:
    async def case() -> None:
        call = Call()
        with pytest.raises(NotConnected):
            await call.session.say("Hello.")
        call.engine.may_open.clear()
        call.session.on_path_open(call.path)
        with pytest.raises(NotConnected):
            await call.session.say("Hello.")
        await call.close()
        with pytest.raises(NotConnected):
            await call.session.say("Hello.")

    run(case())


def test_what_still_waits_when_the_call_ends_was_not_heard() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        saying = asyncio.create_task(call.session.say("Hello."))
        await until(lambda: call.stream.said)
        await call.close()
        assert await saying == Playback(0, 0, interrupted=True)

    run(case())


# --- keys -----------------------------------------------------------------------------------------


def test_keys_interrupt_are_recorded_and_told_to_the_model_together() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.reply("r1", "one two three four")
        await call.playing()
        call.session.on_path_dtmf("4")
        call.session.on_path_dtmf("2")
        assert call.path.clears == 1
        await soon(lambda: call.stream.prompts)
        assert call.stream.prompts == ["[The caller pressed 42 on the keypad.]"]
        await until(lambda: len(call.calls.of(CallDtmf)) == 2)
        assert [event.digits for event in call.calls.of(CallDtmf)] == ["4", "2"]
        call.reply("r2", "Sales.")
        await call.played(2)
        await call.spoken(2)
        assert [timing.final_ns is not None for timing in call.turns] == [True]
        await call.close()

    run(case())


def test_keys_that_somebody_waits_for_are_not_answered() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.calls.awaited = True
        call.session.on_path_dtmf("4")
        call.calls.awaited = False
        call.session.on_path_dtmf("2")
        await soon(lambda: call.stream.prompts)
        assert call.stream.prompts == ["[The caller pressed 2 on the keypad.]"]
        await until(lambda: len(call.calls.of(CallDtmf)) == 2)
        await call.close()

    run(case())


def test_keys_before_the_path_opens_and_after_the_end_are_nothing() -> None:
    async def case() -> None:
        call = Call()
        call.session.on_path_dtmf("1")
        await call.close()
        call.session.on_path_dtmf("1")
        assert not call.calls.events

    run(case())


def test_keys_of_ours_are_sounded_after_what_is_being_said() -> None:
    async def case() -> None:
        call = Call(tones=lambda digits, audio: [digits.encode() * audio.rate_hz])
        with pytest.raises(NotConnected):
            await call.session.press("5")
        await call.open()
        call.reply("r1", "Just a second.")
        await call.playing()
        pressing = asyncio.create_task(call.session.press("5"))
        await asyncio.sleep(0)
        await call.played()
        utterance = await call.playing(2, octets=8000)
        assert utterance.audio == b"5" * 8000
        call.started()
        await call.consumed()
        assert call.path.clears == 0
        utterance.play(1000)
        assert await pressing
        await call.close()

    run(case())


def test_where_the_carrier_sends_keys_none_are_sounded() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        assert not await call.session.press("5")
        await call.close()

    run(case())


# --- tools ----------------------------------------------------------------------------------------


def test_a_tool_is_used_and_the_model_goes_on_with_what_it_gave() -> None:
    async def case() -> None:
        call = Call(tools=Toolbox([look_up]))
        await call.open()
        call.stream.give(ToolCall("t1", "look_up", '{"question": "opening"}'))
        await until(lambda: call.stream.results)
        output = "About opening: eight o'clock."
        assert call.stream.results == [("t1", output)]
        (turn,) = call.history.turns
        assert turn.tool == ToolUse("look_up", '{"question": "opening"}', output)
        await call.close()

    run(case())


def test_a_tool_that_takes_long_is_covered_and_given_up() -> None:
    async def case() -> None:
        @tool
        async def hang() -> str:
            """Never return."""
            await asyncio.get_running_loop().create_future()
            return ""

        box = Toolbox([hang])
        errands = ErrandSettings(timeout_ms=40, filler_after_ms=5, filler="One moment, please.")
        call = Call(tools=box, errands=errands)
        await call.open()
        call.stream.give(ToolCall("t1", "hang", "{}"))
        await soon(lambda: call.stream.said)
        assert call.stream.said == ["One moment, please."]
        await soon(lambda: call.stream.results)
        assert "in time" in call.stream.results[0][1]
        await call.close()
        await box.close()

    run(case())


def test_the_model_hangs_up_once_its_farewell_was_heard() -> None:
    async def case() -> None:
        call = Call(tools=Toolbox([end_call]))
        await call.open()
        call.started()
        call.stopped()
        call.reply("r1", "Goodbye.")
        call.stream.give(ToolCall("t1", "end_call", "{}"))
        await call.playing()
        await until(lambda: call.history.turns)
        assert not call.ended
        await call.played()
        await until(lambda: call.ended)
        assert call.ended == [CallState.HANGUP_BOT]
        assert call.calls.of(CallSpoken)
        assert call.stream.results == []
        await call.close()

    run(case())


def test_a_caller_who_interrupts_the_farewell_is_not_hung_up_on() -> None:
    async def case() -> None:
        call = Call(tools=Toolbox([end_call]))
        await call.open()
        call.reply("r1", "Goodbye then.")
        call.stream.give(ToolCall("t1", "end_call", "{}"))
        await call.playing()
        await until(lambda: call.history.turns)
        call.started()
        await until(lambda: call.stream.results)
        assert call.stream.results == [("t1", "Not done: the caller spoke in between.")]
        assert not call.ended
        await call.close()

    run(case())


def test_a_model_that_hangs_up_without_a_word_says_goodbye_first() -> None:
    async def case() -> None:
        call = Call(tools=Toolbox([end_call]))
        await call.open()
        call.started()
        call.stopped()
        call.stream.give(ToolCall("t1", "end_call", "{}"))
        await until(lambda: call.stream.results)
        call.reply("r1", "Goodbye.")
        await call.playing()
        assert not call.ended
        await call.played()
        await until(lambda: call.ended)
        await call.close()

    run(case())


def test_the_model_presses_keys_that_we_sound() -> None:
    async def case() -> None:
        call = Call(tools=Toolbox([send_dtmf]), tones=lambda *_: [SECOND])
        call.calls.send = call.session.press
        await call.open()
        call.stream.give(ToolCall("t1", "send_dtmf", '{"digits": "1"}'))
        await call.played()
        await until(lambda: call.stream.results)
        assert call.stream.results[0][0] == "t1"
        assert call.calls.keys == [("call-1", "1")]
        await call.close()

    run(case())


def test_the_model_hands_the_call_on_and_hears_when_that_fails() -> None:
    async def case() -> None:
        call = Call(tools=Toolbox([transfer_call({"sales": "+15550009"})]))
        await call.open()
        call.reply("r1", "I connect you.")
        call.stream.give(ToolCall("t1", "transfer_call", '{"destination": "sales"}'))
        await call.playing()
        assert not call.transfers
        await call.played()
        await until(lambda: call.transfers)
        ((to, failed),) = call.transfers
        assert to == "+15550009"
        failed(SpeechError("busy"))
        assert call.stream.results[0][0] == "t1"
        await call.close()

    run(case())


# --- failures -------------------------------------------------------------------------------------


def test_a_model_that_cannot_answer_apologises_once_for_a_turn() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        for _ in range(2):
            call.started()
            call.stopped()
            failed = [ReplyDone(f"r{number}", failure="rate_limit_exceeded") for number in range(2)]
            call.stream.give(*failed)
            await call.consumed()
        assert call.stream.said == [call.settings.apology]
        await call.close()

    run(case())


@pytest.mark.parametrize("error", [SpeechError("gone"), KeyError("an engine's bug"), None])
def test_when_the_model_is_lost_a_voice_of_ours_says_so_and_the_call_ends(
    error: Exception | None,
) -> None:
    async def case() -> None:
        call = Call(tts=[FakeTts()], path=FakePath())
        await call.open()
        if error is None:
            await call.stream.close()
        else:
            call.stream.give(error)
        await until(lambda: call.ended)
        assert call.ended == [CallState.ERROR]
        (spoken,) = call.calls.of(CallSpoken)
        assert spoken.heard == Model(call.engine).last_words
        assert len(call.calls.of(CallErrored)) == 1
        assert call.path.sink is None
        with pytest.raises(NotConnected):
            await call.session.say("Hello?")
        await call.close()

    run(case())


def test_what_the_model_had_said_is_heard_before_the_last_words() -> None:
    async def case() -> None:
        call = Call(tts=[FakeTts()])
        await call.open()
        call.reply("r1", "We open at", complete=False)
        await call.playing()
        call.stream.give(SpeechError("gone"))
        await call.played()
        await until(lambda: len(call.path.utterances) == 2 and call.path.utterances[1].finished)
        call.path.utterances[1].play(99_999)
        await until(lambda: call.ended)
        first, last = call.calls.of(CallSpoken)
        assert (first.heard, first.interrupted) == ("We open at", True)
        assert not last.interrupted
        await call.close()

    run(case())


def test_without_a_voice_of_ours_the_call_just_ends() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        saying = asyncio.create_task(call.session.say("Hello."))
        await until(lambda: call.stream.said)
        call.stream.give(SpeechError("gone"))
        await until(lambda: call.ended)
        assert call.ended == [CallState.ERROR]
        with pytest.raises(SpeechError):
            await saying
        await call.close()

    run(case())


@pytest.mark.parametrize(
    "error", [SpeechError("refused"), DependencyMissing("openai is not installed")]
)
def test_a_model_that_is_lost_while_it_rings_is_told_once_somebody_answers(
    error: Exception,
) -> None:
    async def case() -> None:
        call = Call(opening="Hello.", tts=[FakeTts()], path=FakePath())
        call.engine.failure = error
        await until(lambda: call.calls.of(CallErrored))
        assert not call.ended
        call.session.on_path_open(call.path)
        await until(lambda: call.ended)
        assert call.ended == [CallState.ERROR]
        assert call.calls.of(CallSpoken)
        await call.close()

    run(case())


# --- messages -------------------------------------------------------------------------------------


def test_in_notify_mode_the_message_is_said_and_the_call_ends() -> None:
    async def case() -> None:
        call = Call(mode="notify", opening="Your order is ready.")
        await call.open()
        await until(lambda: call.stream.said)
        call.reply("r1", "Your order is ready.")
        await call.playing()
        call.started()
        call.session.on_path_dtmf("1")
        await call.played()
        await until(lambda: call.ended)
        assert call.ended == [CallState.HANGUP_BOT]
        assert [spoken.heard for spoken in call.calls.of(CallSpoken)] == ["Your order is ready."]
        assert call.path.sink is None
        assert call.stream.prompts == []
        await call.close()

    run(case())


@pytest.mark.parametrize("lost", [True, False])
def test_a_message_that_the_model_cannot_say_is_said_by_a_voice_of_ours(lost: bool) -> None:
    async def case() -> None:
        call = Call(mode="notify", opening="Your order is ready.", tts=[FakeTts()], path=FakePath())
        await call.open()
        await until(lambda: call.stream.said)
        call.stream.give(SpeechError("gone") if lost else ReplyDone("r1", failure="overloaded"))
        await until(lambda: call.ended)
        assert call.ended == [CallState.HANGUP_BOT]
        (spoken,) = call.calls.of(CallSpoken)
        assert spoken.heard == "Your order is ready."
        assert len(call.calls.of(CallErrored)) == 1
        await call.close()

    run(case())


def test_a_message_that_nobody_can_say_ends_the_call_as_an_error() -> None:
    async def case() -> None:
        call = Call(mode="notify", opening="Hi.", tts=[FakeTts(SpeechError("mute"))])
        await call.open()
        await until(lambda: call.stream.said)
        call.stream.give(SpeechError("gone"))
        await until(lambda: call.ended)
        assert call.ended == [CallState.ERROR]
        await call.close()

    run(case())


# --- a model without turns ------------------------------------------------------------------------


def test_a_model_without_turns_is_never_cut_and_both_sides_are_recorded() -> None:
    async def case() -> None:
        call = Call(engine=FakeModel(takes_turns=False))
        await call.open()
        call.stream.give(ReplyAudio("live", SECOND[:3200]), ReplyText("live", "We open "))
        call.stream.give(ReplyText("live", "at eight."), PartialTranscript("and"))
        (spoken,) = await call.spoken(1)
        assert (spoken.heard, spoken.interrupted) == ("We open at eight.", False)
        call.stream.give(FinalTranscript("And on Sunday?"), ReplyText("live", "At nine."))
        call.started()
        call.session.on_path_dtmf("1")
        await soon(lambda: call.stream.prompts)
        assert call.path.clears == 0
        assert (call.stream.cancels, call.stream.heards) == (0, [])
        await call.close()
        assert call.remembered == [
            (Speaker.BOT, "We open at eight."),
            (Speaker.USER, "And on Sunday?"),
            (Speaker.BOT, "At nine."),
        ]

    run(case())


def test_it_greets_and_says_texts_too() -> None:
    async def case() -> None:
        call = Call(engine=FakeModel(takes_turns=False), opening="Hello there.")
        await call.open()
        await until(lambda: call.stream.said == ["Hello there."])
        call.stream.give(ReplyText("live", "Hello there."), PartialTranscript("hi"))
        await call.spoken(1)
        saying = asyncio.create_task(call.session.say("Your table is booked."))
        await until(lambda: len(call.stream.said) == 2)
        call.stream.give(ReplyText("live", "Your table is booked."), PartialTranscript("great"))
        assert not (await saying).interrupted
        await call.close()

    run(case())


# --- the end --------------------------------------------------------------------------------------


def test_a_lost_path_ends_the_call() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.session.on_path_lost("closed")
        assert call.ended == [CallState.HANGUP_USER]
        await call.close()

    run(case())


def test_closed_it_records_what_was_heard_and_frees_everything_once() -> None:
    async def case() -> None:
        call = Call()
        await call.open()
        call.reply("r1", "one two three four", complete=False)
        (await call.playing()).play(500)
        await call.close()
        await call.close()
        (spoken,) = call.calls.of(CallSpoken)
        assert (spoken.heard, spoken.interrupted) == ("one two", True)
        assert call.path.closed
        assert call.stream.closed
        assert call.closed == ["call-1"]
        late = FakePath()
        call.session.on_path_open(late)
        assert late.closed

    run(case())


def test_a_call_that_was_never_answered_leaves_nothing_behind() -> None:
    async def case() -> None:
        call = Call(opening="Hello.")
        await until(lambda: call.session._stream is not None)
        await call.close()
        assert call.stream.closed
        assert not call.calls.events

    run(case())


async def an_ended_call(engine: FakeModel, *, lost: bool) -> weakref.ref[RealtimeSession]:
    """Something of everything was going on when it ended."""
    call = Call(engine=engine, opening="Hello.", tts=[FakeTts()], tools=Toolbox([end_call]))
    await call.open()
    await until(lambda: call.stream.said)
    call.reply("r1", "Hello.", complete=False)
    await until(lambda: call.path.utterances)
    call.session.on_path_dtmf("1")
    call.started()
    call.stream.give(ToolCall("t1", "end_call", "{}"))
    await call.consumed()
    if lost:
        call.stream.give(SpeechError("gone"))
        await until(lambda: call.calls.of(CallErrored))
    session = weakref.ref(call.session)
    await call.session.close()
    # What it was surrounded with refers to the test, which refers to it.
    del call.session
    await asyncio.sleep(0)
    return session


@pytest.mark.parametrize("takes_turns", [True, False])
@pytest.mark.parametrize("lost", [True, False])
def test_an_ended_call_is_freed_without_the_collector(
    caplog: pytest.LogCaptureFixture, takes_turns: bool, lost: bool
) -> None:
    # What is captured keeps the traceback, and with it all that was at work.
    caplog.set_level(logging.CRITICAL, "voicecall.session")

    async def case() -> None:
        freed = await an_ended_call(FakeModel(takes_turns=takes_turns), lost=lost)
        assert freed() is None

    gc.disable()
    try:
        run(case())
    finally:
        gc.enable()


def test_a_session_is_a_conversation_and_hears_its_path() -> None:
    async def case() -> None:
        call = Call()
        call.session.answered()
        call.session.heard("Hello.", awaited=False)
        call.session.pressed("1")
        assert not call.calls.events
        await call.close()

    run(case())
