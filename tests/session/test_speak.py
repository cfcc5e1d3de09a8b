from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import FakePath, FakeTts, Identity, run, until
from voicecall.clock import ManualClock
from voicecall.dialog.sentences import speakable
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import PCM16_8K, AudioFormat, Playback
from voicecall.session.floor import whole
from voicecall.session.speak import PathSpeech, Voice, rehearse
from voicecall.session.timing import TurnTiming
from voicecall.speech.tts.cache import CachedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

pytestmark = pytest.mark.unit


def speech(path: FakePath, *engines: FakeTts, began: list[str] | None = None) -> PathSpeech:
    return PathSpeech(
        path,
        Voice(engines, Identity),
        clock=ManualClock(),
        timing=TurnTiming(),
        on_begin=lambda text: None if began is None else began.append(text),
    )


async def stream(*pieces: str | asyncio.Event) -> AsyncGenerator[str]:
    for piece in pieces:
        if isinstance(piece, str):
            yield piece
        else:
            await piece.wait()


def test_all_of_a_text_is_one_utterance() -> None:
    async def case() -> None:
        path, tts, began = FakePath(), FakeTts(), list[str]()
        said = speech(path, tts, began=began)
        playback = await said.run(stream("One two. ", "Three."))
        assert playback == Playback(heard_ms=300, total_ms=300, interrupted=False)
        assert tts.texts == ["One two.", "Three."]
        assert said.text == said.played_text == said.heard() == "One two. Three."
        assert began == ["One two."]
        assert len(path.utterances) == 1

    run(case())


def test_a_sentence_plays_before_the_next_one_is_known() -> None:
    async def case() -> None:
        more = asyncio.Event()
        path = FakePath()
        said = speech(path, FakeTts())
        saying = asyncio.create_task(said.run(stream("One two. Then ", more, "three.")))
        await until(lambda: path.utterances and path.utterances[0].total_ms == 200)
        assert said.began
        more.set()
        assert (await saying).total_ms == 400

    run(case())


def test_the_next_sentence_is_made_while_one_plays_but_not_the_whole_text() -> None:
    async def case() -> None:
        path, tts = FakePath(instant=False), FakeTts()
        path.room.clear()
        said = speech(path, tts)
        saying = asyncio.create_task(said.run(whole("One two three. " * 100)))
        await until(lambda: len(tts.texts) > 2)
        for _ in range(500):
            await asyncio.sleep(0)
        # Five seconds ahead.
        assert len(tts.texts) < 25
        said.stop()
        path.clear()
        assert (await saying).interrupted

    run(case())


def test_stopping_ends_the_text_and_the_synthesis() -> None:
    async def case() -> None:
        path, tts = FakePath(instant=False), FakeTts()
        path.room.clear()
        closed = asyncio.Event()

        async def endless() -> AsyncGenerator[str]:
            try:
                while True:
                    yield "One two three. "
            finally:
                closed.set()

        said = speech(path, tts)
        saying = asyncio.create_task(said.run(endless()))
        await until(lambda: said.began)
        said.stop()
        path.clear()
        assert (await saying).interrupted
        assert closed.is_set()
        assert tts.stopped

    run(case())


def test_stopping_before_it_runs_says_nothing() -> None:
    async def case() -> None:
        path = FakePath()
        said = speech(path, FakeTts())
        said.stop()
        assert await said.run(whole("Hello.")) == Playback(0, 0, interrupted=True)
        assert not path.utterances

    run(case())


def test_being_cancelled_leaves_nothing_running() -> None:
    async def case() -> None:
        before = asyncio.all_tasks()
        path = FakePath()
        path.room.clear()
        said = speech(path, FakeTts())
        saying = asyncio.create_task(said.run(whole("Hello.")))
        await until(lambda: said.began)
        saying.cancel()
        await asyncio.wait({saying})
        assert saying.cancelled()
        assert asyncio.all_tasks() == before

    run(case())


