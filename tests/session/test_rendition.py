from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakePath, Identity, run, until
from voicecall.audio import Transcoder
from voicecall.clock import ManualClock
from voicecall.ports import PCM16_8K, ULAW_8K, AudioFormat, Playback
from voicecall.session.rendition import Channel, Rendition, Said
from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.native

SECOND = b"\x01\x00" * 8000


class Case:
    """One reply on a path that plays when it is told to."""

    def __init__(self, source: AudioFormat = PCM16_8K, path: FakePath | None = None) -> None:
        self.path = path or FakePath(instant=False)
        self.clock = ManualClock()
        convert = Identity if source == self.path.audio else Transcoder
        channel = Channel(self.path, source, convert, self.clock)
        self.rendition = Rendition("r1", channel, TurnTiming(), protected=False)
        self.begun: list[str] = []

    def play(self, patience_s: float = 5) -> asyncio.Task[Playback]:
        return asyncio.create_task(self.rendition.play(self._on_begin, patience_s))

    async def written(self, octets: int) -> None:
        await until(lambda: self.path.utterances and len(self.path.utterances[0].audio) >= octets)

    def _on_begin(self, rendition: Rendition) -> None:
        assert rendition is self.rendition
        self.begun.append(rendition.text)


def test_it_is_played_while_it_is_made_and_ends_when_it_was_heard() -> None:
    async def case() -> None:
        this = Case()
        playing = this.play()
        this.rendition.add_text("We open ")
        this.rendition.add_audio(SECOND)
        await this.written(len(SECOND))
        assert this.begun == ["We open"]
        this.rendition.add_audio(SECOND)
        this.rendition.add_text("at eight.")
        this.rendition.end()
        await until(lambda: this.path.utterances[0].finished)
        assert not playing.done()
        this.path.utterances[0].play(2000)
        playback = await playing
        assert playback == Playback(2000, 2000, interrupted=False)
        said = this.rendition.said(playback)
        assert said == Said("r1", "We open at eight.", "We open at eight.", playback, said.timing)
        assert len(this.path.utterances) == 1

    run(case())


def test_cut_in_its_middle_only_the_words_heard_by_then_count() -> None:
    async def case() -> None:
        this = Case()
        playing = this.play()
        this.rendition.add_text("one two three four")
        this.rendition.add_audio(SECOND)
        await this.written(len(SECOND))
        this.path.utterances[0].play(500)
        this.path.clear()
        this.rendition.stop()
        said = this.rendition.said()
        assert said.heard == "one two"
        assert said.playback == Playback(500, 1000, interrupted=True)
        assert said.cut
        assert (await playing).interrupted

    run(case())


def test_cut_before_it_began_nothing_was_heard() -> None:
    async def case() -> None:
        this = Case()
        this.rendition.add_text("Hello.")
        this.rendition.stop()
        assert await this.play() == Playback(0, 0, interrupted=True)
        said = this.rendition.said()
        assert (said.text, said.heard, said.began, said.cut) == ("Hello.", "", False, True)

    run(case())


def test_what_the_model_stopped_is_heard_to_its_end_and_was_interrupted() -> None:
    async def case() -> None:
        this = Case(path=FakePath())
        this.rendition.add_text("We op")
        this.rendition.add_audio(SECOND)
        this.rendition.end(interrupted=True)
        playback = await this.play()
        assert playback == Playback(1000, 1000, interrupted=True)
        said = this.rendition.said(playback)
        assert (said.heard, said.cut) == ("We op", False)

    run(case())


def test_a_reply_without_sound_ends_at_once() -> None:
    async def case() -> None:
        this = Case()
        this.rendition.add_text("Nothing.")
        this.rendition.end()
        playback = await this.play()
        assert playback == Playback(0, 0, interrupted=False)
        assert not this.rendition.said(playback).began
        assert not this.path.utterances

    run(case())


def test_a_model_that_stops_in_the_middle_of_a_reply_is_not_waited_for_longer() -> None:
    async def case() -> None:
        this = Case(path=FakePath())
        this.rendition.add_audio(SECOND)
        assert (await this.play(patience_s=0.01)).interrupted
        assert this.rendition.complete
        this.rendition.add_audio(SECOND)
        assert len(this.path.utterances[0].audio) == len(SECOND)

    run(case())


def test_of_a_reply_that_is_far_ahead_a_minute_is_kept_and_its_end_is_lost() -> None:
    async def case() -> None:
        this = Case(path=FakePath())
        truncated = []
        for _ in range(61):
            this.rendition.add_audio(SECOND)
            truncated.append(this.rendition.truncated)
        assert truncated == [False] * 60 + [True]
        playback = await this.play()
        assert playback.heard_ms == 60_000
        assert this.rendition.said(playback).cut

    run(case())


def test_what_is_played_makes_room_for_more() -> None:
    async def case() -> None:
        this = Case(path=FakePath())
        playing = this.play()
        for second in range(1, 91):
            this.rendition.add_audio(SECOND)
            await this.written(second * len(SECOND))
        this.rendition.end()
        assert (await playing).heard_ms == 90_000

    run(case())


@pytest.mark.parametrize("octets", [1, 4799, 48_000])
def test_audio_in_another_format_is_converted_whatever_its_pieces(octets: int) -> None:
    async def case() -> None:
        wide = AudioFormat("pcm16", 24_000)
        this = Case(wide, FakePath(audio=ULAW_8K))
        audio = b"\x00\x10" * 24_000
        for start in range(0, len(audio), octets):
            this.rendition.add_audio(audio[start : start + octets])
        this.rendition.end()
        assert (await this.play()).total_ms == pytest.approx(1000, abs=5)

    run(case())


def test_the_steps_of_an_answer_are_noted_in_their_order() -> None:
    async def case() -> None:
        this = Case(path=FakePath())
        timing = this.rendition.timing
        this.rendition.add_text("Hello.")
        first_ns = timing.first_token_ns
        assert first_ns == this.clock.now_ns()
        this.clock.advance_ms(10)
        this.rendition.add_audio(SECOND)
        this.rendition.add_text("There.")
        assert timing.first_token_ns == first_ns
        assert timing.first_audio_ns == this.clock.now_ns()
        this.clock.advance_ms(10)
        this.rendition.end()
        await this.play()
        assert timing.first_frame_ns == this.clock.now_ns()

    run(case())


def test_words_after_the_sound_are_no_step() -> None:
    async def case() -> None:
        this = Case()
        this.rendition.add_audio(SECOND)
        this.rendition.add_text("Hello.")
        assert this.rendition.timing.first_token_ns is None

    run(case())
