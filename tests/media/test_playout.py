from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from voicecall._codec import CallableOutlet, MediaStream, Pacer, WireFormat, Workspace
from voicecall.clock import ManualClock
from voicecall.media.playout import Playout
from voicecall.ports import ULAW_8K, Playback

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.unit

OCTETS_PER_MS = 8


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(case, 5))


class Line:
    """A playout, and the messages its streams have sent."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.pacer = Pacer(8000, 0xFF)
        self.playout = Playout(self.pacer, ULAW_8K, self.clock)
        self.events: list[str] = []
        self.marks: list[str] = []
        self.stream = self.connect()

    def connect(self) -> MediaStream:
        """A new socket carries the audio from now on."""
        self.stream = MediaStream(Workspace(), self)
        self.stream.connect(CallableOutlet(self._sent))
        wire = WireFormat(
            b'{"event":"media","audio":"',
            b'"}',
            b'{"event":"mark","name":"',
            b'"}',
            b'{"event":"clear"}',
        )
        self.stream.begin("ulaw", wire, self.pacer)
        self.playout.attach(self.stream)
        return self.stream

    def on_room(self) -> None:
        self.playout.on_room()

    def _sent(self, message: bytes) -> None:
        parsed = orjson.loads(message)
        self.events.append(parsed["event"])
        if "name" in parsed:
            self.marks.append(parsed["name"])

    def play(self, milliseconds: int) -> None:
        """Let time pass as the ticker does."""
        for _ in range(milliseconds // 5):
            self.stream.pump(self.clock.advance_ms(5))


def speech(milliseconds: int) -> bytes:
    return b"\x55" * (milliseconds * OCTETS_PER_MS)


def test_heard_follows_the_send_clock_up_to_the_next_unconfirmed_mark() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        await utterance.write(speech(3000))
        assert utterance.heard_ms() == 0
        line.play(500)
        assert utterance.heard_ms() == 500
        line.play(1000)
        assert utterance.heard_ms() == 1000
        line.playout.on_mark(line.marks[0])
        assert utterance.heard_ms() == 1500

    run(case())


def test_a_mark_confirms_what_the_send_clock_has_not_come_to() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        await utterance.write(speech(1000))
        utterance.finish()
        line.play(940)
        assert utterance.heard_ms() == 940
        line.playout.on_mark(line.marks[-1])
        assert await utterance.played() == Playback(1000, 1000, interrupted=False)

    run(case())


def test_pieces_of_any_length_cost_one_mark_a_second() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        for _ in range(150):
            await utterance.write(speech(20))
            line.play(20)
        utterance.finish()
        line.play(200)
        assert len(line.marks) == 3
        assert len(set(line.marks)) == 3

    run(case())


def test_the_last_mark_completes_the_utterance_and_all_before_it() -> None:
    async def case() -> None:
        line = Line()
        first = line.playout.utterance()
        await first.write(speech(90))
        second = line.playout.utterance()
        await second.write(speech(50))
        second.finish()
        line.play(200)
        line.playout.on_mark(line.marks[-1])
        assert await first.played() == Playback(90, 90, interrupted=False)
        assert await second.played() == Playback(50, 50, interrupted=False)
        assert not line.playout._marks

    run(case())


def test_the_answer_to_our_own_clear_settles_nothing_said_after_it() -> None:
    async def case() -> None:
        line = Line()
        await line.playout.utterance().write(speech(500))
        line.playout.clear()
        after = line.playout.utterance()
        await after.write(speech(100))
        after.finish()
        line.play(40)
        line.playout.on_cleared()
        assert after.result is None
        line.playout.on_mark(line.marks[-1])
        assert await after.played() == Playback(100, 100, interrupted=False)

    run(case())


def test_a_carrier_that_clears_by_itself_releases_whoever_waits_for_what_it_had() -> None:
    async def case() -> None:
        line = Line()
        whole = line.playout.utterance()
        await whole.write(speech(100))
        going_on = line.playout.utterance()
        await going_on.write(speech(400))
        waiting = asyncio.create_task(whole.played())
        line.play(40)
        line.playout.on_cleared()
        assert await waiting == Playback(40, 100, interrupted=True)
        assert going_on.result is None
        going_on.finish()
        line.play(600)
        assert going_on.heard_ms() == 400
        line.playout.on_mark(line.marks[-1])
        assert await going_on.played() == Playback(400, 400, interrupted=False)

    run(case())


def test_clears_asked_of_another_socket_are_not_answered_on_the_next() -> None:
    async def case() -> None:
        line = Line()
        line.playout.clear()
        line.connect()
        utterance = line.playout.utterance()
        await utterance.write(speech(100))
        utterance.finish()
        line.play(40)
        line.playout.on_cleared()
        assert await utterance.played() == Playback(40, 100, interrupted=True)

    run(case())


def test_an_echo_of_a_mark_nobody_knows_says_nothing() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        await utterance.write(speech(100))
        utterance.finish()
        line.play(50)
        line.playout.on_mark("u9.9")
        assert utterance.result is None
        line.playout.clear()
        cut = await utterance.played()
        assert cut == Playback(50, 100, interrupted=True)
        for name in ("u1.1", "u1.2"):
            line.playout.on_mark(name)  # Twilio echoes what a clear has flushed
        assert await utterance.played() == cut

    run(case())


def test_clear_sends_its_message_in_the_same_step_and_later_speech_starts_afresh() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        await utterance.write(speech(2000))
        line.play(300)
        line.playout.clear()
        assert line.events[-1] == "clear"
        assert line.pacer.queued_octets == 0
        sent = len(line.events)
        line.play(500)
        assert len(line.events) == sent
        late = line.playout.utterance()
        await late.write(speech(100))
        line.play(60)
        assert late.heard_ms() == 60
        assert utterance.heard_ms() == 300

    run(case())


def test_a_carrier_that_never_echoes_is_measured_by_the_send_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voicecall.media.playout.ECHO_GRACE_S", 0.01)

    async def case() -> None:
        line = Line()
        first = line.playout.utterance()
        await first.write(speech(100))
        first.finish()
        line.play(100)
        assert await first.played() == Playback(100, 100, interrupted=False)
        assert not line.playout._marks
        second = line.playout.utterance()
        await second.write(speech(3000))
        line.play(1700)
        assert second.heard_ms() == 1700

    run(case())


def test_an_utterance_that_goes_on_is_not_believed_to_be_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voicecall.media.playout.ECHO_GRACE_S", 0.01)

    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        await utterance.write(speech(100))
        line.play(100)
        waiting = asyncio.create_task(utterance.played())
        for _ in range(3):
            await asyncio.wait({waiting}, timeout=0.02)
        assert not waiting.done()
        await utterance.write(speech(100))
        utterance.finish()
        line.play(100)
        assert await waiting == Playback(200, 200, interrupted=False)

    run(case())


def test_one_who_stops_waiting_takes_nobody_along() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        await utterance.write(speech(100))
        utterance.finish()
        impatient, patient = (asyncio.create_task(utterance.played()) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait({impatient})
        line.play(100)
        line.playout.on_mark(line.marks[-1])
        assert await patient == Playback(100, 100, interrupted=False)
        assert impatient.cancelled()
        assert not utterance._waiters

    run(case())


def test_audio_without_room_waits_until_there_is_room() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        writing = asyncio.create_task(utterance.write(speech(10_500)))
        await asyncio.sleep(0)
        assert not writing.done()
        line.play(5500)
        await writing
        assert utterance.end == 10_500 * OCTETS_PER_MS

    run(case())


def test_audio_waits_for_a_socket_and_goes_on_with_the_next() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        await utterance.write(speech(400))
        line.play(100)
        line.playout.attach(None)
        writing = asyncio.create_task(utterance.write(speech(100)))
        await asyncio.sleep(0)
        line.clock.advance_ms(1000)
        assert not writing.done()
        line.connect()
        await writing
        utterance.finish()
        line.play(1000)
        line.playout.on_mark(line.marks[-1])
        assert await utterance.played() == Playback(500, 500, interrupted=False)

    run(case())


def test_an_utterance_that_is_finished_takes_no_more_audio() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        await utterance.write(speech(20))
        utterance.finish()
        utterance.finish()
        await utterance.write(speech(20))
        assert utterance.end == 20 * OCTETS_PER_MS
        assert line.pacer.written_octets == 20 * OCTETS_PER_MS

    run(case())


def test_closing_settles_everything_and_what_is_said_afterwards_is_dropped() -> None:
    async def case() -> None:
        line = Line()
        utterance = line.playout.utterance()
        writing = asyncio.create_task(utterance.write(speech(20_000)))
        waiting = asyncio.create_task(utterance.played())
        await asyncio.sleep(0)
        line.play(100)
        line.playout.close()
        await writing
        assert (await waiting).heard_ms == 100
        late = line.playout.utterance()
        await late.write(speech(100))
        late.finish()
        assert await late.played() == Playback(0, 0, interrupted=True)

    run(case())
