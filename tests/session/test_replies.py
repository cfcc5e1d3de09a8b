from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakePath, Identity, run, until
from voicecall.clock import ManualClock
from voicecall.ports import PCM16_8K, Playback, ReplyAudio, ReplyDone, ReplyText
from voicecall.session.rendition import Channel, Rendition, Said
from voicecall.session.replies import Replies
from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.unit

SECOND = b"\x01\x00" * 8000


class Case:
    """A model's replies on a path that plays when it is told to."""

    def __init__(self, *, instant: bool = False) -> None:
        self.path = FakePath(instant=instant)
        self.begun: list[str] = []
        self.ended: list[Said] = []
        self.cancels: list[int] = []
        self.replies = Replies(
            Channel(self.path, PCM16_8K, Identity, ManualClock()),
            plan=lambda: (TurnTiming(), False),
            on_begin=self._on_begin,
            on_end=self.ended.append,
            cancel=lambda: self.cancels.append(self.path.clears),
            patience_s=5,
        )
        self.running = asyncio.create_task(self.replies.run())

    def reply(self, reply_id: str, text: str, *, complete: bool = True) -> None:
        self.replies.add(ReplyText(reply_id, text))
        self.replies.add(ReplyAudio(reply_id, SECOND))
        if complete:
            self.replies.done(ReplyDone(reply_id))

    async def audible(self, count: int) -> None:
        await until(lambda: len(self.begun) == count and self.path.utterances[-1].audio)

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.wait({self.running})

    def _on_begin(self, rendition: Rendition) -> None:
        self.begun.append(rendition.reply_id)


def test_replies_are_played_one_after_the_other() -> None:
    async def case() -> None:
        this = Case()
        this.reply("r1", "First.")
        this.reply("r2", "Second.")
        await this.audible(1)
        assert len(this.path.utterances) == 1
        this.path.utterances[0].play(1000)
        await this.audible(2)
        assert [said.reply_id for said in this.ended] == ["r1"]
        this.path.utterances[1].play(1000)
        await this.replies.silent()
        assert [said.heard for said in this.ended] == ["First.", "Second."]
        assert not this.replies.speaking
        await this.end()

    run(case())


def test_an_interruption_falls_silent_before_anything_else_and_tells_every_end_at_once() -> None:
    async def case() -> None:
        this = Case()
        this.reply("r1", "one two three four", complete=False)
        this.reply("r2", "Second.", complete=False)
        await this.audible(1)
        this.path.utterances[0].play(500)
        this.replies.interrupt()
        assert this.cancels == [1]
        assert [(said.reply_id, said.heard) for said in this.ended] == [
            ("r1", "one two"),
            ("r2", ""),
        ]
        assert [said.playback.heard_ms for said in this.ended] == [500, 0]
        assert all(said.cut for said in this.ended)
        assert not this.replies.speaking
        await this.replies.silent()
        await this.end()

    run(case())


def test_what_is_complete_needs_no_cancelling() -> None:
    async def case() -> None:
        this = Case()
        this.reply("r1", "First.")
        await this.audible(1)
        this.replies.interrupt()
        assert (this.path.clears, this.cancels) == (1, [])
        await this.end()

    run(case())


def test_with_nothing_to_interrupt_nothing_is_cleared() -> None:
    async def case() -> None:
        this = Case()
        this.replies.interrupt()
        assert (this.path.clears, this.cancels, this.ended) == (0, [], [])
        await this.end()

    run(case())


def test_what_still_comes_of_an_interrupted_reply_is_not_heard() -> None:
    async def case() -> None:
        this = Case()
        this.reply("r1", "First.", complete=False)
        await this.audible(1)
        this.replies.interrupt()
        this.reply("r1", "The rest.", complete=False)
        assert this.replies.done(ReplyDone("r1", interrupted=True))
        assert not this.replies.speaking
        this.reply("r2", "An answer.")
        await this.audible(2)
        this.path.utterances[-1].play(1000)
        await this.replies.silent()
        assert [(said.reply_id, said.text) for said in this.ended] == [
            ("r1", "First."),
            ("r2", "An answer."),
        ]
        await this.end()

    run(case())


def test_only_of_what_is_known_the_end_is_known() -> None:
    async def case() -> None:
        this = Case()
        assert not this.replies.done(ReplyDone("r0", failure="overloaded"))
        this.reply("r1", "First.", complete=False)
        assert this.replies.done(ReplyDone("r1"))
        await this.end()

    run(case())


def test_a_failed_reply_is_heard_as_far_as_it_came() -> None:
    async def case() -> None:
        this = Case(instant=True)
        this.reply("r1", "First.", complete=False)
        this.replies.done(ReplyDone("r1", failure="the connection broke"))
        await this.replies.silent()
        assert this.ended[0].playback == Playback(1000, 1000, interrupted=True)
        await this.end()

    run(case())


def test_the_ninth_reply_is_not_played() -> None:
    async def case() -> None:
        this = Case(instant=True)
        for number in range(9):
            this.reply(f"r{number}", "Hello.")
        await this.replies.silent()
        assert [said.reply_id for said in this.ended] == [f"r{number}" for number in range(8)]
        await this.end()

    run(case())


def test_a_reply_without_end_is_stopped_at_the_model_and_heard_as_far_as_it_was_kept() -> None:
    async def case() -> None:
        this = Case(instant=True)
        for _ in range(63):
            this.replies.add(ReplyAudio("r1", SECOND))
        assert this.cancels == [0]
        await this.replies.silent()
        (said,) = this.ended
        assert (said.playback.heard_ms, said.cut) == (60_000, True)
        await this.end()

    run(case())


def test_while_hushed_no_reply_begins() -> None:
    async def case() -> None:
        this = Case(instant=True)
        async with this.replies.hush():
            this.reply("r1", "First.")
            await asyncio.sleep(0)
            assert this.begun == []
            assert this.replies.speaking
        await this.replies.silent()
        assert this.begun == ["r1"]
        await this.end()

    run(case())


def test_what_waits_for_silence_is_dropped_without_clearing_what_is_heard() -> None:
    async def case() -> None:
        this = Case()
        async with this.replies.hush():
            this.reply("r1", "First.")
            this.replies.interrupt()
            assert this.path.clears == 0
            assert [said.began for said in this.ended] == [False]
        this.reply("r2", "Second.")
        await this.audible(1)
        assert this.begun == ["r2"]
        await this.end()

    run(case())


def test_when_nothing_more_comes_what_is_there_is_played() -> None:
    async def case() -> None:
        this = Case(instant=True)
        this.reply("r1", "First.", complete=False)
        this.replies.finish()
        await this.replies.silent()
        assert this.ended[0].playback.interrupted
        await this.end()

    run(case())


def test_somebody_can_wait_for_the_next_reply() -> None:
    async def case() -> None:
        this = Case(instant=True)
        waiting = asyncio.create_task(this.replies.begun())
        await asyncio.sleep(0)
        assert not waiting.done()
        this.reply("r1", "First.")
        await waiting
        await this.end()

    run(case())
