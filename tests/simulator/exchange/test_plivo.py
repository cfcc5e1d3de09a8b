"""The simulated Plivo's REST API as the vendor's SDK asks it, and our own adapter on it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import plivo
import plivo.rest.client
import pytest
from plivo import exceptions

from tests.simulator.exchange.plivo_customer import (
    FROM,
    TO,
    Customer,
    Sdk,
    customer,
    dialing,
    response,
    run,
    sdk,
    stream,
)
from tests.simulator.mediaserver import media_server
from voicecall.call.events import (
    CallActive,
    CallAnswered,
    CallDtmf,
    CallEnded,
    CallInitiated,
    CallRinging,
    CallSpeech,
)
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers._prompts import Prompts
from voicecall.carriers.plivo.client import PlivoCarrier
from voicecall.carriers.plivo.instructions import Instructions
from voicecall.carriers.plivo.names import CallNames
from voicecall.carriers.plivo.rest import Account, Timeouts
from voicecall.carriers.plivo.signature import SignatureVerifier
from voicecall.carriers.plivo.webhook import PlivoWebhook
from voicecall.clock import ManualClock, SystemClock
from voicecall.errors import CarrierError
from voicecall.ports import CarrierStatus, DialRequest, WebhookRequest
from voicecall.simulator.exchange import Fault, HttpResponse, HttpServer, Keys, SimpleParty
from voicecall.simulator.exchange.plivo import AUTH_TOKEN, PlivoExchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from voicecall.call.events import CallEvent
    from voicecall.simulator.exchange import HttpRequest
    from voicecall.simulator.exchange.faults import RestFaultKind
    from voicecall.simulator.exchange.plivo_line import PlivoLine

pytestmark = pytest.mark.socket

HOLD = response('<Wait length="3600"/>')
NO_CALL = "00000000-0000-4000-8000-000000000000"


@asynccontextmanager
async def world(
    party: SimpleParty | None = None, *, read_s: float = 5.0, **options: Any
) -> AsyncIterator[tuple[PlivoExchange, Customer, Sdk]]:
    """A simulated Plivo, a customer whose calls wait for an hour, and the vendor's client."""
    callee = party or SimpleParty()
    async with (
        customer(answer=HOLD) as there,
        PlivoExchange(lambda _: callee, **({"pace": 1.0} | options)) as exchange,
        sdk(exchange, read_s=read_s) as kit,
    ):
        yield exchange, there, kit


async def answered(exchange: PlivoExchange, there: Customer, kit: Sdk) -> PlivoLine:
    """A call that was picked up and waits."""
    await kit.dial(there)
    await there.until("/answer")
    (line,) = exchange.calls.values()
    return line


# --- the API -----------------------------------------------------------------------------------


def test_a_call_is_placed_looked_up_and_ended() -> None:
    async def case() -> None:
        async with world() as (exchange, there, kit):
            request_uuid = await kit.dial(there)
            (ring,) = await there.until("/ring")
            call_uuid = ring.fields["CallUUID"]
            assert ring.fields["RequestUUID"] == request_uuid != call_uuid
            await there.until("/answer")

            live = await kit.ask(lambda client: client.live_calls.get(call_uuid))
            assert (live.status, live.body["call_status"]) == (200, "in-progress")
            assert live.body["request_uuid"] == request_uuid
            listed = await kit.ask(lambda client: client.live_calls.list_ids())
            assert listed.body["calls"] == [call_uuid]
            early = await kit.ask(lambda client: client.calls.get(call_uuid))
            assert (early.status, early.body["error"]) == (404, "not found")

            ended = await kit.ask(lambda client: client.calls.delete(call_uuid))
            assert (ended.status, ended.body) == (204, {})
            farewell = await there.end()
            assert (farewell["CallStatus"], farewell["HangupSource"]) == (
                "completed",
                "API Request",
            )
            again = await kit.ask(lambda client: client.calls.delete(call_uuid))
            assert again.status == 404
            record = await kit.ask(lambda client: client.calls.get(call_uuid))
            assert (record.body["call_status"], record.body["hangup_cause_code"]) == (
                "completed",
                4000,
            )
            shown = await kit.ask(lambda client: client.calls.list())
            assert [each["call_uuid"] for each in shown.body["objects"]] == [call_uuid]
            gone = await kit.ask(lambda client: client.live_calls.get(call_uuid))
            assert gone.status == 404
            assert exchange.dials == 1

    run(case)