def test_what_was_heard_is_counted_in_the_sentences_own_time() -> None:
    async def case() -> None:
        path = FakePath(instant=False)
        said = speech(path, FakeTts())
        saying = asyncio.create_task(said.run(whole("One two three. Four five.")))
        await until(lambda: path.utterances and path.utterances[0].finished)
        path.utterances[0].play(410)
        assert said.heard() == "One two three. Four"
        path.clear()
        assert await saying == Playback(heard_ms=410, total_ms=500, interrupted=True)

    run(case())


def test_what_cannot_be_said_is_skipped_and_numbers_are_written_as_they_were() -> None:
    async def case() -> None:
        tts = FakeTts()
        said = speech(FakePath(), tts)
        await said.run(whole("\U0001f600\n**Call** 555-1234."))
        assert tts.texts == ["Call 5 5 5, 1 2 3 4."]
        assert said.text == "Call 555-1234."

    run(case())


def test_an_empty_text_plays_nothing() -> None:
    async def case() -> None:
        path = FakePath()
        assert await speech(path, FakeTts()).run(stream()) == Playback(0, 0, interrupted=False)
        assert not path.utterances

    run(case())


@pytest.mark.parametrize(
    "failure", [SpeechError("down"), DependencyMissing("none"), TimeoutError()]
)
def test_the_next_engine_speaks_when_one_fails(failure: Exception) -> None:
    async def case() -> None:
        broken, working = FakeTts(failure), FakeTts()
        said = speech(FakePath(), broken, working)
        playback = await said.run(whole("One two. Three."))
        assert playback.total_ms == 300
        assert broken.texts == ["One two."]
        assert working.texts == ["One two.", "Three."]

    run(case())


def test_a_sentence_that_breaks_off_is_said_again_by_the_next_engine() -> None:
    async def case() -> None:
        broken, working = FakeTts(SpeechError("cut"), pieces_before=1), FakeTts()
        said = speech(FakePath(), broken, working)
        assert (await said.run(whole("One two. Three."))).total_ms == 100 + 200 + 100
        assert (broken.texts, working.texts) == (["One two."], ["One two.", "Three."])
        assert said.played_text == "One two. Three."
        assert said.failure is None

    run(case())


def test_when_all_engines_fail_what_was_made_is_played_and_no_more_counts_as_said() -> None:
    async def case() -> None:
        said = speech(FakePath(), FakeTts(SpeechError("cut"), pieces_before=2))
        # What 200 ms are enough for.
        playback = await said.run(whole("I go to the bakery. Three."))
        assert playback.total_ms == 200
        assert said.played_text == "I"
        assert isinstance(said.failure, SpeechError)

    run(case())


def test_when_all_engines_have_failed_the_next_text_finds_them_all_again() -> None:
    async def case() -> None:
        first, second = FakeTts(SpeechError("down")), FakeTts(SpeechError("down"))
        voice = Voice([first, second], Identity)
        with pytest.raises(SpeechError):
            _ = [piece async for piece in voice.synthesize("One.", PCM16_8K)]
        first.failure = None
        assert [piece async for piece in voice.synthesize("Two.", PCM16_8K)]
        assert (first.texts, second.texts) == (["One.", "Two."], ["One."])

    run(case())


# --- before it is to be said -------------------------------------------------------------------


def test_the_first_sentences_are_made_before_and_not_again() -> None:
    async def case() -> None:
        tts = FakeTts()
        voice = CachedTextToSpeech(tts, 1_000_000)
        await rehearse([voice], "Room 12. Two! ... Three? Four.")
        assert tts.texts == [speakable("Room 12."), "Two!", "Three?"]
        path = FakePath()
        said = PathSpeech(
            path,
            Voice([voice], Identity),
            clock=ManualClock(),
            timing=TurnTiming(),
            on_begin=lambda _: None,
        )
        await said.run(whole("Room 12. Two! ... Three? Four."))
        assert tts.texts[3:] == ["Four."]
        assert said.played_text == "Room 12. Two! Three? Four."

    run(case())


def test_nothing_is_made_before_that_would_not_be_kept_or_by_a_voice_of_last_resort() -> None:
    async def case() -> None:
        plain, second = FakeTts(), FakeTts()
        await rehearse([plain, CachedTextToSpeech(second, 1_000_000)], "Hello.")
        await rehearse([], "Hello.")
        assert not plain.texts
        assert not second.texts

    run(case())


