from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakePath, Identity, run, until
from voicecall.clock import ManualClock
from voicecall.errors import SpeechError
from voicecall.ports import PCM16_8K, Playback
from voicecall.session.rendition import Channel, Said
from voicecall.session.sayings import Sayings, resembles
from voicecall.session.timing import TurnTiming
from voicecall.session.unending import Unending

pytestmark = pytest.mark.unit

HEARD = Playback(900, 900, interrupted=False)


class Case:
    """Texts for a model that is silent until a test says something."""

    def __init__(self, patience_s: float = 5) -> None:
        channel = Channel(FakePath(), PCM16_8K, Identity, ManualClock())
        self.output = Unending(channel, on_begin=lambda _: None, on_end=lambda _: None)
        self.uttered: list[str] = []
        self.failure: SpeechError | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.sayings = Sayings(self.output, self._utter, patience_s)

    def _utter(self, text: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.uttered.append(text)

    def said(self, text: str, playback: Playback = HEARD) -> None:
        self.sayings.said(Said("r", text, text, playback, TurnTiming()))

    async def asked(self, count: int) -> None:
        await until(lambda: len(self.uttered) == count)

    def queue(self, text: str) -> asyncio.Future[Playback]:
        done: asyncio.Future[Playback] = asyncio.get_running_loop().create_future()
        self.tasks.append(asyncio.create_task(self.sayings.queue(text, done)))
        return done


@pytest.mark.parametrize(
    ("said", "text", "interrupted", "likely"),
    [
        ("Your table is booked.", "Your table is booked.", False, True),
        ("Okay! Your table is now booked.", "your table is booked", False, True),
        ("Hello, how can I help?", "Your table is booked.", False, False),
        ("Yes.", "Yes, your table is booked for eight.", False, False),
        ("Yes, your", "Yes, your table is booked for eight.", True, True),
        ("What?", "Yes, your table is booked for eight.", True, False),
        ("", "Your table is booked.", False, True),
    ],
)
def test_a_reply_resembles_a_text_by_its_words(
    said: str, text: str, interrupted: bool, likely: bool
) -> None:
    assert resembles(said, text, interrupted=interrupted) is likely


def test_a_text_is_said_when_the_model_has_said_it() -> None:
    async def case() -> None:
        this = Case()
        saying = asyncio.create_task(this.sayings.say("Your table is booked."))
        await this.asked(1)
        assert this.sayings.expected
        assert not saying.done()
        this.said("Your table is booked!")
        assert await saying == HEARD
        assert not this.sayings.expected

    run(case())


def test_an_answer_that_was_on_its_way_is_not_taken_for_the_text() -> None:
    async def case() -> None:
        this = Case()
        saying = asyncio.create_task(this.sayings.say("Your table is booked."))
        await this.asked(1)
        this.said("Hello, how can I help?", Playback(1, 1, interrupted=False))
        this.said("Your table is booked.")
        assert await saying == HEARD

    run(case())


def test_in_quite_other_words_it_is_the_second_reply() -> None:
    async def case() -> None:
        this = Case()
        saying = asyncio.create_task(this.sayings.say("Your table is booked."))
        await this.asked(1)
        this.said("Hello?", Playback(1, 1, interrupted=False))
        this.said("All set then.")
        assert await saying == HEARD

    run(case())


def test_or_the_only_one() -> None:
    async def case() -> None:
        this = Case(patience_s=0.01)
        saying = asyncio.create_task(this.sayings.say("Your table is booked."))
        await this.asked(1)
        this.said("All set then.")
        assert await saying == HEARD

    run(case())


def test_a_model_that_says_nothing_is_not_waited_for_for_ever() -> None:
    async def case() -> None:
        this = Case(patience_s=0.01)
        with pytest.raises(SpeechError):
            await this.sayings.say("Your table is booked.")

    run(case())


def test_what_the_model_cannot_say_fails() -> None:
    async def case() -> None:
        this = Case()
        saying = asyncio.create_task(this.sayings.say("Hello."))
        await this.asked(1)
        this.sayings.fail("overloaded")
        this.said("Too late.")
        with pytest.raises(SpeechError, match="overloaded"):
            await saying
        this.sayings.fail("nobody asked")
        this.failure = SpeechError("the model is not there")
        with pytest.raises(SpeechError, match="not there"):
            await this.sayings.say("Hello.")

    run(case())


def test_texts_are_said_one_after_the_other_in_order() -> None:
    async def case() -> None:
        this = Case()
        first, second = this.queue("The first."), this.queue("The second.")
        await this.asked(1)
        this.said("The first.")
        assert await first == HEARD
        await this.asked(2)
        this.said("The second.")
        assert await second == HEARD
        assert this.uttered == ["The first.", "The second."]

    run(case())


def test_at_most_eight_texts_wait() -> None:
    async def case() -> None:
        this = Case()
        texts = [this.queue("The first.")]
        await this.asked(1)
        texts += [this.queue("More.") for _ in range(8)]
        with pytest.raises(SpeechError):
            texts.append(this.queue("Too many."))
        assert not any(text.done() for text in texts)
        for task in this.tasks:
            task.cancel()
        await asyncio.wait(this.tasks)

    run(case())


def test_an_interruption_skips_the_texts_that_wait() -> None:
    async def case() -> None:
        this = Case()
        first, _ = this.queue("The first."), this.queue("The second.")
        await this.asked(1)
        this.sayings.interrupt()
        this.said("The first.", Playback(100, 900, interrupted=True))
        assert (await first).interrupted
        await asyncio.wait(this.tasks)
        assert this.uttered == ["The first."]

    run(case())


def test_a_failure_reaches_whoever_asked() -> None:
    async def case() -> None:
        this = Case()
        done = this.queue("Hello.")
        await this.asked(1)
        this.sayings.fail("overloaded")
        with pytest.raises(SpeechError):
            await done

    run(case())
