from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakePath, Identity, run, soon, until
from voicecall.audio import Transcoder
from voicecall.clock import ManualClock
from voicecall.ports import PCM16_8K, ULAW_8K, AudioFormat, ReplyAudio, ReplyDone, ReplyText
from voicecall.session.rendition import Channel, Said
from voicecall.session.unending import Unending

pytestmark = pytest.mark.native

FRAME = b"\x01\x00" * 160
FRAME_MS = 20


class Case:
    """A model without turns, on a line that plays in real time by a clock of the test's."""

    def __init__(self, source: AudioFormat = PCM16_8K, pause_s: float = 60) -> None:
        self.path = FakePath(instant=False)
        self.clock = ManualClock()
        convert = Identity if source == PCM16_8K else Transcoder
        self.begun: list[str] = []
        self.ended: list[Said] = []
        self.output = Unending(
            Channel(self.path, source, convert, self.clock),
            on_begin=self.begun.append,
            on_end=self.ended.append,
            pause_s=pause_s,
        )
        self.running = asyncio.create_task(self.output.run())

    def audio(self, frames: int = 1) -> None:
        for _ in range(frames):
            self.output.add(ReplyAudio("live", FRAME))

    def text(self, text: str) -> None:
        self.output.add(ReplyText("live", text))

    async def written(self, octets: int) -> None:
        await until(lambda: sum(len(each.audio) for each in self.path.utterances) == octets)

    async def end(self) -> None:
        self.output.finish()
        self.running.cancel()
        await asyncio.wait({self.running})


def test_audio_is_played_as_it_comes_in_one_utterance() -> None:
    async def case() -> None:
        this = Case()
        for number in range(1, 101):
            this.audio()
            await this.written(number * len(FRAME))
            this.clock.advance_ms(FRAME_MS)
        assert len(this.path.utterances) == 1
        assert this.output.dropped_octets == 0
        await this.end()

    run(case())


def test_a_burst_is_cut_to_400_ms_and_the_conversation_catches_up() -> None:
    async def case() -> None:
        this = Case()
        for _ in range(50):
            this.audio()
            await asyncio.sleep(0)
        # The piece that crosses the limit is the last one.
        kept = 21
        await this.written(kept * len(FRAME))
        assert this.output.dropped_octets == (50 - kept) * len(FRAME)
        this.clock.advance_ms(FRAME_MS)
        this.audio()
        await this.written((kept + 1) * len(FRAME))
        await this.end()

    run(case())


def test_while_nothing_can_be_played_the_newest_400_ms_are_kept() -> None:
    async def case() -> None:
        this = Case()
        this.path.room.clear()
        for number in range(100):
            this.output.add(ReplyAudio("live", bytes([number, 0]) * 160))
            await asyncio.sleep(0)
            this.clock.advance_ms(FRAME_MS)
        this.path.room.set()
        # One piece was on its way to the path already.
        await this.written(21 * len(FRAME))
        numbers = this.path.utterances[0].audio[:: len(FRAME)]
        assert list(numbers) == [0, *range(80, 100)]
        await this.end()

    run(case())


def test_audio_in_another_format_is_converted() -> None:
    async def case() -> None:
        this = Case(ULAW_8K)
        this.output.add(ReplyAudio("live", b"\xff" * 160))
        await this.written(320)
        await this.end()

    run(case())


def test_what_is_said_ends_where_the_caller_speaks() -> None:
    async def case() -> None:
        this = Case()
        this.text("We open ")
        this.text("at eight.")
        assert this.begun == ["We open"]
        assert this.output.speaking
        this.clock.advance_ms(900)
        this.output.caller_spoke()
        (said,) = this.ended
        assert (said.text, said.heard, said.cut) == (
            "We open at eight.",
            "We open at eight.",
            False,
        )
        assert (said.playback.heard_ms, said.playback.interrupted) == (900, False)
        this.text("And ")
        assert this.begun == ["We open", "And"]
        await this.end()

    run(case())


def test_a_pause_ends_what_is_said() -> None:
    async def case() -> None:
        this = Case(pause_s=0.005)
        this.text("We open at eight.")
        await soon(lambda: this.ended)
        await this.output.silent()
        assert not this.output.speaking
        await this.end()
        assert len(this.ended) == 1

    run(case())


def test_spaces_are_nothing_said() -> None:
    async def case() -> None:
        this = Case()
        this.text(" ")
        this.output.caller_spoke()
        assert (this.begun, this.ended) == ([], [])
        await this.end()

    run(case())


def test_a_new_session_of_the_model_ends_what_was_said() -> None:
    async def case() -> None:
        this = Case()
        this.text("We op")
        assert this.output.done(ReplyDone("live", failure="the connection broke"))
        assert [said.text for said in this.ended] == ["We op"]
        await this.end()

    run(case())


def test_nothing_clears_the_line_for_the_model_hears_for_itself() -> None:
    async def case() -> None:
        this = Case()
        this.audio()
        this.text("We open")
        this.output.interrupt()
        assert this.path.clears == 0
        assert [said.playback.interrupted for said in this.ended] == [True]
        await this.end()

    run(case())


def test_while_hushed_another_utterance_may_be_played_and_then_it_goes_on() -> None:
    async def case() -> None:
        this = Case()
        this.audio()
        await this.written(len(FRAME))
        async with this.output.hush():
            assert this.path.utterances[0].finished
            this.audio()
            await asyncio.sleep(0)
            assert len(this.path.utterances) == 1
        await this.written(2 * len(FRAME))
        assert len(this.path.utterances) == 2
        await this.end()

    run(case())


def test_somebody_can_wait_for_the_model_to_speak() -> None:
    async def case() -> None:
        this = Case()
        waiting = asyncio.create_task(this.output.begun())
        this.audio()
        await asyncio.sleep(0)
        assert not waiting.done()
        this.text("Hello.")
        await waiting
        await this.end()

    run(case())
