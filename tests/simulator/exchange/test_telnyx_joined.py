"""voicecall's own side of Telnyx and the simulated one, over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.simulator.exchange.telnyx_customer import QUICK, THEM, US, run
from tests.simulator.mediaserver import media_server
from voicecall.call.events import (
    CallAnswered,
    CallDtmf,
    CallEnded,
    CallErrored,
    CallEvent,
    CallInitiated,
    CallSpeech,
)
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers.telnyx import client
from voicecall.carriers.telnyx.client import TelnyxCarrier
from voicecall.carriers.telnyx.markup import TelnyxSettings
from voicecall.carriers.telnyx.signature import SignatureVerifier
from voicecall.carriers.telnyx.webhook import TelnyxWebhook
from voicecall.clock import SystemClock
from voicecall.errors import CarrierError
from voicecall.ports import CarrierStatus, DialRequest, WebhookRequest
from voicecall.simulator.exchange.faults import Fault
from voicecall.simulator.exchange.http import HttpRequest, HttpResponse, HttpServer
from voicecall.simulator.exchange.party import Keys, SimpleParty
from voicecall.simulator.exchange.telnyx import TelnyxExchange, TelnyxHabits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.simulator.exchange.party import Party

pytestmark = pytest.mark.socket


def request(stream_url: str | None = None) -> DialRequest:
    return DialRequest("c-1", THEM, US, "conversation", stream_url, 5_000)


class Urls:
    def __init__(self, url: str) -> None:
        self._url = url

    def issue(self, call_id: str) -> str:
        return f"{self._url}-of-{call_id}"

    def revoke(self, call_id: str) -> None:
        raise AssertionError(call_id)


class Voicecall:
    """As much of a server as it takes: it verifies, reads and answers webhooks."""

    webhook: TelnyxWebhook
    carrier: TelnyxCarrier

    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self.replay_keys: list[str] = []
        self.record: CallRecord | None = None
        self._changed = asyncio.Event()

    async def take(self, received: HttpRequest) -> HttpResponse:
        seen = WebhookRequest(
            received.method, "https://calls.example/", received.headers, received.body, "192.0.2.1"
        )
        verified = self.webhook.verify(seen)
        self.replay_keys.append(verified.replay_key)
        events = self.webhook.parse(verified)
        answer = self.webhook.answer(verified, self.record_of(events))
        for event in events:
            await self.emit(event)
        return HttpResponse(answer.status, answer.body, answer.content_type)

    def record_of(self, events: object) -> CallRecord | None:
        match events:
            case [CallInitiated(direction=Direction.INBOUND) as event]:
                self.record = CallRecord(
                    "c-2",
                    "telnyx",
                    Direction.INBOUND,
                    CallState.INITIATED,
                    event.from_number or "",
                    event.to_number or "",
                    "session",
                    0,
                    provider_call_id=event.provider_call_id,
                )
        return self.record

    async def emit(self, event: CallEvent) -> None:
        self.events.append(event)
        self._changed.set()

    def of(self, kind: type[CallEvent]) -> list[CallEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[CallEvent], count: int = 1) -> CallEvent:
        while len(self.of(kind)) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.of(kind)[count - 1]


@asynccontextmanager
async def joined(
    party: Party | None = None,
    habits: TelnyxHabits = QUICK,
    *,
    stream_url: str | None = None,
    timeout_s: float = 5.0,
) -> AsyncIterator[tuple[Voicecall, TelnyxExchange]]:
    reached = party or SimpleParty()
    ours = Voicecall()
    exchange = TelnyxExchange(lambda _: reached, habits=habits)
    async with HttpServer(ours.take) as server, exchange:
        ours.carrier = TelnyxCarrier(
            TelnyxSettings(
                api_key=exchange.api_key,
                connection_id=exchange.connection_id,
                base_url=exchange.api_url,
                webhook_url=f"{server.url}/voice/webhook",
            ),
            clock=SystemClock(),
            emit=ours.emit,
            urls=None if stream_url is None else Urls(stream_url),
            timeout_s=timeout_s,
        )
        verifier = SignatureVerifier(exchange.public_key, SystemClock())
        ours.webhook = TelnyxWebhook(verifier, ours.carrier)
        try:
            yield ours, exchange
        finally:
            await ours.carrier.close()


def test_a_call_is_held_without_media_from_dial_to_hang_up() -> None:
    async def case() -> None:
        party = SimpleParty(words=["Alice", Keys("7"), "goodbye"])
        async with joined(party) as (ours, exchange):
            carrier = ours.carrier
            call_id = await carrier.dial(request())
            answered = await ours.until(CallAnswered)
            assert (answered.call_id, answered.provider_call_id) == ("c-1", call_id)
            assert await carrier.status(call_id) == CarrierStatus(alive=True)
            assert await carrier.say(call_id, "What is your name?")
            await carrier.listen(call_id)
            await carrier.listen(call_id)
            first = await ours.until(CallSpeech)
            assert isinstance(first, CallSpeech)
            assert (first.text, first.is_final) == ("Alice", True)
            assert await carrier.say(call_id, "Hello Alice. Press a key.")
            key = await ours.until(CallDtmf)
            assert isinstance(key, CallDtmf)
            assert key.digits == "7"
            assert await carrier.say(call_id, "Thank you.")
            await ours.until(CallSpeech, 2)
            await carrier.send_dtmf(call_id, "12")
            assert party.keys_heard == "12"
            await carrier.hang_up(call_id)
            ended = await ours.until(CallEnded)
            assert isinstance(ended, CallEnded)
            assert ended.reason is CallState.HANGUP_BOT
            assert await carrier.status(call_id) == CarrierStatus(
                alive=False, end_reason=CallState.COMPLETED
            )
            await carrier.hang_up(call_id)
            assert party.heard == ["What is your name?", "Hello Alice. Press a key.", "Thank you."]
            assert exchange.dials == 1
            assert not ours.of(CallErrored)
            assert len(set(ours.replay_keys)) == len(ours.replay_keys)

    run(case)


class Patient(SimpleParty):
    """Listens until it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.listens = asyncio.Event()

    async def listen(self, text: str) -> None:
        self.listens.set()
        await asyncio.Event().wait()