@pytest.mark.parametrize("failure", [SpeechError("down"), DependencyMissing("none")])
def test_what_cannot_be_made_before_is_tried_again_when_it_is_said(failure: Exception) -> None:
    async def case() -> None:
        tts = FakeTts(failure)
        voice = CachedTextToSpeech(tts, 1_000_000)
        await rehearse([voice], "Hello. Again.")
        tts.failure = None
        assert [piece async for piece in Voice([voice], Identity).synthesize("Hello.", PCM16_8K)]
        assert tts.texts == ["Hello.", "Hello."]

    run(case())


def test_the_tail_of_a_conversion_is_played_at_the_end_of_each_sentence() -> None:
    class Delayed(Identity):
        held = b""

        def convert(self, audio: bytes, last: bool = False) -> bytes:
            self.held += audio
            cut = len(self.held) if last else max(0, len(self.held) - 1000)
            converted, self.held = self.held[:cut], self.held[cut:]
            return converted

    async def case() -> None:
        voice = Voice([FakeTts()], Delayed)
        pieces = [len(piece) async for piece in voice.synthesize("One two.", PCM16_8K)]
        assert pieces == [600, 1600, 1000]

    run(case())


def test_a_piece_of_any_length_is_converted_in_short_steps_as_it_is_wanted() -> None:
    steps: list[int] = []

    class Watched(Identity):
        def convert(self, audio: bytes, last: bool = False) -> bytes:
            steps.append(len(audio))
            return audio

    class Flooding(FakeTts):
        async def synthesize(self, text: str) -> AsyncIterator[bytes]:
            yield bytes(10_000_001)

    async def case() -> None:
        pieces = Voice([Flooding()], Watched).synthesize("x", AudioFormat("pcm16", 8000))
        assert len(await anext(pieces)) == 3200
        assert steps == [3200]
        assert 3200 + sum([len(piece) async for piece in pieces]) == 10_000_001
        assert max(steps) == 3200

    run(case())


# --- held and resumed ------------------------------------------------------------------------


def words(count: int) -> str:
    """A sentence that takes as many tenths of a second; every word is told from the others."""
    return " ".join(f"w{number}" for number in range(10, 10 + count)) + "."


class Ramp(FakeTts):
    """100 ms a word, in which every place looks different from its neighbours."""

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        self.texts.append(text)
        for word in range(len(text.split())):
            yield b"".join((1000 + word * 800 + at).to_bytes(2, "little") for at in range(800))


def test_what_was_held_goes_on_a_little_before_where_it_was_without_being_made_again() -> None:
    async def case() -> None:
        path, tts, began = FakePath(instant=False), Ramp(), list[str]()
        said = speech(path, tts, began=began)
        saying = asyncio.create_task(said.run(whole(words(20))))
        await until(lambda: path.utterances and path.utterances[0].finished)
        first = path.utterances[0]
        first.play(1000)
        said.hold()
        assert path.clears == 1
        assert not saying.done()
        assert said.heard() == " ".join(f"w{number}" for number in range(10, 20))
        said.resume()
        await until(lambda: len(path.utterances) == 2 and path.utterances[1].finished)
        assert path.utterances[1].audio == first.audio[800 * 16 :]
        path.utterances[1].play(9999)
        assert await saying == Playback(heard_ms=2000, total_ms=2000, interrupted=False)
        assert said.heard() == words(20)
        assert len(tts.texts) == 1
        assert began == [words(20)]

    run(case())


def test_what_is_held_twice_counts_as_one() -> None:
    async def case() -> None:
        path = FakePath(instant=False)
        said = speech(path, Ramp())
        saying = asyncio.create_task(said.run(whole(words(20))))
        for _ in range(2):
            await until(lambda: path.utterances and path.utterances[-1].finished)
            path.utterances[-1].play(600)
            said.hold()
            said.resume()
            await until(lambda: not path.utterances[-1].cut)
        await until(lambda: path.utterances[2].finished)
        path.utterances[2].play(9999)
        assert await saying == Playback(heard_ms=2000, total_ms=2000, interrupted=False)

    run(case())


