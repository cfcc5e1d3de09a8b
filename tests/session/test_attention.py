from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import FakePath, FakeTts, Identity, run, until
from tests.speech.signals import noise, tone
from voicecall.clock import NS_PER_MS, ManualClock
from voicecall.dialog.turns import BargeIn
from voicecall.ports import PCM16_8K
from voicecall.session.attention import Attention
from voicecall.session.floor import whole
from voicecall.session.speak import PathSpeech, Voice
from voicecall.session.timing import TurnTiming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.unit

SAID = "We are open from eight in the morning until six in the evening."
HISS = noise(20, 25)
LOUD = tone(20, 8000)


class LoudTts(FakeTts):
    """100 ms of a loud tone for each word."""

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        for _ in text.split():
            yield tone(100)


class Scene:
    """The bot says `SAID` on a line, in steps of 20 ms."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.path = FakePath(instant=False)
        self.attention = Attention(PCM16_8K, BargeIn(), self.clock)
        self.speech = PathSpeech(
            self.path,
            Voice([LoudTts()], Identity),
            clock=self.clock,
            timing=TurnTiming(),
            on_begin=lambda _: self.attention.attend(self.speech),
        )

    def hear(self, ms: int, heard: bytes) -> None:
        for _ in range(ms // 20):
            self.clock.advance_ms(20)
            if self.path.utterances:
                self.path.utterances[-1].play(20)
            self.attention.hear(heard)

    @property
    def now_ns(self) -> int:
        return self.clock.now_ns()


def on_a_line(check: Callable[[Scene], Awaitable[None]]) -> None:
    async def case() -> None:
        scene = Scene()
        saying = asyncio.create_task(scene.speech.run(whole(SAID)))
        await until(lambda: scene.path.utterances and scene.path.utterances[0].finished)
        await check(scene)
        scene.speech.stop()
        await saying

    run(case())


def test_while_the_bot_is_silent_nothing_is_measured() -> None:
    clock = ManualClock()
    attention = Attention(PCM16_8K, BargeIn(), clock)
    for _ in range(20):
        clock.advance_ms(20)
        attention.hear(LOUD)
    assert attention.look().loud_ms(0) == 0


def test_a_caller_over_the_bot_is_measured_and_its_echo_is_not() -> None:
    async def check(scene: Scene) -> None:
        echo = tone(20, 800)
        scene.hear(800, echo)
        assert scene.attention.look().echo.gain_db == pytest.approx(-20, abs=0.5)
        assert scene.attention.look().own_ms(0) == 0
        began_ns = scene.now_ns
        scene.hear(60, LOUD)
        assert scene.attention.look().loud_ms(began_ns) == 60

    on_a_line(check)


def test_on_a_line_without_echo_all_words_are_the_callers() -> None:
    async def check(scene: Scene) -> None:
        scene.hear(800, HISS)
        words = scene.attention.words("we are open from eight", scene.now_ns)
        assert (words.text, words.doubtful) == ("we are open from eight", False)

    on_a_line(check)


def test_words_that_repeat_the_bot_with_nothing_else_heard_are_its_echo() -> None:
    async def check(scene: Scene) -> None:
        began_ns = scene.now_ns
        scene.hear(800, tone(20, 800))
        assert scene.attention.words("We are open for eight.", began_ns).text == ""
        # Something altogether different was not echo, however soft it was.
        words = scene.attention.words("could you please stop", began_ns)
        assert (words.text, words.doubtful) == ("could you please stop", True)

    on_a_line(check)


def test_a_short_word_between_the_bots_is_kept_and_doubted() -> None:
    async def check(scene: Scene) -> None:
        began_ns = scene.now_ns
        scene.hear(800, tone(20, 800))
        scene.hear(300, LOUD)
        words = scene.attention.words("We are open from yeah", began_ns)
        assert (words.text, words.doubtful) == ("yeah", True)

    on_a_line(check)


def test_of_a_longer_sentence_only_what_plainly_is_the_bots_is_taken_out() -> None:
    async def check(scene: Scene) -> None:
        began_ns = scene.now_ns
        scene.hear(300, tone(20, 800))
        scene.hear(800, LOUD)
        words = scene.attention.words("We are open when are you open", began_ns)
        assert words.text == "when are you open"
        words = scene.attention.words("When are you open?", began_ns)
        assert (words.text, words.doubtful) == ("When are you open?", False)

    on_a_line(check)


def test_after_a_false_alarm_what_was_heard_before_proves_no_new_words() -> None:
    async def check(scene: Scene) -> None:
        began_ns = scene.now_ns
        scene.hear(400, tone(20, 800))
        scene.hear(300, LOUD)
        scene.attention.false_alarm()
        # Recognisers take a while for words that were said before.
        assert scene.attention.words("we are open yeah", began_ns).text == "yeah"
        scene.hear(600, tone(20, 800))
        assert scene.attention.words("we are open yeah", began_ns).text == ""

    on_a_line(check)


def test_echo_is_still_known_when_its_transcript_comes_after_the_bot_has_ended() -> None:
    async def check(scene: Scene) -> None:
        began_ns = scene.now_ns
        scene.hear(800, tone(20, 800))
        scene.attention.attend(None)
        scene.hear(1500, HISS)
        assert scene.attention.words("we are open from eight", began_ns).text == ""
        # The caller, who began after that, may say the same.
        later_ns = scene.now_ns - 700 * NS_PER_MS
        assert scene.attention.words("open from eight?", later_ns).text == "open from eight?"
        scene.hear(3000, HISS)
        assert scene.attention.words("we are open from eight", began_ns).text != ""

    on_a_line(check)


def test_who_chooses_one_of_the_bots_words_as_it_has_ended_is_understood() -> None:
    async def check(scene: Scene) -> None:
        scene.hear(800, tone(20, 800))
        scene.attention.attend(None)
        scene.hear(200, HISS)
        began_ns = scene.now_ns
        scene.hear(300, LOUD)
        scene.hear(500, HISS)
        assert scene.attention.words("Morning.", began_ns).text == "Morning."

    on_a_line(check)


def test_while_the_bot_is_held_nothing_is_sent() -> None:
    async def check(scene: Scene) -> None:
        scene.hear(800, tone(20, 800))
        scene.speech.hold()
        scene.hear(700, HISS)
        assert scene.attention.look().echo.expected_dbfs == -96

    on_a_line(check)
