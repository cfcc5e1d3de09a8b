from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import FakePath, FakeTts, Identity, run, until
from voicecall.clock import ManualClock
from voicecall.errors import RemoteError, SpeechError
from voicecall.ports import Playback
from voicecall.session.floor import Floor, Speech, settle, whole
from voicecall.session.speak import PathSpeech, Voice
from voicecall.session.timing import TurnTiming

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.unit


@dataclass
class Stage:
    """A floor, and what it told."""

    path: FakePath = field(default_factory=lambda: FakePath(instant=False))
    tts: FakeTts = field(default_factory=FakeTts)
    began: list[tuple[str, bool]] = field(default_factory=list)
    ended: list[tuple[str, str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        voice = Voice([self.tts], Identity)
        new_speech = partial(PathSpeech, self.path, voice, clock=ManualClock())
        self.floor = Floor(new_speech, self.begin, self.end)

    def begin(self, text: str, protected: bool) -> None:
        self.began.append((text, protected))

    def end(self, speech: Speech, interrupted: bool) -> None:
        self.ended.append((speech.text, speech.heard(), interrupted))

    async def playing(self) -> None:
        await until(lambda: self.path.utterances and self.path.utterances[-1].finished)

    async def say(self, text: str) -> Playback:
        async with self.floor:
            return await self.floor.say(text)


def test_begin_and_end_are_told() -> None:
    async def case() -> None:
        stage = Stage()
        saying = asyncio.create_task(stage.say("One two. Three."))
        await stage.playing()
        assert stage.floor.audible
        stage.path.utterances[0].play(9999)
        assert not (await saying).interrupted
        assert stage.began == [("One two.", False)]
        assert stage.ended == [("One two. Three.", "One two. Three.", False)]
        assert not stage.floor.audible

    run(case())


def test_an_interruption_is_told_before_the_speech_has_wound_up() -> None:
    async def case() -> None:
        stage = Stage()
        saying = asyncio.create_task(stage.say("One two three."))
        await stage.playing()
        stage.path.utterances[0].play(100)
        stage.floor.interrupt()
        assert stage.ended == [("One two three.", "One", True)]
        assert stage.path.clears == 1
        assert (await saying).interrupted
        assert len(stage.ended) == 1

    run(case())


def test_what_is_held_keeps_the_floor_until_it_was_heard() -> None:
    async def case() -> None:
        stage = Stage()
        saying = asyncio.create_task(stage.say("One two three four five."))
        await stage.playing()
        stage.path.utterances[0].play(100)
        stage.floor.hold()
        waiting = asyncio.create_task(stage.say("Six."))
        await asyncio.sleep(0)
        assert stage.path.clears == 1
        assert stage.floor.audible
        assert not stage.ended
        stage.floor.resume()
        await until(lambda: len(stage.path.utterances) == 2)
        await stage.playing()
        stage.path.utterances[1].play(9999)
        assert await saying == Playback(heard_ms=500, total_ms=500, interrupted=False)
        await until(lambda: len(stage.path.utterances) == 3)
        await stage.playing()
        stage.path.utterances[2].play(9999)
        await waiting
        assert stage.began == [("One two three four five.", False), ("Six.", False)]

    run(case())


def test_what_is_held_can_be_interrupted() -> None:
    async def case() -> None:
        stage = Stage()
        saying = asyncio.create_task(stage.say("One two three four five."))
        await stage.playing()
        stage.path.utterances[0].play(200)
        stage.floor.hold()
        stage.floor.interrupt()
        assert stage.ended == [("One two three four five.", "One two", True)]
        assert await saying == Playback(heard_ms=200, total_ms=500, interrupted=True)
        assert stage.path.clears == 1

    run(case())


def test_what_cannot_pause_goes_on() -> None:
    class Monologue:
        """A speech of a carrier's."""

        def __init__(self) -> None:
            self.timing = TurnTiming()
            self.failure: RemoteError | None = None
            self.began = True
            self.text = self.played_text = "On and on."
            self.end = asyncio.Event()

        def heard(self) -> str:
            return self.text

        def stop(self) -> None:
            self.end.set()

        async def run(self, pieces: AsyncGenerator[str]) -> Playback:
            await pieces.aclose()
            await self.end.wait()
            return Playback(1, 1, interrupted=False)

    async def case() -> None:
        stage, speech = Stage(), Monologue()
        saying = asyncio.create_task(stage.floor.perform(speech, whole("On and on.")))
        await until(lambda: stage.floor.speech is speech)
        stage.floor.hold()
        stage.floor.resume()
        assert not saying.done()
        speech.end.set()
        assert not (await saying).interrupted
        assert stage.floor.speech is None
        stage.floor.hold()
        stage.floor.resume()

    run(case())


def test_what_is_not_audible_yet_is_stopped_without_a_clear() -> None:
    async def case() -> None:
        stage = Stage()
        speech = stage.floor.new_speech()

        async def perform() -> Playback:
            async with stage.floor:
                return await stage.floor.perform(speech, whole("Hello."))

        saying = asyncio.create_task(perform())
        await asyncio.sleep(0)
        stage.floor.interrupt()
        assert (await saying) == Playback(0, 0, interrupted=True)
        assert stage.path.clears == 0
        assert stage.ended == [("", "", True)]

    run(case())


def test_nothing_is_cut_when_nobody_speaks() -> None:
    async def case() -> None:
        stage = Stage()
        stage.floor.interrupt()
        assert stage.path.clears == 0
        assert not stage.ended

    run(case())


def test_a_queued_text_is_skipped_by_an_interruption_before_its_turn() -> None:
    async def case() -> None:
        stage = Stage()
        done: asyncio.Future[Playback] = asyncio.get_running_loop().create_future()
        queued = stage.floor.queue("Hello.", done)
        stage.floor.interrupt()
        await queued
        assert not done.done()
        assert not stage.tts.texts

    run(case())


def test_a_place_in_the_queue_is_free_again_once_its_turn_came() -> None:
    async def case() -> None:
        stage = Stage(path=FakePath())
        loop = asyncio.get_running_loop()
        for _ in range(20):
            done: asyncio.Future[Playback] = loop.create_future()
            await stage.floor.queue("Hello.", done)
            assert done.result().heard_ms == 100

    run(case())


def test_a_failure_nobody_waits_for_is_raised() -> None:
    async def case() -> None:
        stage = Stage(tts=FakeTts(SpeechError("mute")))
        done: asyncio.Future[Playback] = asyncio.get_running_loop().create_future()
        queued = stage.floor.queue("Hello.", done)
        done.cancel()
        with pytest.raises(SpeechError):
            await queued

    run(case())


def test_a_result_is_given_once() -> None:
    async def case() -> None:
        done: asyncio.Future[Playback] = asyncio.get_running_loop().create_future()
        settle(done, Playback(1, 1, interrupted=False))
        settle(done, Playback(2, 2, interrupted=True))
        assert done.result().heard_ms == 1

    run(case())
