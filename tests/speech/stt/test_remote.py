from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.speech.stt.fakes import PATIENCE_S, WELL, FakeChannel, FakeService, broken, take
from voicecall.clock import NS_PER_MS, ManualClock
from voicecall.errors import SpeechError
from voicecall.ports import (
    ULAW_8K,
    FinalTranscript,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
)
from voicecall.speech.stt.remote import Limits, RemoteSttStream
from voicecall.speech.stt.sending import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from voicecall.ports import SttEvent

pytestmark = pytest.mark.unit

STARTED, STOPPED = SpeechStarted(1), SpeechStopped(2)
MS_20 = b"a" * 160


class Call:
    """One call's recognition, on a clock that stands still and with waits that are remembered."""

    def __init__(self, service: FakeService, limits: Limits | None = None) -> None:
        self.service = service
        self.clock = ManualClock(now_ns=0)
        self.waits_s: list[float] = []
        self.asleep = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.stream = RemoteSttStream(
            service.connect,
            service="Test",
            audio=ULAW_8K,
            clock=self.clock,
            limits=limits,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.asleep.set()
        await self.go_on.wait()

    def hear(self, ms: int, letter: str = "a") -> None:
        for _ in range(ms // 20):
            self.clock.advance_ms(20)
            self.stream.push(letter.encode() * 160)

    async def events(self, count: int) -> list[SttEvent]:
        return await take(self.stream, count)


def run(case: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(4 * PATIENCE_S):
            await case()

    asyncio.run(bounded())


# --- while the connection works -----------------------------------------------------------------


def test_audio_goes_out_in_batches_dated_by_when_it_was_spoken() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        call.hear(20)
        await asyncio.sleep(0)
        assert channel.pieces == []
        call.hear(20)
        await channel.until(lambda channel: bool(channel.pieces))
        assert channel.pieces == [Piece(MS_20 * 2, 40 * NS_PER_MS)]
        await call.stream.close()

    run(case)


def test_what_is_recognised_is_told_in_order_and_empty_text_is_not() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        channel.give(STARTED, PartialTranscript("He"), STOPPED, FinalTranscript(""))
        channel.give(STARTED, STOPPED, FinalTranscript("Hello", 0.9))
        assert await call.events(6) == [
            STARTED,
            PartialTranscript("He"),
            STOPPED,
            STARTED,
            STOPPED,
            FinalTranscript("Hello", 0.9),
        ]
        await call.stream.close()

    run(case)


def test_audio_from_before_the_first_connection_is_not_lost() -> None:
    async def case() -> None:
        service = FakeService(broken(), broken())
        call = Call(service)
        call.go_on.clear()
        call.hear(1500)
        assert service.attempts == 0
        call.go_on.set()
        channel = await service.channel(0)
        await channel.until(lambda channel: bool(channel.pieces))
        assert len(channel.audio) == 1500 * 8
        assert call.stream.dropped_octets == 0
        await call.stream.close()

    run(case)


def test_of_audio_that_waits_two_seconds_are_kept_and_the_rest_is_counted() -> None:
    async def case() -> None:
        service = FakeService(None)
        call = Call(service)
        call.hear(3000)
        assert call.stream.dropped_octets == 1000 * 8
        await call.stream.close()

    run(case)


def test_the_end_of_a_turn_is_sent_at_once_however_little_audio_there_is() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        call.stream.send(Piece(b"a", 1, ends_turn=True))
        await channel.until(lambda channel: bool(channel.pieces))
        assert channel.pieces == [Piece(b"a", 1, ends_turn=True)]
        await call.stream.close()

    run(case)


def test_a_silent_connection_is_kept_alive() -> None:
    async def case() -> None:
        call = Call(FakeService(), Limits(rest_ms=1))
        channel = await call.service.channel(0)
        await channel.until(lambda channel: channel.rests >= 2)
        await call.stream.close()

    run(case)


# --- when it breaks -----------------------------------------------------------------------------


def test_the_first_retry_is_at_once_the_next_after_growing_random_waits() -> None:
    async def case() -> None:
        service = FakeService(*[broken()] * 7)
        call = Call(service)
        await service.channel(0)
        assert service.attempts == 8
        assert call.waits_s[0] == 0
        expected_s = (0.25, 0.5, 1.0, 2.0, 4.0, 4.0)
        assert len(call.waits_s) == 7
        for waited_s, most_s in zip(call.waits_s[1:], expected_s, strict=True):
            assert 0.75 * most_s <= waited_s <= most_s
        await call.stream.close()

    run(case)


def test_after_so_many_failures_in_a_row_recognition_fails() -> None:
    async def case() -> None:
        service = FakeService(*[broken()] * 7, broken("the last straw"))
        call = Call(service)
        with pytest.raises(SpeechError, match="the last straw") as caught:
            await call.events(1)
        assert caught.value.status == 1011
        assert service.attempts == 8
        assert await call.events(1) == []
        await call.stream.close()

    run(case)


def test_a_refusal_that_no_retry_heals_is_told_at_once() -> None:
    async def case() -> None:
        service = FakeService(broken("wrong key", retryable=False))
        call = Call(service)
        with pytest.raises(SpeechError, match="wrong key"):
            await call.events(1)
        assert service.attempts == 1
        assert call.waits_s == []
        await call.stream.close()

    run(case)


def test_a_connection_that_recognised_something_renews_the_patience() -> None:
    async def case() -> None:
        service = FakeService()
        call = Call(service, Limits(attempts=2))
        for number in range(5):
            channel = await service.channel(number)
            channel.give(FinalTranscript(str(number)))
            channel.cut()
            assert await call.events(1) == [FinalTranscript(str(number))]
        await service.channel(5)
        assert call.waits_s == [0.0] * 5
        await call.stream.close()

    run(case)


def test_a_connection_that_lasted_renews_the_patience_though_nobody_spoke() -> None:
    async def case() -> None:
        service = FakeService()
        call = Call(service, Limits(attempts=2))
        for number in range(4):
            channel = await service.channel(number)
            call.clock.advance_ms(10_000)
            channel.cut()
        await service.channel(4)
        await call.stream.close()

    run(case)


def test_connections_that_break_at_once_use_the_patience_up() -> None:
    async def case() -> None:
        service = FakeService()
        call = Call(service, Limits(attempts=3))
        (await service.channel(0)).give(FinalTranscript("well"))
        assert len(await call.events(1)) == 1
        for number in range(3):
            (await service.channel(number)).cut()
        with pytest.raises(SpeechError, match="it broke"):
            await call.events(1)
        # The first had recognised something: it renewed the patience, and used up some.
        assert len(service.channels) == 3
        await call.stream.close()

    run(case)


def test_time_spent_on_connecting_does_not_count_as_having_lasted() -> None:
    async def case() -> None:
        service = FakeService()
        call = Call(service, Limits(attempts=3))
        service.on_attempt = lambda: call.clock.advance_ms(60_000)
        service.on_open = lambda channel: channel.cut()
        with pytest.raises(SpeechError, match="it broke"):
            await call.events(1)
        assert len(service.channels) == 3
        await call.stream.close()

    run(case)


def test_a_connection_that_does_not_become_ready_is_given_up() -> None:
    async def case() -> None:
        service = FakeService(None, WELL)
        call = Call(service, Limits(connect_ms=10))
        await service.channel(0)
        assert service.attempts == 2
        await call.stream.close()

    run(case)


def test_audio_that_is_too_old_is_not_sent_to_the_next_connection() -> None:
    async def case() -> None:
        service = FakeService()
        call = Call(service)
        channel = await service.channel(0)
        call.go_on.clear()
        service.plan(broken())
        channel.cut()
        await call.asleep.wait()
        call.hear(600, "o")
        call.hear(1000, "n")
        call.go_on.set()
        following = await service.channel(1)
        await following.until(lambda channel: bool(channel.pieces))
        assert set(following.audio) == {ord("n")}
        assert len(following.audio) == 1000 * 8
        assert call.stream.dropped_octets == 600 * 8
        await call.stream.close()

    run(case)


def test_a_turn_that_is_cut_off_ends_with_what_had_been_understood() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        call.clock.advance_ms(500)
        channel.give(STARTED, PartialTranscript("I would"), PartialTranscript("I would like "))
        channel.cut()
        assert await call.events(5) == [
            STARTED,
            PartialTranscript("I would"),
            PartialTranscript("I would like "),
            SpeechStopped(500 * NS_PER_MS),
            FinalTranscript("I would like"),
        ]
        following = await call.service.channel(1)
        following.give(FinalTranscript("to book."))
        assert await call.events(1) == [FinalTranscript("to book.")]
        await call.stream.close()

    run(case)


def test_a_break_between_turns_is_not_heard() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        channel.give(STARTED, PartialTranscript("Yes"), STOPPED, FinalTranscript("Yes"))
        channel.cut()
        following = await call.service.channel(1)
        following.give(STARTED)
        assert (await call.events(5))[3:] == [FinalTranscript("Yes"), STARTED]
        await call.stream.close()

    run(case)


def test_what_a_dead_connection_still_has_to_say_is_not_heard() -> None:
    async def case() -> None:
        call = Call(FakeService(), Limits(send_ms=5))
        channel = await call.service.channel(0)
        channel.stuck = True
        call.hear(40)
        following = await call.service.channel(1)
        channel.give(FinalTranscript("a ghost"))
        following.give(FinalTranscript("a person"))
        assert await call.events(1) == [FinalTranscript("a person")]
        await call.stream.close()

    run(case)


def test_what_came_before_the_break_is_heard_though_sending_fails_first() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        channel.refuses = broken()
        channel.on_refusal = lambda: channel.give(
            STARTED, STOPPED, FinalTranscript("the last words")
        )
        call.hear(40)
        assert (await call.events(3))[2] == FinalTranscript("the last words")
        await call.service.channel(1)
        await call.stream.close()

    run(case)


def test_a_connection_that_does_not_listen_is_given_up() -> None:
    async def case() -> None:
        call = Call(FakeService(), Limits(send_ms=5))
        channel = await call.service.channel(0)
        channel.stuck = True
        call.hear(40)
        await call.service.channel(1)
        await channel.until(lambda channel: channel.closed)
        await call.stream.close()

    run(case)


def test_a_connection_that_does_not_answer_is_given_up() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        channel.give(STARTED, STOPPED)
        assert len(await call.events(2)) == 2
        call.clock.advance_ms(14_000)
        call.hear(40)
        await channel.until(lambda channel: bool(channel.pieces))
        assert call.service.attempts == 1
        call.clock.advance_ms(1_000)
        call.hear(40)
        await call.service.channel(1)
        await call.stream.close()

    run(case)


def test_a_connection_that_answers_with_nothing_is_not_given_up() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        channel.give(STARTED, STOPPED, FinalTranscript(""))
        assert len(await call.events(2)) == 2
        await asyncio.sleep(0)
        call.clock.advance_ms(60_000)
        call.hear(40)
        await channel.until(lambda channel: bool(channel.pieces))
        assert call.service.attempts == 1
        await call.stream.close()

    run(case)


def test_a_turn_of_our_own_is_owed_from_when_it_is_asked_for() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        call.stream.tell(STARTED)
        call.stream.tell(STOPPED)
        call.clock.advance_ms(20_000)
        call.stream.send(Piece(MS_20, 1, ends_turn=True))
        await channel.until(lambda channel: len(channel.pieces) == 1)
        call.clock.advance_ms(15_001)
        call.hear(40)
        await call.service.channel(1)
        # What we noticed ourselves is not taken back.
        assert await call.events(2) == [STARTED, STOPPED]
        await call.stream.close()

    run(case)


def test_a_break_is_logged_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        channel.give(STARTED, PartialTranscript("my number is"))
        channel.cut()
        await call.service.channel(1)
        await call.stream.close()

    with caplog.at_level(logging.DEBUG, "voicecall"):
        run(case)
    (record,) = caplog.records
    assert record.message == "a recogniser's connection broke"
    assert "my number" not in str(record.__dict__)


def test_a_bug_of_a_vendors_module_ends_the_recognition_and_nothing_else() -> None:
    class Buggy(FakeService):
        async def connect(self) -> None:  # type: ignore[override]  # the bug
            raise ZeroDivisionError

    async def case() -> None:
        call = Call(Buggy())
        with pytest.raises(SpeechError, match="Test failed"):
            await call.events(1)
        await call.stream.close()

    run(case)


def test_a_bug_in_reading_events_ends_the_recognition_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Buggy(FakeChannel):
        async def __anext__(self) -> SttEvent:
            raise ZeroDivisionError

    class Service(FakeService):
        async def connect(self) -> FakeChannel:
            return Buggy()

    async def case() -> None:
        call = Call(Service())
        with pytest.raises(SpeechError, match="Test failed"):
            await call.events(1)
        await call.stream.close()

    run(case)
    assert "ZeroDivisionError" in caplog.text


# --- before the vendor ends it ------------------------------------------------------------------

HOUR = Limits(session_ms=50 * 60_000, patience_ms=8 * 60_000)


def test_an_old_connection_is_replaced_while_the_caller_is_silent() -> None:
    async def case() -> None:
        call = Call(FakeService(), HOUR)
        old = await call.service.channel(0)
        call.hear(400, "o")
        await old.until(lambda channel: bool(channel.pieces))
        call.clock.advance_ms(50 * 60_000)
        call.hear(40, "p")
        new = await call.service.channel(1)
        await old.until(lambda channel: channel.closed)
        call.hear(40, "q")
        await new.until(lambda channel: channel.audio.endswith(b"q"))
        # What the old one may not have noticed is told again, and nothing is lost.
        assert new.audio.endswith(b"p" * 320 + b"q" * 320)
        assert new.audio.startswith(b"o")
        assert 300 * 8 <= len(new.audio) <= 500 * 8
        assert call.waits_s == []
        await call.stream.close()

    run(case)


def test_the_new_connection_is_ready_before_the_old_one_is_closed() -> None:
    async def case() -> None:
        call = Call(FakeService(WELL, None), replace(HOUR, replace_ms=30))
        old = await call.service.channel(0)
        call.clock.advance_ms(50 * 60_000)
        call.hear(40)
        await call.service.attempted(2)
        assert not old.closed
        old.give(FinalTranscript("meanwhile"))
        assert await call.events(1) == [FinalTranscript("meanwhile")]
        await call.stream.close()

    run(case)


def test_a_replacement_that_fails_leaves_the_old_connection_in_use() -> None:
    async def case() -> None:
        call = Call(FakeService(WELL, broken("no room", retryable=False)), HOUR)
        old = await call.service.channel(0)
        call.clock.advance_ms(50 * 60_000)
        call.hear(40)
        await old.until(lambda channel: len(channel.audio) == 320)
        call.hear(40)
        await old.until(lambda channel: len(channel.audio) == 640)
        assert call.service.attempts == 2
        assert not old.closed
        # Tried again a little later.
        call.clock.advance_ms(10_000)
        call.hear(40)
        await call.service.channel(1)
        await old.until(lambda channel: channel.closed)
        await call.stream.close()

    run(case)


def test_nobody_is_cut_off_in_the_middle_of_a_turn_for_a_new_connection() -> None:
    async def case() -> None:
        call = Call(FakeService(), HOUR)
        old = await call.service.channel(0)
        old.give(STARTED)
        assert await call.events(1) == [STARTED]
        call.clock.advance_ms(51 * 60_000)
        call.hear(40)
        await old.until(lambda channel: bool(channel.pieces))
        assert call.service.attempts == 1
        old.give(STOPPED)
        assert await call.events(1) == [STOPPED]
        call.hear(40)
        await old.until(lambda channel: len(channel.audio) >= 640)
        # The words are not there yet.
        assert call.service.attempts == 1
        old.give(FinalTranscript("done"))
        assert await call.events(1) == [FinalTranscript("done")]
        call.hear(40)
        await call.service.channel(1)
        await call.stream.close()

    run(case)


def test_somebody_who_never_falls_silent_is_cut_by_us_before_the_vendor_does() -> None:
    async def case() -> None:
        call = Call(FakeService(), HOUR)
        old = await call.service.channel(0)
        old.give(STARTED, PartialTranscript("and then"))
        assert len(await call.events(2)) == 2
        call.clock.advance_ms(58 * 60_000)
        call.hear(40)
        new = await call.service.channel(1)
        stopped, final = await call.events(2)
        assert isinstance(stopped, SpeechStopped)
        assert final == FinalTranscript("and then")
        new.give(STARTED)
        assert await call.events(1) == [STARTED]
        await call.stream.close()

    run(case)


# --- the end ------------------------------------------------------------------------------------


def test_closing_closes_the_connection_and_ends_the_iteration() -> None:
    async def case() -> None:
        call = Call(FakeService())
        channel = await call.service.channel(0)
        await call.stream.close()
        assert channel.closed
        assert await call.events(1) == []
        call.stream.push(MS_20 * 4)
        await call.stream.close()

    run(case)


@pytest.mark.parametrize("plan", [None, broken()])
def test_closing_while_there_is_no_connection_is_quick(plan: SpeechError | None) -> None:
    async def case() -> None:
        service = FakeService(*[plan] * 3)
        call = Call(service)
        call.go_on.clear()
        await service.attempted(1)
        await asyncio.wait_for(call.stream.close(), 1)
        assert service.channels == []

    run(case)


def test_a_closed_stream_is_not_kept_alive_by_anything() -> None:
    async def case() -> None:
        service = FakeService()
        stream = RemoteSttStream(
            service.connect,
            service="Test",
            audio=ULAW_8K,
            clock=ManualClock(),
            limits=Limits(attempts=1),
        )
        (await service.channel(0)).cut()
        try:
            await take(stream, 1)
        except SpeechError:
            failed = True
        else:
            failed = False
        await stream.close()
        gone = weakref.ref(stream)
        gc.disable()
        try:
            del stream
            await asyncio.sleep(0)
            assert failed
            assert gone() is None
        finally:
            gc.enable()

    run(case)
