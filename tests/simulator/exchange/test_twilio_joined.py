"""Our own side of Twilio against the simulated one, over loopback: REST, webhooks, and speech."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.media import plane
from tests.simulator.exchange.twilio_customer import FROM, TO, exchange, over, run
from voicecall.call.events import CallDtmf, CallEnded, CallErrored, CallEvent, CallSpeech
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers._prompts import Prompts
from voicecall.carriers.twilio.client import Dialing, TwilioCarrier
from voicecall.carriers.twilio.instructions import Instructions
from voicecall.carriers.twilio.rest import Account, Timeouts
from voicecall.carriers.twilio.signature import SignatureVerifier
from voicecall.carriers.twilio.webhook import TwilioWebhook
from voicecall.clock import SystemClock
from voicecall.errors import CarrierError
from voicecall.ports import DialRequest, WebhookRequest
from voicecall.simulator.exchange import Fault, HttpResponse, HttpServer, Keys, SimpleParty

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.media.plane import Call
    from voicecall.ports import StreamUrls
    from voicecall.simulator.exchange import HttpRequest, Line, Pickup
    from voicecall.simulator.exchange.twilio import TwilioExchange

pytestmark = pytest.mark.socket

CALL_ID = "4c1b0f5e-0000-4000-8000-000000000001"


def a_record(direction: Direction = Direction.OUTBOUND) -> CallRecord:
    return CallRecord(
        call_id=CALL_ID,
        provider="twilio",
        direction=direction,
        state=CallState.INITIATED,
        from_number=FROM,
        to_number=TO,
        session_key="",
        started_at=0,
        metadata={"mode": "conversation", "turnToken": "turn-1"},
    )


def a_request(**changes: Any) -> DialRequest:
    usual: dict[str, Any] = {
        "call_id": CALL_ID,
        "to": TO,
        "from_number": FROM,
        "mode": "conversation",
        "stream_url": None,
        "ring_timeout_ms": 20_000,
    }
    return DialRequest(**(usual | changes))


@dataclass
class Desk:
    """Our webhook endpoint for one call, without a manager.

    Attributes:
        record: what the webhook is told about every call; None refuses all.
        events: what the webhooks said.
    """

    instructions: Instructions
    webhook: TwilioWebhook
    record: CallRecord | None
    events: list[CallEvent] = field(default_factory=list)
    origin: str = ""
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        query = f"?{request.query}" if request.query else ""
        verified = self.webhook.verify(
            WebhookRequest(
                request.method,
                f"{self.origin}{request.path}{query}",
                request.headers,
                request.body,
                "127.0.0.1",
            )
        )
        events = self.webhook.parse(verified)
        async with self._came:
            self.events += events
            for event in events:
                if isinstance(event, CallEnded) and self.record is not None:
                    self.record.state = event.reason
            self._came.notify_all()
        answer = self.webhook.answer(verified, self.record)
        return HttpResponse(answer.status, answer.body, answer.content_type)

    async def until(self, told: Callable[[CallEvent], bool]) -> CallEvent:
        async with self._came:
            await self._came.wait_for(lambda: any(map(told, self.events)))
        return next(filter(told, self.events))

    @property
    def kinds(self) -> list[str]:
        return [event.type for event in self.events]


@asynccontextmanager
async def joined(
    carrier: TwilioExchange,
    *,
    record: CallRecord | None,
    detect_machines: bool = False,
    urls: StreamUrls | None = None,
) -> AsyncIterator[tuple[TwilioCarrier, Desk]]:
    """Our adapter and our endpoint, each knowing the other and the simulated carrier."""
    clock = SystemClock()
    instructions = Instructions("", urls=urls, prompts=Prompts())
    verifier = SignatureVerifier(carrier.auth_token)
    desk = Desk(instructions, TwilioWebhook(verifier, instructions, clock), record)
    account = Account(carrier.account_sid, carrier.auth_token, api_base_url=carrier.base_url)
    ours = TwilioCarrier(
        account,
        instructions,
        clock=clock,
        dialing=Dialing(detect_machines=detect_machines),
        timeouts=Timeouts(dial_s=0.5, request_s=0.5),
    )
    async with HttpServer(desk.handle) as server:
        desk.origin = server.url
        instructions.webhook_url = f"{server.url}/voice/webhook"
        try:
            yield ours, desk
        finally:
            await ours.close()


def test_a_call_is_placed_spoken_on_and_hung_up() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with (
            exchange(party) as carrier,
            joined(carrier, record=a_record()) as (ours, desk),
        ):
            provider_call_id = await ours.dial(a_request())
            await desk.until(lambda event: event.type == "call.answered")
            assert (await ours.status(provider_call_id)).alive
            assert await ours.say(provider_call_id, "Your order <4711> has arrived & waits.")
            assert party.heard == ["Your order <4711> has arrived & waits."]
            await ours.hang_up(provider_call_id)
            await over(carrier)
            status = await ours.status(provider_call_id)
            assert (status.alive, status.end_reason) == (False, CallState.COMPLETED)
            # One that is over is a success.
            await ours.hang_up(provider_call_id)
            assert desk.events[0].call_id == CALL_ID
            assert {event.provider_call_id for event in desk.events} == {provider_call_id}
            assert carrier.dials == 1
            assert [status for _, _, status in carrier.requests if status >= 500] == []

    run(case)


def test_what_the_callee_says_and_presses_is_heard() -> None:
    async def case() -> None:
        party = SimpleParty(words=["Hello?", Keys("42#")])
        async with (
            exchange(party) as carrier,
            joined(carrier, record=a_record()) as (ours, desk),
        ):
            await ours.dial(a_request())
            speech = await desk.until(lambda event: isinstance(event, CallSpeech))
            assert isinstance(speech, CallSpeech)
            assert (speech.text, speech.turn_token) == ("Hello?", "turn-1")
            keys = await desk.until(lambda event: isinstance(event, CallDtmf))
            assert isinstance(keys, CallDtmf)
            assert keys.digits == "42#"

    run(case)


def test_keys_are_sent_and_the_call_goes_on() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with (
            exchange(party) as carrier,
            joined(carrier, record=a_record()) as (ours, desk),
        ):
            provider_call_id = await ours.dial(a_request(dtmf_sequence="1w2"))
            await desk.until(lambda event: event.type == "call.answered")
            await ours.send_dtmf(provider_call_id, "34#")
            assert await ours.say(provider_call_id, "Still there?") is True
            assert party.keys_heard.startswith("12")
            assert party.heard == ["Still there?"]

    run(case)


class Captive(SimpleParty):
    """Somebody to whom anything takes for ever to say."""

    def __init__(self) -> None:
        super().__init__()
        self.listens = asyncio.Event()

    async def listen(self, text: str) -> None:
        self.listens.set()
        await asyncio.Event().wait()


def test_what_is_said_can_be_cut() -> None:
    async def case() -> None:
        party = Captive()
        async with (
            exchange(party) as carrier,
            joined(carrier, record=a_record()) as (ours, desk),
        ):
            provider_call_id = await ours.dial(a_request())
            await desk.until(lambda event: event.type == "call.answered")
            saying = asyncio.create_task(ours.say(provider_call_id, "A very long story."))
            await party.listens.wait()
            await ours.stop_speaking(provider_call_id)
            assert await saying is False

    run(case)


def test_a_machine_is_told_of() -> None:
    async def case() -> None:
        async with (
            exchange(SimpleParty("machine")) as carrier,
            joined(carrier, record=a_record(), detect_machines=True) as (ours, desk),
        ):
            await ours.dial(a_request())
            told = await desk.until(lambda event: isinstance(event, CallErrored))
            assert isinstance(told, CallErrored)
            assert told.message == "an answering machine took the call"

    run(case)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("busy", CallState.BUSY),
        ("no-answer", CallState.NO_ANSWER),
        ("reject", CallState.BUSY),
    ],
)
def test_why_nobody_answered_is_told(answer: Any, reason: CallState) -> None:
    async def case() -> None:
        async with (
            exchange(SimpleParty(answer)) as carrier,
            joined(carrier, record=a_record()) as (ours, desk),
        ):
            await ours.dial(a_request())
            ended = await desk.until(lambda event: isinstance(event, CallEnded))
            assert isinstance(ended, CallEnded)
            assert ended.reason is reason

    run(case)


def test_an_inbound_call_is_taken_and_its_end_is_told() -> None:
    async def case() -> None:
        party = SimpleParty(words=["Hello?"], stays=0.0)
        async with (
            exchange(party) as carrier,
            joined(carrier, record=a_record(Direction.INBOUND)) as (_, desk),
        ):
            await carrier.call_in(FROM, TO, desk.instructions.webhook_url)
            speech = await desk.until(lambda event: isinstance(event, CallSpeech))
            assert isinstance(speech, CallSpeech)
            ended = await desk.until(lambda event: isinstance(event, CallEnded))
            assert isinstance(ended, CallEnded)
            assert ended.reason is CallState.COMPLETED
            assert desk.kinds[0] == "call.ringing"

    run(case)


def test_an_inbound_call_that_is_refused_is_never_answered() -> None:
    async def case() -> None:
        async with (
            exchange() as carrier,
            joined(carrier, record=None) as (_, desk),
        ):
            await carrier.call_in(FROM, TO, desk.instructions.webhook_url)
            line = await over(carrier)
            assert (line.status, line.answered) == ("no-answer", False)

    run(case)


# --- with media ----------------------------------------------------------------------------------


class Patient(SimpleParty):
    """Somebody who answers once we know the carrier's id of the call."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def ring(self, call: Line) -> Pickup:
        await self.may_answer.wait()
        return await super().ring(call)


