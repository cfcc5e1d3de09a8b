"""A conversation left to the local engine: recogniser, responder and voice behind one interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import (
    FakeCalls,
    FakePath,
    FakeResponder,
    FakeStt,
    FakeTts,
    FakeUtterance,
    record,
    run,
    until,
)
from voicecall.audio import Transcoder
from voicecall.call.events import CallErrored, CallSpeech, CallSpoken
from voicecall.call.record import CallState, Speaker
from voicecall.clock import ManualClock
from voicecall.dialog.history import History
from voicecall.dialog.turns import BargeIn
from voicecall.errors import SpeechError
from voicecall.llm.actions import end_call
from voicecall.llm.toolbox import Toolbox
from voicecall.ports import ULAW_8K, FinalTranscript, HangUp, SpeechStarted, SpeechStopped
from voicecall.session.equipment import Equipment, SessionSettings, Surroundings
from voicecall.session.realtime import Model, RealtimeSession
from voicecall.speech.realtime.local import LocalSpeechToSpeech

if TYPE_CHECKING:
    from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.native

BARGE_IN = BargeIn(min_speech_ms=0, min_level_dbfs=-96)


@dataclass
class Call:
    responder: FakeResponder
    opening: str | None = None
    path: FakePath = field(default_factory=lambda: FakePath(audio=ULAW_8K, instant=False))
    calls: FakeCalls = field(default_factory=FakeCalls)
    stt: FakeStt = field(default_factory=FakeStt)
    tts: FakeTts = field(default_factory=FakeTts)
    clock: ManualClock = field(default_factory=ManualClock)
    history: History = field(default_factory=History)
    ended: list[CallState] = field(default_factory=list)
    turns: list[TurnTiming] = field(default_factory=list)

    def __post_init__(self) -> None:
        engine = LocalSpeechToSpeech(self.stt, self.responder, self.tts, convert=Transcoder)
        settings = SessionSettings(barge_in=BARGE_IN)
        self.session = RealtimeSession(
            record(),
            self.opening,
            Equipment([self.tts], settings=settings),
            self.history,
            Surroundings(
                calls=self.calls,
                clock=self.clock,
                convert=Transcoder,
                end=lambda _, reason: self.ended.append(reason),
                transfer=lambda *_: None,
                on_turn=self.turns.append,
                on_cleared=lambda _: None,
                on_closed=lambda _: None,
            ),
            Model(engine, Toolbox([end_call])),
        )

    async def open(self) -> None:
        self.session.on_path_open(self.path)
        await until(lambda: self.path.sink is not None)

    def says(self, text: str) -> None:
        now_ns = self.clock.now_ns()
        heard = SpeechStarted(now_ns), SpeechStopped(now_ns), FinalTranscript(text, 0.9)
        self.stt.stream.give(*heard)

    async def answered(self, count: int) -> FakeUtterance:
        """The so many-th thing is said, and handed over whole."""
        await until(lambda: len(self.path.utterances) == count)
        await until(lambda: self.path.utterances[-1].finished)
        return self.path.utterances[-1]

    async def hears(self, count: int) -> None:
        (await self.answered(count)).play(99_999)
        await until(lambda: len(self.calls.of(CallSpoken)) == count)

    @property
    def remembered(self) -> list[tuple[Speaker, str]]:
        return [(turn.speaker, turn.text) for turn in self.history.turns if turn.tool is None]


def test_three_turns_are_held_with_an_interruption_and_the_model_hangs_up() -> None:
    async def case() -> None:
        call = Call(
            FakeResponder(
                ["We open at eight and close at six every day."],
                ["On Sunday we are closed."],
                ["You are welcome. Goodbye.", HangUp()],
            ),
            opening="Hello, this is the bakery.",
        )
        await call.open()
        assert call.path.coded
        assert call.path.sink is not None
        call.path.sink(b"\xff" * 160)
        assert [len(pcm) for pcm in call.stt.stream.pushed] == [320]
        await call.hears(1)

        call.says("When do you open?")
        (await call.answered(2)).play(400)
        call.says("And on Sunday?")
        await call.hears(3)

        call.says("Thank you.")
        utterance = await call.answered(4)
        assert not call.ended
        utterance.play(99_999)
        await until(lambda: call.ended)

        assert call.ended == [CallState.HANGUP_BOT]
        assert call.remembered == [
            (Speaker.BOT, "Hello, this is the bakery."),
            (Speaker.USER, "When do you open?"),
            (Speaker.BOT, "We open at eight"),
            (Speaker.USER, "And on Sunday?"),
            (Speaker.BOT, "On Sunday we are closed."),
            (Speaker.USER, "Thank you."),
            (Speaker.BOT, "You are welcome. Goodbye."),
        ]
        # The engine remembers what was heard too.
        asked = call.responder.requests[2]
        assert [turn.text for turn in asked.history] == [text for _, text in call.remembered[:-1]]
        assert [spoken.interrupted for spoken in call.calls.of(CallSpoken)] == [
            False,
            True,
            False,
            False,
        ]
        assert [speech.confidence for speech in call.calls.of(CallSpeech)] == [0.9] * 3
        assert len(call.turns) == 3
        await call.session.close()

    run(case())


def test_keys_reach_the_responder_together() -> None:
    async def case() -> None:
        call = Call(FakeResponder(["You chose sales."]))
        await call.open()
        call.session.on_path_dtmf("4")
        call.session.on_path_dtmf("#")
        await call.hears(1)
        assert [request.digits for request in call.responder.requests] == ["4#"]
        await call.session.close()

    run(case())


def test_recognition_that_fails_ends_the_call_politely() -> None:
    async def case() -> None:
        call = Call(FakeResponder())
        await call.open()
        call.stt.stream.give(SpeechError("gone"))
        (await call.answered(1)).play(99_999)
        await until(lambda: call.ended)
        assert call.ended == [CallState.ERROR]
        assert call.calls.of(CallErrored)
        assert call.tts.texts[0].startswith("I am sorry")
        await call.session.close()

    run(case())


def test_a_responder_that_fails_is_apologised_for() -> None:
    async def case() -> None:
        call = Call(FakeResponder([SpeechError("overloaded")], ["At eight."]))
        await call.open()
        call.says("When do you open?")
        await call.hears(1)
        assert call.tts.texts[0].startswith("I am sorry")
        call.says("When do you open?")
        await call.hears(2)
        assert not call.ended
        await call.session.close()

    run(case())