def test_a_call_is_queued_before_it_rings_and_can_be_cancelled() -> None:
    async def case() -> None:
        async with world(queue_s=3600) as (_, there, kit):
            request_uuid = await kit.dial(there)
            queued = await kit.ask(lambda client: client.queued_calls.get(request_uuid))
            assert (queued.status, queued.body["call_status"]) == (200, "queued")
            listed = await kit.ask(lambda client: client.queued_calls.list_ids())
            assert listed.body["calls"] == [request_uuid]
            cancelled = await kit.ask(lambda client: client.calls.cancel(request_uuid))
            assert cancelled.status == 204
            farewell = await there.end()
            assert (farewell["CallStatus"], farewell["HangupCauseCode"]) == ("cancel", "1000")
            assert there.at("/ring") == []
            again = await kit.ask(lambda client: client.calls.cancel(request_uuid))
            assert again.status == 404

    run(case)


def test_a_call_that_was_answered_cannot_be_cancelled_as_a_request() -> None:
    async def case() -> None:
        async with world() as (exchange, there, kit):
            line = await answered(exchange, there, kit)
            cancelled = await kit.ask(lambda client: client.calls.cancel(line.request_uuid))
            assert cancelled.status == 404
            by_request = await kit.ask(lambda client: client.calls.delete(line.request_uuid))
            assert by_request.status == 404

    run(case)


def test_call_and_request_may_go_by_one_id() -> None:
    async def case() -> None:
        async with world(same_uuid=True) as (_, there, kit):
            request_uuid = await kit.dial(there)
            (ring,) = await there.until("/ring")
            assert ring.fields["CallUUID"] == request_uuid

    run(case)


def test_several_destinations_are_several_calls() -> None:
    async def case() -> None:
        async with world() as (exchange, there, kit):
            parameters = dialing(there, to_="+15550000001<+15550000003")
            answer = await kit.ask(lambda client: client.calls.create(**parameters))
            assert len(answer.body["request_uuid"]) == exchange.dials == 2
            rings = await there.until("/ring", 2)
            assert {ring.fields["To"] for ring in rings} == {"15550000001", "15550000003"}

    run(case)


def test_a_transfer_cuts_short_what_is_being_done() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with world(party) as (exchange, there, kit):
            there.documents["/instead"] = [response("<Speak>instead</Speak>")]
            line = await answered(exchange, there, kit)
            moved = await kit.ask(
                lambda client: client.calls.update(
                    line.provider_call_id, legs="aleg", aleg_url=f"{there.url}/instead"
                )
            )
            assert (moved.status, moved.body["message"]) == (202, "call transferred")
            assert (await there.end())["HangupCauseName"] == "End Of XML Instructions"
            assert party.heard == ["instead"]

    run(case)


def test_a_transfer_waits_for_the_end_of_a_stream_that_runs_alone() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with media_server() as media, world(party) as (exchange, there, kit):
            there.documents["/answer"] = [response(stream(media.url))]
            there.documents["/instead"] = [response("<Speak>instead</Speak>")]
            line = await answered(exchange, there, kit)
            await media.wait_for("start")
            await kit.ask(
                lambda client: client.calls.update(
                    line.provider_call_id, legs="aleg", aleg_url=f"{there.url}/instead"
                )
            )
            assert there.at("/instead") == []
            assert line.stream_id
            await media.connections[-1].close()
            await there.end()
            assert party.heard == ["instead"]

    run(case)


class Attentive(SimpleParty):
    """Somebody of whom one can tell when they have heard something."""

    def __init__(self) -> None:
        super().__init__(pace=0.0)
        self.noticed = asyncio.Queue[str]()

    async def listen(self, text: str) -> None:
        await super().listen(text)
        self.noticed.put_nowait(text)

    def keys(self, digits: str) -> None:
        super().keys(digits)
        self.noticed.put_nowait(digits)