def test_what_is_being_said_is_cut() -> None:
    async def case() -> None:
        party = Patient()
        async with joined(party) as (ours, exchange):
            call_id = await ours.carrier.dial(request())
            await ours.until(CallAnswered)
            saying = asyncio.create_task(ours.carrier.say(call_id, "A long story."))
            await party.listens.wait()
            await ours.carrier.stop_speaking(call_id)
            assert await saying is False
            assert not exchange.calls[call_id].ended.is_set()

    run(case)


@pytest.mark.parametrize(
    ("party", "reason"),
    [
        (SimpleParty("busy"), CallState.BUSY),
        (SimpleParty("reject"), CallState.BUSY),
        (SimpleParty("no-answer"), CallState.NO_ANSWER),
        (SimpleParty(ring_s=None), CallState.NO_ANSWER),
    ],
    ids=["busy", "reject", "no-answer", "rings"],
)
def test_a_call_that_is_not_answered_ends_for_its_reason(
    party: SimpleParty, reason: CallState
) -> None:
    async def case() -> None:
        async with joined(party) as (ours, _):
            await ours.carrier.dial(request())
            ended = await ours.until(CallEnded)
            assert isinstance(ended, CallEnded)
            assert (ended.call_id, ended.reason) == ("c-1", reason)
            assert not ours.of(CallAnswered)

    run(case)