@asynccontextmanager
async def streaming(
    party: Patient, *faults: Fault
) -> AsyncIterator[tuple[TwilioExchange, TwilioCarrier, Call, str]]:
    """A call that is answered with a media stream to our own media plane."""
    async with plane.plane("port") as media, exchange(party) as carrier:
        for fault in faults:
            carrier.faults.add("socket", fault)
        record = a_record()
        async with joined(carrier, record=record, urls=media.tokens) as (ours, _):
            provider_call_id = await ours.dial(a_request())
            call, _url = media.call(CALL_ID, provider_call_id)
            party.may_answer.set()
            await call.opened.wait()
            yield carrier, ours, call, provider_call_id
            await ours.hang_up(provider_call_id)
            await over(carrier)


def test_media_reach_our_own_media_plane() -> None:
    async def case() -> None:
        party = Patient()
        async with streaming(party) as (carrier, _, call, provider_call_id):
            await plane.until(lambda: len(call.heard) > 0)
            assert party.phone is not None
            await party.phone.press("5")
            await plane.until(lambda: call.digits == ["5"])
            assert carrier.calls[provider_call_id].sockets == 1
        assert party.phone.stats.protocol_errors == 0

    plane.run(case())


def test_a_stream_that_breaks_is_replaced_before_anybody_misses_it() -> None:
    async def case() -> None:
        party = Patient()
        broken = Fault("drop", delay_s=0.2)
        async with streaming(party, broken) as (carrier, _, call, provider_call_id):
            line = carrier.calls[provider_call_id]
            await line.await_socket(2)
            heard = len(call.heard)
            await plane.until(lambda: len(call.heard) > heard)
            assert (call.opened_times, call.lost) == (1, [])

    plane.run(case())