def test_plivo_speaks_and_presses_keys_on_request() -> None:
    async def case() -> None:
        party = Attentive()
        async with world(party, pace=0.0) as (exchange, there, kit):
            there.documents["/answer"] = [response('<Play loop="0">https://example.org/a</Play>')]
            uuid = (await answered(exchange, there, kit)).provider_call_id
            spoken = await kit.ask(lambda client: client.calls.speak(uuid, "by the way"))
            assert (spoken.status, spoken.body["message"]) == (202, "speak started")
            assert await party.noticed.get() == "by the way"
            pressed = await kit.ask(lambda client: client.calls.send_digits(uuid, "1w#"))
            assert (pressed.status, pressed.body["message"]) == (202, "digits sent")
            assert [await party.noticed.get() for _ in range(2)] == ["1", "#"]
            wrong = await kit.ask(lambda client: client.calls.send_digits(uuid, "x"))
            assert wrong.status == 400

    run(case)


def test_a_stream_is_started_shown_and_stopped_on_request() -> None:
    async def case() -> None:
        async with media_server() as media, world() as (exchange, there, kit):
            line = await answered(exchange, there, kit)
            uuid = line.provider_call_id

            def start(client: Any) -> Any:
                return client.calls.start_stream(
                    uuid,
                    media.url,
                    bidirectional=True,
                    content_type="audio/x-l16;rate=16000",
                    status_callback_url=f"{there.url}/stream",
                )

            begun = await kit.ask(start)
            assert (begun.status, begun.body["message"]) == (202, "audio streaming started")
            await media.wait_for("start")
            stream_id = begun.body["stream_id"]
            assert media.of("start")[0]["start"]["streamId"] == stream_id
            assert media.of("start")[0]["start"]["mediaFormat"]["sampleRate"] == 16000
            assert (await kit.ask(start)).status == 400
            shown = await kit.ask(lambda client: client.calls.get_all_streams(uuid))
            assert [each["stream_id"] for each in shown.body["objects"]] == [stream_id]
            one = await kit.ask(
                lambda client: client.calls.get_details_of_specific_stream(uuid, stream_id)
            )
            assert one.body["stream_id"] == stream_id

            other = await kit.ask(lambda client: client.calls.delete_specific_stream(uuid, NO_CALL))
            assert other.status == 404
            stopped = await kit.ask(
                lambda client: client.calls.delete_specific_stream(uuid, stream_id)
            )
            assert stopped.status == 204
            events = [asked.fields["Event"] for asked in await there.until("/stream", 2)]
            assert events == ["StartStream", "StopStream"]
            assert (await kit.ask(start)).status == 202
            await media.wait_for("start", 2)
            assert (await kit.ask(lambda c: c.calls.delete_all_streams(uuid))).status == 204
            assert line.live

    run(case)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.calls.delete(NO_CALL),
        lambda client: client.calls.cancel(NO_CALL),
        lambda client: client.live_calls.get(NO_CALL),
        lambda client: client.queued_calls.get(NO_CALL),
        lambda client: client.calls.get(NO_CALL),
        lambda client: client.calls.update(NO_CALL, legs="aleg", aleg_url="https://example.org"),
        lambda client: client.calls.speak(NO_CALL, "hello"),
        lambda client: client.calls.send_digits(NO_CALL, "1"),
        lambda client: client.calls.start_stream(NO_CALL, "wss://example.org"),
        lambda client: client.calls.delete_all_streams(NO_CALL),
        lambda client: client.calls.play(NO_CALL, "https://example.org/a.mp3"),
        lambda client: client.conferences.list(),
    ],
)
def test_what_is_not_there_is_not_found(ask: Callable[[Any], Any]) -> None:
    async def case() -> None:
        async with world() as (_, _, kit):
            answer = await kit.ask(ask)
            assert (answer.status, answer.body["error"]) == (404, "not found")
            assert answer.body["api_id"]

    run(case)


def test_nothing_is_found_without_the_slash_at_the_end() -> None:
    async def case() -> None:
        async with world() as (exchange, there, _), httpx.AsyncClient() as client:
            url = f"{exchange.base_url}/v1/Account/{exchange.auth_id}/Call"
            body = {"from": FROM, "to": TO, "answer_url": f"{there.url}/answer"}
            auth = (exchange.auth_id, exchange.auth_token)
            assert (await client.post(url, json=body, auth=auth)).status_code == 404
            assert (await client.post(f"{url}/", json=body, auth=auth)).status_code == 201
            assert (await client.post(f"{url}/", content=b"[]", auth=auth)).status_code == 400
            assert (await client.put(f"{url}/{NO_CALL}/", auth=auth)).status_code == 405

    run(case)