def test_an_inbound_call_is_picked_up_with_its_media_streamed() -> None:
    async def case() -> None:
        async with (
            media_server() as media,
            joined(stream_url=media.url) as (ours, exchange),
        ):
            webhook_url = str(ours.carrier._settings.webhook_url)
            call = await exchange.call_in(THEM, US, webhook_url)
            answered = await ours.until(CallAnswered)
            assert answered.call_id == "c-2"
            await media.wait_for("media", 3)
            start = media.of("start")[0]["start"]
            assert start["call_control_id"] == call.provider_call_id
            assert start["media_format"]["encoding"] == "PCMU"
            assert call.phone is not None
            await call.phone.press("3")
            await media.wait_for("dtmf")
            call.hang_up("party")
            ended = await ours.until(CallEnded)
            assert isinstance(ended, CallEnded)
            assert ended.reason is CallState.HANGUP_USER
            # Where media are streamed, keys are taken from the socket.
            assert not ours.of(CallDtmf)
            assert exchange.dials == 0

    run(case)


def test_an_inbound_call_is_answered_in_spite_of_an_error_and_only_once() -> None:
    async def case() -> None:
        async with joined() as (ours, exchange):
            exchange.faults.add("answer", Fault("status-after"))
            ours_url = str(ours.carrier._settings.webhook_url)
            await exchange.call_in(THEM, US, ours_url)
            await ours.until(CallAnswered)
            await exchange.webhooks.idle()
            answers = [status for _, path, status in exchange.requests if path.endswith("/answer")]
            assert answers[0] == 500
            assert len(ours.of(CallAnswered)) == 1
            assert not ours.of(CallErrored)

    run(case)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PICK_UP_DELAYS_S", (0.01, 0.01))


@pytest.mark.parametrize(
    ("fault", "dials"),
    [
        (Fault("status"), 0),
        (Fault("status-after"), 1),
        (Fault("hang"), 0),
        (Fault("hang-after"), 1),
        (Fault("reset"), 0),
        (Fault("reset-after"), 1),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_whatever_becomes_of_a_dial_there_is_no_second_one(fault: Fault, dials: int) -> None:
    async def case() -> None:
        async with joined(timeout_s=0.5 if "hang" in fault.kind else 5) as (ours, exchange):
            exchange.faults.add("dial", fault)
            with pytest.raises(CarrierError) as caught:
                await ours.carrier.dial(request())
            assert not caught.value.retryable
            assert exchange.dials == dials
            assert len(exchange.requests) == 1
            if dials:
                # The call that nobody was told of makes itself known.
                assert (await ours.until(CallAnswered)).call_id == "c-1"

    run(case)


def test_a_rate_limit_is_waited_out() -> None:
    async def case() -> None:
        async with joined(habits=TelnyxHabits(requests_per_s=1)) as (ours, exchange):
            await ours.carrier.dial(request())
            with pytest.raises(CarrierError) as caught:
                await ours.carrier.dial(request())
            assert caught.value.retryable
            assert await ours.carrier.dial(request())
            # The same command id, so the same call.
            assert exchange.dials == 1
            assert [status for _, _, status in exchange.requests] == [200, 429, 200]

    run(case)


def test_a_wrong_key_is_not_repeated_in_the_error() -> None:
    async def case() -> None:
        async with joined() as (ours, exchange):
            exchange._api_key = "KEY_another"
            with pytest.raises(CarrierError, match="TELNYX_API_KEY") as caught:
                await ours.carrier.dial(request())
            assert "SIMULATED" not in str(caught.value)

    run(case)


def test_webhooks_that_overtake_each_other_are_all_understood() -> None:
    async def case() -> None:
        async with (
            media_server() as media,
            joined(habits=TelnyxHabits(reorders=True), stream_url=media.url) as (ours, _),
        ):
            call_id = await ours.carrier.dial(request(media.url))
            await media.wait_for("start")
            await ours.until(CallAnswered)
            await ours.carrier.hang_up(call_id)
            await ours.until(CallEnded)
            assert not ours.of(CallErrored)

    run(case)