def test_what_is_stopped_while_it_is_held_was_heard_up_to_there() -> None:
    async def case() -> None:
        path = FakePath(instant=False)
        said = speech(path, Ramp())
        saying = asyncio.create_task(said.run(whole(words(20))))
        await until(lambda: path.utterances and path.utterances[0].finished)
        path.utterances[0].play(500)
        said.hold()
        said.stop()
        said.resume()
        assert await saying == Playback(heard_ms=500, total_ms=2000, interrupted=True)
        assert said.heard() == "w10 w11 w12 w13 w14"
        assert path.clears == 1
        assert len(path.utterances) == 1

    run(case())


def test_what_was_heard_does_not_become_less_by_going_back() -> None:
    async def case() -> None:
        path = FakePath(instant=False)
        said = speech(path, Ramp())
        saying = asyncio.create_task(said.run(whole(words(20))))
        await until(lambda: path.utterances and path.utterances[0].finished)
        path.utterances[0].play(1000)
        said.hold()
        said.resume()
        await until(lambda: len(path.utterances) == 2)
        path.utterances[1].play(100)
        said.stop()
        assert (await saying).heard_ms == 1000

    run(case())


def test_what_is_still_being_made_waits_while_it_is_held_and_then_follows() -> None:
    async def case() -> None:
        more = asyncio.Event()
        path = FakePath(instant=False)
        said = speech(path, Ramp())
        saying = asyncio.create_task(said.run(stream("One two three. ", "Four ", more, "five.")))
        await until(lambda: path.utterances and path.utterances[0].total_ms == 300)
        path.utterances[0].play(300)
        said.hold()
        more.set()
        await until(lambda: said.text == "One two three. Four five.")
        assert len(path.utterances) == 1
        said.resume()
        await until(lambda: len(path.utterances) == 2 and path.utterances[1].finished)
        assert path.utterances[1].total_ms == 200 + 200
        path.utterances[1].play(9999)
        assert await saying == Playback(heard_ms=500, total_ms=500, interrupted=False)

    run(case())


def test_a_long_text_is_not_made_beyond_measure_while_it_is_held() -> None:
    async def case() -> None:
        path, tts = FakePath(instant=False), FakeTts()
        path.room.clear()
        said = speech(path, tts)
        saying = asyncio.create_task(said.run(whole("One two three. " * 100)))
        await until(lambda: said.began)
        said.hold()
        for _ in range(500):
            await asyncio.sleep(0)
        assert len(tts.texts) < 25
        path.room.set()
        said.resume()
        await until(lambda: path.utterances[-1].finished, turns=10_000)
        assert len(tts.texts) == 100
        said.stop()
        assert (await saying).interrupted

    run(case())


def test_what_is_as_good_as_over_is_not_held() -> None:
    async def case() -> None:
        path = FakePath(instant=False)
        said = speech(path, Ramp())
        saying = asyncio.create_task(said.run(whole(words(5))))
        await until(lambda: path.utterances and path.utterances[0].finished)
        path.utterances[0].play(400)
        assert said.remaining_ms == 100
        said.hold()
        assert path.clears == 0
        path.utterances[0].play(9999)
        assert not (await saying).interrupted

    run(case())


def test_what_has_not_begun_is_not_held() -> None:
    async def case() -> None:
        path = FakePath()
        said = speech(path, FakeTts())
        said.hold()
        said.resume()
        assert not (await said.run(whole("Hello there."))).interrupted
        assert path.clears == 0

    run(case())


def test_it_tells_how_loud_it_has_been_and_what_it_has_been_saying() -> None:
    async def case() -> None:
        path = FakePath(instant=False)
        said = speech(path, Ramp())
        saying = asyncio.create_task(said.run(stream(f"{words(10)} {words(4)} {words(3)}")))
        await until(lambda: path.utterances and path.utterances[0].finished)
        assert said.levels(3) == []
        path.utterances[0].play(60)
        assert len(said.levels(5)) == 3
        assert said.levels(5)[0] == pytest.approx(-30, abs=2)
        assert said.lately() == words(10)
        path.utterances[0].play(900)
        assert said.lately() == f"{words(10)} {words(4)} {words(3)}"
        said.hold()
        assert said.levels(5) == []
        said.stop()
        await saying

    run(case())