def test_only_the_account_itself_is_served() -> None:
    async def case() -> None:
        async with world() as (exchange, there, _):
            async with sdk(exchange, token="another") as stranger:
                parameters = dialing(there)
                answer = await stranger.ask(lambda client: client.calls.create(**parameters))
            assert answer.status == 401
            assert exchange.dials == 0

    run(case)


def test_too_many_requests_are_refused_until_the_window_has_passed() -> None:
    async def case() -> None:
        clock = ManualClock()
        async with world(requests_per_5_s=2, clock=clock) as (_, _, kit):

            async def look() -> int:
                answer = await kit.ask(lambda client: client.live_calls.list_ids())
                return answer.status

            assert [await look() for _ in range(3)] == [200, 200, 429]
            clock.advance_ms(5001)
            assert await look() == 200

    run(case)


def test_an_error_can_be_asked_for_in_plivos_shape() -> None:
    async def case() -> None:
        async with world() as (exchange, there, kit):
            exchange.faults.add("dial", Fault("status", status=429))
            exchange.faults.add("look-up", Fault("status", status=503, code="try later"))
            parameters = dialing(there)
            refused = await kit.ask(lambda client: client.calls.create(**parameters))
            assert (refused.status, refused.body["error"]) == (429, "too many requests")
            later = await kit.ask(lambda client: client.calls.get(NO_CALL))
            assert (later.status, later.body["error"]) == (503, "try later")

    run(case)


# --- the vendor's own client, as it comes ------------------------------------------------------


@pytest.fixture
def unaltered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[PlivoExchange], Any]]:
    clients = []

    def make(exchange: PlivoExchange) -> Any:
        for name in (
            "PLIVO_API_BASE_URI",
            "API_VOICE_BASE_URI",
            "API_VOICE_BASE_URI_FALLBACK_1",
            "API_VOICE_BASE_URI_FALLBACK_2",
        ):
            monkeypatch.setattr(plivo.rest.client, name, f"{exchange.base_url}/v1/Account")
        client = plivo.RestClient(exchange.auth_id, exchange.auth_token)
        client.session.trust_env = False
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.session.close()
        client.multipart_session.close()


def test_the_unaltered_sdk_understands_every_answer(
    unaltered: Callable[[PlivoExchange], Any],
) -> None:
    async def case() -> None:
        async with world() as (exchange, there, _):
            client = unaltered(exchange)
            placed = await asyncio.to_thread(client.calls.create, **dialing(there))
            assert placed.message == "call fired"
            (ring,) = await there.until("/ring")
            assert placed.request_uuid == ring.fields["RequestUUID"]
            await there.until("/answer")
            uuid = ring.fields["CallUUID"]
            live = await asyncio.to_thread(client.live_calls.get, uuid)
            assert live.call_status == "in-progress"
            await asyncio.to_thread(client.calls.hangup, uuid)
            await there.end()
            record = await asyncio.to_thread(client.calls.get, uuid)
            assert record.hangup_source == "API Request"
            with pytest.raises(exceptions.ResourceNotFoundError):
                await asyncio.to_thread(client.calls.hangup, uuid)
            with pytest.raises(exceptions.ValidationError):
                await asyncio.to_thread(client.calls.start_stream, NO_CALL, None)

    run(case)


def test_the_unaltered_sdk_places_a_call_three_times_when_it_is_told_of_an_error(
    unaltered: Callable[[PlivoExchange], Any],
) -> None:
    async def case() -> None:
        async with world() as (exchange, there, _):
            exchange.faults.add("dial", Fault("status-after", times=3))
            client = unaltered(exchange)
            with pytest.raises(exceptions.PlivoServerError):
                await asyncio.to_thread(client.calls.create, **dialing(there))
            assert exchange.dials == 3

    run(case)


# --- our own adapter on it ---------------------------------------------------------------------


CALL_ID = "6b1f4c1e-0a57-4a7c-8f43-1c6f0e1c2d3a"
DIAL = DialRequest(
    call_id=CALL_ID,
    to=TO,
    from_number=FROM,
    mode="conversation",
    stream_url=None,
    ring_timeout_ms=30_000,
)


