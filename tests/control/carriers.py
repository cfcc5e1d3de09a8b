"""The three carriers as their webhooks show them: signed by their own signers, over one app."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode, urlsplit

import httpx
from twilio.request_validator import RequestValidator

from tests.carriers.plivo import requests as plivo
from tests.carriers.telnyx import signed as telnyx
from tests.carriers.twilio import api as twilio
from tests.carriers.twilio.callbacks import FORM
from tests.manager.fakes import CALLEE, FakeCarrier, FakeConversations, FakeStore, FakeUrls
from voicecall.call.record import CallRecord, Direction
from voicecall.carriers._prompts import Prompts
from voicecall.carriers._public_url import ForwardingPolicy
from voicecall.carriers.plivo.instructions import Instructions as PlivoInstructions
from voicecall.carriers.plivo.names import CallNames
from voicecall.carriers.plivo.signature import (
    V3_HEADER,
    V3_NONCE_HEADER,
)
from voicecall.carriers.plivo.signature import (
    SignatureVerifier as PlivoVerifier,
)
from voicecall.carriers.plivo.webhook import PlivoWebhook
from voicecall.carriers.telnyx.markup import ClientState
from voicecall.carriers.telnyx.signature import SignatureVerifier as TelnyxVerifier
from voicecall.carriers.telnyx.webhook import TelnyxWebhook
from voicecall.carriers.twilio.instructions import Instructions as TwilioInstructions
from voicecall.carriers.twilio.signature import SignatureVerifier as TwilioVerifier
from voicecall.carriers.twilio.webhook import TwilioWebhook
from voicecall.clock import ManualClock
from voicecall.control.app import create_app
from voicecall.control.services import ControlServices, WebhookSettings
from voicecall.manager.manager import CallManager
from voicecall.manager.settings import CallSettings
from voicecall.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from voicecall.ports import DialRequest, Webhook

URL = "https://voice.example.org/voice/webhook"
OURS = "+15550000001"
STRANGER = "+15550009999"
CARRIERS = ("twilio", "telnyx", "plivo")


@dataclass(frozen=True)
class Call:
    """A call as the carrier sees it.

    Attributes:
        name: the carrier's id, as webhooks have it.
        direction: who placed it.
        caller: as the carrier writes it.
        dialled: likewise.
        call_id: ours, where the carrier knows it.
        dial_name: what the dial was answered with; `name` where that is the same.
    """

    name: str
    direction: Direction
    caller: str
    dialled: str
    call_id: str | None = None
    dial_name: str | None = None


@dataclass(frozen=True)
class Signed:
    """A request ready to be sent, as often as one likes."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Line(Protocol):
    """One carrier's webhooks."""

    @property
    def webhook(self) -> Webhook:
        """Ours, under test."""
        ...

    @property
    def hidden(self) -> str:
        """How the carrier writes a caller who withholds the number."""
        ...

    def names(self) -> tuple[str, str]:
        """A fresh call's id, and what its dial is answered with."""
        ...

    def request(self, call: Call, fact: str) -> Signed:
        """`arriving`, `ringing`, `answered`, `asking`, `busy` or `ended`."""
        ...

    def hangs_up(self, answer: httpx.Response) -> bool | None:
        """Whether the answer ends the call; None where answers say nothing."""
        ...

    def connects(self, answer: httpx.Response) -> bool | None:
        """Whether the answer connects media; None where answers say nothing."""
        ...


def _markup_hangs_up(answer: httpx.Response) -> bool:
    return b"<Hangup" in answer.content or b"<Reject" in answer.content


class TwilioLine:
    hidden = "+266696687"

    def __init__(self, urls: FakeUrls, clock: ManualClock) -> None:
        told = TwilioInstructions(URL, urls=urls, prompts=Prompts())
        self.webhook = TwilioWebhook(TwilioVerifier(twilio.TOKEN), told, clock)
        self._serial = itertools.count(1)

    def names(self) -> tuple[str, str]:
        name = f"CA{next(self._serial):032x}"
        return name, name

    def request(self, call: Call, fact: str) -> Signed:
        status = {
            "arriving": "ringing",
            "answered": "in-progress",
            "asking": "in-progress",
            "ended": "completed",
        }.get(fact, fact)
        outbound = call.direction is Direction.OUTBOUND
        fields = {
            "AccountSid": twilio.ACCOUNT,
            "CallSid": call.name,
            "From": call.caller,
            "To": call.dialled,
            "Direction": "outbound-api" if outbound else "inbound",
            "CallStatus": status,
        }
        query = {"callId": call.call_id} if call.call_id else {}
        if fact not in {"arriving", "asking"}:
            query["kind"] = "status"
        url = f"{URL}?{urlencode(query)}" if query else URL
        signature = RequestValidator(twilio.TOKEN).compute_signature(url, fields)
        headers = {"content-type": FORM, "x-twilio-signature": signature}
        return Signed(url, headers, urlencode(fields).encode())

    def hangs_up(self, answer: httpx.Response) -> bool | None:
        return _markup_hangs_up(answer)

    def connects(self, answer: httpx.Response) -> bool | None:
        return b"<Stream" in answer.content