def test_keys_cut_the_stream_and_it_comes_back() -> None:
    async def case() -> None:
        party = Patient()
        async with streaming(party) as (carrier, ours, call, provider_call_id):
            await ours.send_dtmf(provider_call_id, "12#")
            await carrier.calls[provider_call_id].await_socket(2)
            assert party.keys_heard == "12#"
            assert (call.opened_times, call.lost) == (1, [])

    plane.run(case())


# --- when things go wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "placed"),
    [
        ("status", 0),
        ("status-after", 1),
        ("reset", 0),
        ("reset-after", 1),
        ("hang", 0),
        ("hang-after", 1),
    ],
)
def test_a_dial_that_fails_is_never_repeated(kind: Any, placed: int) -> None:
    async def case() -> None:
        async with (
            exchange() as carrier,
            joined(carrier, record=a_record()) as (ours, desk),
        ):
            carrier.faults.add("dial", Fault(kind, status=500))
            with pytest.raises(CarrierError) as caught:
                await ours.dial(a_request())
            assert not caught.value.retryable
            assert [path for method, path, _ in carrier.requests if method == "POST"] == [
                f"/2010-04-01/Accounts/{carrier.account_sid}/Calls.json"
            ] or kind.startswith("hang")
            assert carrier.dials == placed
            if placed:
                # The call that nobody was told of is known by its webhooks, and can be ended.
                event = await desk.until(lambda event: event.type == "call.answered")
                assert event.call_id == CALL_ID
                assert event.provider_call_id is not None
                await ours.hang_up(event.provider_call_id)
                await over(carrier)

    run(case)


def test_a_dial_that_twilio_has_no_time_for_may_be_repeated() -> None:
    async def case() -> None:
        async with (
            exchange(requests_per_s=1) as carrier,
            joined(carrier, record=a_record()) as (ours, _),
        ):
            await ours.dial(a_request())
            with pytest.raises(CarrierError) as caught:
                await ours.dial(a_request())
            assert (caught.value.retryable, caught.value.status) == (True, 20429)
            assert carrier.dials == 1

    run(case)


@pytest.mark.parametrize("kind", ["status-after", "reset-after", "hang-after"])
def test_a_hang_up_whose_answer_is_lost_can_be_repeated(kind: Any) -> None:
    async def case() -> None:
        async with (
            exchange() as carrier,
            joined(carrier, record=a_record()) as (ours, desk),
        ):
            provider_call_id = await ours.dial(a_request())
            await desk.until(lambda event: event.type == "call.answered")
            carrier.faults.add("hang-up", Fault(kind))
            with pytest.raises(CarrierError) as caught:
                await ours.hang_up(provider_call_id)
            assert caught.value.retryable
            await ours.hang_up(provider_call_id)
            line = await over(carrier)
            assert line.reason == "api"

    run(case)


def test_reports_that_are_repeated_say_the_same() -> None:
    async def case() -> None:
        async with (
            exchange() as carrier,
            joined(carrier, record=a_record()) as (ours, desk),
        ):
            carrier.faults.add("webhook:*", Fault("repeat", times=None))
            provider_call_id = await ours.dial(a_request())
            await desk.until(lambda event: event.type == "call.answered")
            await ours.hang_up(provider_call_id)
            await over(carrier)
            ended = {event.dedupe_key for event in desk.events if isinstance(event, CallEnded)}
            assert len(ended) == 1
            assert desk.kinds.count("call.ended") >= 2

    run(case)