@dataclass
class Ours:
    """Our adapter on a simulated Plivo, with one call.

    Attributes:
        exchange: the carrier.
        record: the call; None while nobody has taken it.
        names: what it is called.
        url: where webhooks come to.
        events: what they reported, in order.
        statuses: how they were answered.
    """

    exchange: PlivoExchange
    record: CallRecord | None = None
    names: CallNames = field(default_factory=CallNames)
    url: str = ""
    events: list[CallEvent] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        clock = SystemClock()
        self._told = Instructions(lambda: self.url, names=self.names, prompts=Prompts())
        self._webhook = PlivoWebhook(
            SignatureVerifier(AUTH_TOKEN), self._told, names=self.names, clock=clock
        )
        account = Account(self.exchange.auth_id, self.exchange.auth_token, self.exchange.base_url)
        self.carrier = PlivoCarrier(
            account,
            self._told,
            names=self.names,
            clock=clock,
            timeouts=Timeouts(connect_s=2.0, read_s=0.5),
        )

    async def handle(self, request: HttpRequest) -> HttpResponse:
        base, _, _ = self.url.partition("/voice")
        url = f"{base}{request.path}{'?' * bool(request.query)}{request.query}"
        came = WebhookRequest(request.method, url, request.headers, request.body, "127.0.0.1")
        verified = self._webhook.verify(came)
        events = self._webhook.parse(verified)
        answer = self._webhook.answer(verified, self.record)
        async with self._came:
            self.events += events
            self.statuses.append(answer.status)
            self._came.notify_all()
        return HttpResponse(answer.status, answer.body, answer.content_type)

    async def until(self, kind: type[CallEvent], count: int = 1) -> list[Any]:
        """Wait until `count` events of a kind have been reported."""

        def found() -> list[Any]:
            return [event for event in self.events if isinstance(event, kind)]

        async with self._came:
            await self._came.wait_for(lambda: len(found()) >= count)
        return found()


def new_record(direction: Direction = Direction.OUTBOUND) -> CallRecord:
    return CallRecord(
        call_id=CALL_ID,
        provider="plivo",
        direction=direction,
        state=CallState.INITIATED,
        from_number=FROM,
        to_number=TO,
        session_key="",
        started_at=0,
        metadata={"mode": "conversation", "turnToken": "turn1"},
    )


@asynccontextmanager
async def ours(party: SimpleParty, **options: Any) -> AsyncIterator[Ours]:
    async with PlivoExchange(lambda _: party, **({"pace": 1.0} | options)) as exchange:
        adapter = Ours(exchange)
        async with HttpServer(adapter.handle) as server:
            adapter.url = f"{server.url}/voice/webhook"
            try:
                yield adapter
            finally:
                await adapter.carrier.close()


@pytest.mark.parametrize("same_uuid", [False, True])
def test_our_adapter_holds_a_whole_conversation(*, same_uuid: bool) -> None:
    async def case() -> None:
        party = SimpleParty(words=["Hello there.", Keys("12"), "Thank you."])
        async with ours(party, same_uuid=same_uuid) as it:
            it.record = new_record()
            placed = await it.carrier.dial(DIAL)
            (speech,) = await it.until(CallSpeech)
            assert (speech.text, speech.turn_token) == ("Hello there.", "turn1")
            (keys,) = await it.until(CallDtmf)
            assert keys.digits == "12"
            _, thanks = await it.until(CallSpeech, 2)
            assert thanks.text == "Thank you."

            assert await it.carrier.say(placed, "Good day to you.")
            assert party.heard == ["Good day to you."]
            await it.carrier.send_dtmf(placed, "1w2")
            assert await it.carrier.status(placed) == CarrierStatus(alive=True)
            await it.carrier.hang_up(placed)
            (ended,) = await it.until(CallEnded)
            assert ended.reason is CallState.HANGUP_BOT
            assert await it.carrier.status(placed) == CarrierStatus(
                alive=False, end_reason=CallState.HANGUP_BOT
            )
            await it.carrier.hang_up(placed)

            order = [type(event) for event in it.events]
            assert order.index(CallRinging) < order.index(CallAnswered) < order.index(CallActive)
            assert {event.provider_call_id for event in it.events} == {placed}
            assert {event.call_id for event in it.events} <= {CALL_ID, None}
            assert set(it.statuses) == {200}
            assert it.exchange.dials == 1
            (line,) = it.exchange.calls.values()
            assert list(line.log) == []

    run(case)