@dataclass
class Desk:
    picked_up: list[str] = field(default_factory=list)

    def pick_up(self, record: CallRecord) -> None:
        self.picked_up.append(record.call_id)

    def connect(self, record: CallRecord) -> None:
        del record

    def far_end_joined(self, provider_call_id: str) -> None:
        del provider_call_id

    def far_end_left(self, provider_call_id: str) -> None:
        del provider_call_id

    def spoken(self, provider_call_id: str, event_id: str, *, completed: bool) -> None:
        del provider_call_id, event_id, completed


class TelnyxLine:
    hidden = "anonymous"

    def __init__(self, urls: FakeUrls, clock: ManualClock) -> None:
        del urls
        self.desk = Desk()
        self.webhook = TelnyxWebhook(TelnyxVerifier(telnyx.PUBLIC_KEY, clock), self.desk)
        self._clock = clock
        self._serial = itertools.count(1)

    def names(self) -> tuple[str, str]:
        name = f"v3:call-{next(self._serial)}"
        return name, name

    def request(self, call: Call, fact: str) -> Signed:
        kind = {
            "arriving": "call.initiated",
            "asking": "call.answered",
            "ended": "call.hangup",
            "busy": "call.hangup",
        }.get(fact, f"call.{fact}")
        payload: dict[str, Any] = {
            "call_control_id": call.name,
            "from": call.caller,
            "to": call.dialled,
            "direction": "incoming" if call.direction is Direction.INBOUND else "outgoing",
        }
        if call.call_id:
            payload["client_state"] = ClientState(call.call_id, call.direction).encode()
        if kind == "call.hangup":
            payload["hangup_cause"] = "user_busy" if fact == "busy" else "normal_clearing"
            payload["hangup_source"] = "callee"
        body = telnyx.event(kind, **payload)
        body["data"]["id"] = f"{call.name}:{kind}"
        octets = telnyx.octets(body)
        return Signed(URL, telnyx.sign(octets, self._clock.wall_ms() // 1000), octets)

    def hangs_up(self, answer: httpx.Response) -> bool | None:
        assert answer.content == b""
        return None

    def connects(self, answer: httpx.Response) -> bool | None:
        assert answer.content == b""
        return None


class PlivoLine:
    hidden = "anonymous"

    def __init__(self, urls: FakeUrls, clock: ManualClock) -> None:
        self.call_names = CallNames()
        told = PlivoInstructions(lambda: URL, names=self.call_names, prompts=Prompts(), urls=urls)
        verifier = PlivoVerifier(plivo.AUTH_TOKEN)
        self.webhook = PlivoWebhook(verifier, told, names=self.call_names, clock=clock)
        self._serial = itertools.count(1)
        self._nonces = itertools.count(10**19)

    def names(self) -> tuple[str, str]:
        serial = f"{next(self._serial):012x}"
        return f"11110000-0000-4000-8000-{serial}", f"99990000-0000-4000-8000-{serial}"

    def request(self, call: Call, fact: str) -> Signed:
        event, status = {
            "arriving": ("StartApp", "ringing"),
            "ringing": ("Ring", "ringing"),
            "answered": ("StartApp", "in-progress"),
            "asking": ("Redirect", "in-progress"),
            "busy": ("Hangup", "busy"),
            "ended": ("Hangup", "completed"),
        }[fact]
        fields = {
            "CallUUID": call.name,
            "Direction": str(call.direction),
            "From": call.caller.lstrip("+"),
            "To": call.dialled.lstrip("+"),
            "Event": event,
            "CallStatus": status,
        }
        if call.direction is Direction.OUTBOUND:
            fields["RequestUUID"] = call.dial_name or call.name
        url = f"{URL}?{urlencode({'callId': call.call_id})}" if call.call_id else URL
        nonce = str(next(self._nonces))
        headers = {
            V3_HEADER: plivo.sign(url, fields, nonce),
            V3_NONCE_HEADER: nonce,
            "content-type": "application/x-www-form-urlencoded",
        }
        return Signed(url, headers, urlencode(fields).encode())

    def hangs_up(self, answer: httpx.Response) -> bool | None:
        return _markup_hangs_up(answer)

    def connects(self, answer: httpx.Response) -> bool | None:
        return b"<Stream" in answer.content


_LINES: dict[str, Callable[[FakeUrls, ManualClock], Line]] = {
    "twilio": TwilioLine,
    "telnyx": TelnyxLine,
    "plivo": PlivoLine,
}


class DialledCarrier(FakeCarrier):
    """Answers dials with names of the carrier's own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    async def dial(self, request: DialRequest) -> str:
        name = self.names[len(self.dials)]
        await super().dial(request)
        return name


class Office:
    """A call manager, one carrier's webhooks, and the application in between."""

    def __init__(
        self, carrier: str, http: httpx.AsyncClient | None = None, **settings: Any
    ) -> None:
        self.clock = ManualClock()
        self.urls = FakeUrls()
        self.line = _LINES[carrier](self.urls, self.clock)
        self.carrier = DialledCarrier()
        self.store = FakeStore()
        self.conversations = FakeConversations()
        self.manager = CallManager(
            CallSettings(**{"from_number": OURS, **settings}),
            carrier=self.carrier,
            store=self.store,
            clock=self.clock,
            urls=self.urls,
            conversations=self.conversations,
        )
        app = create_app(
            ControlServices(
                calls=self.manager,
                webhook=self.line.webhook,
                webhooks=WebhookSettings(
                    carrier=carrier, forwarding=ForwardingPolicy(public_url=URL)
                ),
                metrics=Metrics(),
                readiness=dict,
                rpc_token="token",
                clock=self.clock,
            )
        )
        transport = httpx.ASGITransport(app=app, client=("192.0.2.1", 40_000))
        self.http = http or httpx.AsyncClient(transport=transport, base_url="http://server")

    async def dialling(self) -> tuple[asyncio.Task[CallRecord], Call]:
        """A call that is being placed; its dial is answered once `dial_gate` is set."""
        name, dial_name = self.line.names()
        self.carrier.names.append(dial_name)
        count = len(self.carrier.dials)
        self.carrier.dial_gate.clear()
        task = asyncio.ensure_future(self.manager.initiate("Hi.", CALLEE, "conversation"))
        async with asyncio.timeout(2):
            while len(self.carrier.dials) == count:  # noqa: ASYNC110  (some turns of the loop)
                await asyncio.sleep(0)
        call_id = self.carrier.dials[-1].call_id
        return task, Call(name, Direction.OUTBOUND, OURS, CALLEE, call_id, dial_name)

    async def placed(self) -> Call:
        """A call whose dial has been answered."""
        task, call = await self.dialling()
        self.carrier.dial_gate.set()
        await task
        return call

    def arriving(self, caller: str = STRANGER, dialled: str = OURS) -> Call:
        name, _ = self.line.names()
        return Call(name, Direction.INBOUND, caller, dialled)

    async def send(self, signed: Signed) -> httpx.Response:
        """Deliver a request; it has to be taken."""
        parts = urlsplit(signed.url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        answer = await self.http.post(target, content=signed.body, headers=dict(signed.headers))
        assert answer.status_code == 200, answer.text
        return answer

    async def tell(self, call: Call, *facts: str) -> httpx.Response:
        """Deliver facts in order, each in a request of its own; the answer to the last."""
        answers = [await self.send(self.line.request(call, fact)) for fact in facts]
        return answers[-1]

    def record(self, call: Call) -> CallRecord:
        found = self.manager.find(call.call_id or call.name)
        assert found is not None
        return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (any condition, no waiting for time to pass)
            await asyncio.sleep(0)


def run(carrier: str, case: Callable[[Office], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """Run `case` in an office of its own, and see that it leaves nothing behind."""

    async def whole() -> None:
        office = Office(carrier, **settings)
        try:
            await case(office)
        finally:
            office.carrier.dial_gate.set()
            office.carrier.hang_up_gate.set()
            await office.manager.close(within_s=1)
            await office.http.aclose()
        assert office.manager.live_count == 0
        assert not office.urls.valid
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())
