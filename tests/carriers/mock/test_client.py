from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from voicecall.call.events import CallAnswered, CallEnded, CallEvent, CallRinging
from voicecall.call.record import CallState
from voicecall.carriers.mock.client import MAX_CALLS_REMEMBERED, MockCarrier
from voicecall.clock import ManualClock
from voicecall.errors import CarrierError, StoreError
from voicecall.ports import CarrierStatus, DialRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from voicecall.carriers.mock.client import Emit, Phone, Ring

pytestmark = pytest.mark.unit

REQUEST = DialRequest(
    call_id="c-1",
    to="+15550002222",
    from_number="+15550001111",
    mode="conversation",
    stream_url=None,
    ring_timeout_ms=10,
)


class Exchange:
    """Keeps the events of a carrier and lets a test wait for the end of a call."""

    def __init__(self, phone: Phone, ring: Ring | None = None, **more: Any) -> None:
        self.events: list[CallEvent] = []
        self.ended = asyncio.Event()
        self.carrier = MockCarrier(phone, clock=ManualClock(), emit=self.emit, ring=ring, **more)

    async def emit(self, event: CallEvent) -> None:
        self.events.append(event)
        if isinstance(event, CallEnded):
            self.ended.set()

    async def until_ended(self) -> CallState:
        async with asyncio.timeout(2):
            await self.ended.wait()
        ended = self.events[-1]
        assert isinstance(ended, CallEnded)
        return ended.reason