def test_our_adapter_takes_a_call() -> None:
    async def case() -> None:
        async with ours(SimpleParty(words=["Anybody there?"], stays=0.0)) as it:
            it.record = new_record(Direction.INBOUND)
            line = await it.exchange.call_in(TO, FROM, it.url)
            (began,) = await it.until(CallInitiated)
            assert (began.from_number, began.to_number) == (TO, FROM)
            assert began.provider_call_id == line.provider_call_id
            (speech,) = await it.until(CallSpeech)
            assert speech.text == "Anybody there?"
            (ended,) = await it.until(CallEnded)
            assert ended.reason is CallState.HANGUP_USER
            assert list(line.log) == []

    run(case)


def test_our_adapter_refuses_a_call_that_nobody_takes() -> None:
    async def case() -> None:
        async with ours(SimpleParty()) as it:
            line = await it.exchange.call_in(TO, FROM, it.url)
            await it.until(CallEnded)
            assert (line.status, line.answered) == ("busy", False)

    run(case)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("busy", CallState.BUSY),
        ("reject", CallState.BUSY),
        ("no-answer", CallState.NO_ANSWER),
    ],
)
def test_our_adapter_understands_why_a_call_was_not_answered(
    answer: Any, reason: CallState
) -> None:
    async def case() -> None:
        async with ours(SimpleParty(answer)) as it:
            it.record = new_record()
            placed = await it.carrier.dial(DIAL)
            (ended,) = await it.until(CallEnded)
            assert ended.reason is reason
            assert (await it.carrier.status(placed)).end_reason is reason

    run(case)


@pytest.mark.parametrize(
    ("kind", "placed"),
    [
        ("status", 0),
        ("status-after", 1),
        ("hang", 0),
        ("hang-after", 1),
        ("reset", 0),
        ("reset-after", 1),
    ],
)
def test_our_adapter_places_a_call_once_whatever_becomes_of_the_request(
    kind: RestFaultKind, placed: int
) -> None:
    async def case() -> None:
        async with ours(SimpleParty(ring_s=None)) as it:
            it.record = new_record()
            it.exchange.faults.add("dial", Fault(kind, times=None))
            with pytest.raises(CarrierError) as refused:
                await it.carrier.dial(DIAL)
            assert not refused.value.retryable
            assert it.exchange.dials == placed
            if not placed:
                return
            # Its webhooks bring our id, so that the call is found all the same.
            (ringing,) = await it.until(CallRinging)
            assert ringing.call_id == CALL_ID
            await it.carrier.hang_up(ringing.provider_call_id)
            (ended,) = await it.until(CallEnded)
            assert ended.reason is CallState.HANGUP_BOT
            assert it.exchange.dials == 1

    run(case)


@pytest.mark.parametrize("kind", ["status", "status-after", "hang-after", "reset", "reset-after"])
def test_our_adapter_may_hang_up_again_after_a_failure(kind: RestFaultKind) -> None:
    async def case() -> None:
        async with ours(SimpleParty()) as it:
            it.record = new_record()
            placed = await it.carrier.dial(DIAL)
            await it.until(CallAnswered)
            it.exchange.faults.add("hang-up", Fault(kind))
            with pytest.raises(CarrierError) as refused:
                await it.carrier.hang_up(placed)
            assert refused.value.retryable
            await it.carrier.hang_up(placed)
            (ended,) = await it.until(CallEnded)
            assert ended.reason is CallState.HANGUP_BOT

    run(case)


def test_our_adapter_hears_of_the_end_in_spite_of_lost_and_repeated_webhooks() -> None:
    async def case() -> None:
        async with ours(SimpleParty("busy")) as it:
            it.record = new_record()
            it.exchange.faults.add("webhook:ring", Fault("lose"))
            it.exchange.faults.add("webhook:hangup", Fault("repeat"))
            placed = await it.carrier.dial(DIAL)
            first, second = await it.until(CallEnded, 2)
            assert first.dedupe_key == second.dedupe_key
            assert first.provider_call_id == placed

    run(case)