def run(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def and_nothing_is_left() -> None:
        await case()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(and_nothing_is_left())


async def talk(request: DialRequest, provider_call_id: str, emit: Emit) -> None:
    await emit(
        CallAnswered(
            id="a",
            dedupe_key="a",
            timestamp=1,
            call_id=request.call_id,
            provider_call_id=provider_call_id,
        )
    )


async def talk_for_ever(request: DialRequest, provider_call_id: str, emit: Emit) -> None:
    await talk(request, provider_call_id, emit)
    await asyncio.Event().wait()


@pytest.mark.parametrize("phone", ["auto", "echo"])
def test_a_phone_rings_talks_and_hangs_up(phone: Phone) -> None:
    async def case() -> None:
        exchange = Exchange(phone, talk)
        provider_call_id = await exchange.carrier.dial(REQUEST)
        assert exchange.events == []
        assert await exchange.until_ended() is CallState.HANGUP_USER
        assert [type(event) for event in exchange.events] == [CallRinging, CallAnswered, CallEnded]
        assert {event.call_id for event in exchange.events} == {"c-1"}
        assert {event.provider_call_id for event in exchange.events} == {provider_call_id}
        status = await exchange.carrier.status(provider_call_id)
        assert status == CarrierStatus(alive=False, end_reason=CallState.HANGUP_USER)
        await exchange.carrier.close()

    run(case)


@pytest.mark.parametrize(
    ("phone", "reason"), [("busy", CallState.BUSY), ("no-answer", CallState.NO_ANSWER)]
)
def test_a_call_fails_the_way_it_was_asked_to(phone: Phone, reason: CallState) -> None:
    async def case() -> None:
        exchange = Exchange(phone)
        await exchange.carrier.dial(REQUEST)
        assert await exchange.until_ended() is reason
        assert [type(event) for event in exchange.events] == [CallRinging, CallEnded]
        await exchange.carrier.close()

    run(case)


def test_a_phone_that_is_off_is_only_given_an_id() -> None:
    async def case() -> None:
        exchange = Exchange("off")
        first, second = await exchange.carrier.dial(REQUEST), await exchange.carrier.dial(REQUEST)
        assert first != second
        assert await exchange.carrier.status(first) == CarrierStatus(alive=True)
        await exchange.carrier.hang_up(first)
        status = await exchange.carrier.status(first)
        assert status == CarrierStatus(alive=False, end_reason=CallState.COMPLETED)
        assert exchange.events == []

    run(case)


def test_hanging_up_ends_the_phone_and_may_be_repeated() -> None:
    async def case() -> None:
        exchange = Exchange("auto", talk_for_ever)
        provider_call_id = await exchange.carrier.dial(REQUEST)
        await asyncio.sleep(0)
        for _ in range(2):
            await exchange.carrier.hang_up(provider_call_id)
        await exchange.carrier.hang_up("never placed")
        status = await exchange.carrier.status(provider_call_id)
        assert status == CarrierStatus(alive=False, end_reason=CallState.COMPLETED)
        assert not exchange.ended.is_set()

    run(case)


def test_hanging_up_from_inside_the_call_does_not_wait_for_itself() -> None:
    async def case() -> None:
        async def hang_up(request: DialRequest, provider_call_id: str, emit: Emit) -> None:
            await exchange.carrier.hang_up(provider_call_id)
            left.set()

        left = asyncio.Event()
        exchange = Exchange("auto", hang_up)
        await exchange.carrier.dial(REQUEST)
        async with asyncio.timeout(1):
            await left.wait()
        await exchange.carrier.close()

    run(case)


def test_closing_ends_every_call() -> None:
    async def case() -> None:
        exchange = Exchange("auto", talk_for_ever)
        for _ in range(3):
            await exchange.carrier.dial(REQUEST)
        await exchange.carrier.close()

    run(case)


def test_a_phone_that_breaks_is_a_failed_call(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: DialRequest, provider_call_id: str, emit: Emit) -> None:
        raise RuntimeError("no dial tone")

    async def case() -> None:
        exchange = Exchange("auto", broken)
        await exchange.carrier.dial(REQUEST)
        assert await exchange.until_ended() is CallState.FAILED
        assert "mock call broke" in caplog.text
        await exchange.carrier.close()

    run(case)


def test_an_end_that_cannot_be_taken_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        refused = asyncio.Event()

        async def emit(event: CallEvent) -> None:
            if isinstance(event, CallEnded):
                refused.set()
            raise StoreError("disk full")

        carrier = MockCarrier("busy", clock=ManualClock(), emit=emit)
        await carrier.dial(REQUEST)
        await refused.wait()
        await carrier.close()
        assert "end of mock call not taken" in caplog.text

    run(case)


def test_keys_reach_the_callee_of_a_live_call_only() -> None:
    async def case() -> None:
        pressed: list[tuple[str, str]] = []

        async def press(provider_call_id: str, digits: str) -> None:
            pressed.append((provider_call_id, digits))

        exchange = Exchange("off", press=press)
        provider_call_id = await exchange.carrier.dial(REQUEST)
        await exchange.carrier.send_dtmf(provider_call_id, "12#")
        assert pressed == [(provider_call_id, "12#")]
        await exchange.carrier.hang_up(provider_call_id)
        for gone in (provider_call_id, "never placed"):
            with pytest.raises(CarrierError, match="no such call"):
                await exchange.carrier.send_dtmf(gone, "1")

    run(case)


def test_a_call_that_is_handed_on_is_over_for_its_callee_and_reported_as_nothing() -> None:
    async def case() -> None:
        exchange = Exchange("auto", talk_for_ever)
        provider_call_id = await exchange.carrier.dial(REQUEST)
        while len(exchange.events) < 2:  # noqa: ASYNC110  (the phone says nothing else)
            await asyncio.sleep(0)
        await exchange.carrier.transfer(provider_call_id, "+15550003333")
        status = await exchange.carrier.status(provider_call_id)
        assert status == CarrierStatus(alive=False, end_reason=CallState.COMPLETED)
        assert [type(event) for event in exchange.events] == [CallRinging, CallAnswered]
        for gone in (provider_call_id, "never placed"):
            with pytest.raises(CarrierError, match="no such call"):
                await exchange.carrier.transfer(gone, "+15550003333")
        await exchange.carrier.close()

    run(case)


def test_calls_are_forgotten_oldest_first() -> None:
    async def case() -> None:
        exchange = Exchange("off")
        first = await exchange.carrier.dial(REQUEST)
        later = [await exchange.carrier.dial(REQUEST) for _ in range(MAX_CALLS_REMEMBERED)]
        assert await exchange.carrier.status(first) == CarrierStatus(alive=False)
        assert await exchange.carrier.status(later[-1]) == CarrierStatus(alive=True)

    run(case)


def test_a_phone_that_talks_needs_something_to_ring() -> None:
    with pytest.raises(ValueError, match="auto needs"):
        Exchange("auto")


def test_it_is_called_mock() -> None:
    assert Exchange("off").carrier.name == "mock"
