"""A simulated Twilio: Programmable Voice over REST, webhooks, TwiML and Media Streams.

An independent peer: it is written from Twilio's documentation, and what it signs, asks and refuses
shares nothing with the adapter that talks to it.

Source: Twilio, "Call resource", "TwiML for Programmable Voice", "Webhooks security", "Connection
overrides"; for how the API refuses, its dictionary of errors.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

import orjson

from voicecall.clock import NS_PER_S
from voicecall.errors import CarrierError
from voicecall.simulator.exchange import twilio_line, twiml
from voicecall.simulator.exchange import twilio_requests as requests
from voicecall.simulator.exchange.exchange import Exchange
from voicecall.simulator.exchange.faults import Faults
from voicecall.simulator.exchange.http import HttpResponse
from voicecall.simulator.exchange.media import connect_media
from voicecall.simulator.exchange.twilio_line import TwilioLine
from voicecall.simulator.exchange.twilio_requests import Next, Refused, Reports
from voicecall.simulator.exchange.twilio_stage import Stage
from voicecall.simulator.exchange.webhooks import Habits

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.faults import Fault
    from voicecall.simulator.exchange.http import HttpRequest
    from voicecall.simulator.exchange.party import Party, Pickup
    from voicecall.simulator.exchange.twilio_requests import Change, Machines, Placing
    from voicecall.simulator.exchange.webhooks import Content, HttpAnswer
    from voicecall.simulator.stream import Closing
    from voicecall.simulator.wire import Wire

ACCOUNT_SID: Final = "AC" + "5" * 32
"""The account of a simulated Twilio that is given none; plainly nobody's."""
AUTH_TOKEN: Final = "5imu1a7ed" + "0" * 23
"""Its secret, which is none."""

SIGNATURE: Final = "x-twilio-signature"
"""The header of webhooks and handshakes that proves where they come from."""

HABITS: Final = Habits(
    timeout_s=15.0, attempts=2, retry_delay_s=0.0, retry_on=lambda status: status is None
)
"""Fifteen seconds for an answer, and one more attempt when there was no connection."""

_NO_CONNECTION = 11205
_BAD_STATUS = 11200
_BAD_CONTENT_TYPE = 12300
_FIRST_REDIRECT = 300
_CREATED = 201

_PACE = 0.02
_DETECTION_S = 4.0
_MS_PER_S = 1000
_FIRST_IS_KEYS = re.compile(r"<Response>\s*<Play [^>]*digits=")
_FIRST_IS_DIAL = re.compile(r"<Response>\s*<Dial[ >]")
_MARKUP = frozenset({"text/xml", "application/xml", "text/html"})
# What a call comes to that the callee did not take, and how a phone network says so.
_NOT_TAKEN: Mapping[Pickup, tuple[str, int]] = {
    "busy": ("busy", 486),
    "reject": ("busy", 603),
    "no-answer": ("no-answer", 487),
}
_EVENTS: Mapping[str, str] = {
    "initiated": "initiated",
    "ringing": "ringing",
    "in-progress": "answered",
    **dict.fromkeys(twilio_line.OVER, "completed"),
}


class TwilioExchange(Exchange[TwilioLine]):
    """A simulated Twilio with one account.

    Faults have the places `dial`, `look-up`, `hang-up`, `keys` (a document that begins with key
    tones), `transfer` (one that connects somebody else), `update` (any other), `socket`, and the
    webhooks `initiated`, `ringing`, `answered`, `completed`, `voice` (instructions), `machine` and
    `stream`.

    Args:
        party: who is reached by a call.
        account_sid: names the account.
        auth_token: its secret.
        requests_per_s: how many REST requests are taken in a second; None for any number.
        signs_streams: whether the handshakes of media sockets are signed as webhooks are.
        pace: how long what the carrier does itself takes (pauses, tones, time-outs of listening),
            where 1 is as long as in reality.
        clock: the time.
        faults: what goes wrong.

    Attributes:
        account_sid: as given.
        auth_token: as given.
        pace: as given.
        numbers: that the account has, each with the URL to which calls to it are reported; those
            that it calls from are not looked up.
    """

    def __init__(  # noqa: PLR0913  (each is independent of the others)
        self,
        party: Callable[[TwilioLine], Party],
        *,
        account_sid: str = ACCOUNT_SID,
        auth_token: str = AUTH_TOKEN,
        requests_per_s: int | None = None,
        signs_streams: bool = True,
        pace: float = _PACE,
        clock: Clock | None = None,
        faults: Faults | None = None,
    ) -> None:
        super().__init__(party, sign=self._sign, habits=HABITS, clock=clock, faults=faults)
        self.account_sid = account_sid
        self.auth_token = auth_token
        self.pace = pace
        self.numbers: dict[str, str] = {}
        self._requests_per_s = requests_per_s
        self._signs_streams = signs_streams
        self._taken_ns: deque[int] = deque(maxlen=requests_per_s)

    @property
    def account(self) -> dict[str, str]:
        """The section `twilio` of a configuration that leads a server here, once started."""
        return {
            "accountSid": self.account_sid,
            "authToken": self.auth_token,
            "apiBaseUrl": self.base_url,
        }

    def own(self, number: str, webhook_url: str) -> None:
        """Show a number as the customer's."""
        self.numbers[number] = webhook_url

    async def call_in(
        self, from_number: str, to_number: str, webhook_url: str, *, status_url: str | None = None
    ) -> TwilioLine:
        """Let somebody call the customer's number.

        Args:
            from_number: who calls.
            to_number: the customer's number.
            webhook_url: the number's voice URL.
            status_url: where the number reports the call's end; the voice URL when None, nowhere
                when empty.
        """
        line = TwilioLine(
            self.account_sid,
            direction="inbound",
            from_number=from_number,
            to_number=to_number,
            reports=Reports(webhook_url if status_url is None else status_url),
            clock=self.clock,
        )
        self.add(line)
        self.begin(line, self._be_called(line, Next(url=webhook_url)))
        return line

    async def connect_media(
        self, line: TwilioLine, url: str, wire: Wire, *, headers: Mapping[str, str] | None = None
    ) -> Closing:
        """Connect the call's media until the stream is over; the handshake is signed.

        Twilio itself never connects a socket again: what broke is over, and the document goes on,
        which may well connect another one. What broke for good stays out of the call's reach.
        """
        if line.cut_off:
            raise CarrierError("the media server cannot be reached", retryable=True)
        signature = {SIGNATURE: self.signature(url, {})} if self._signs_streams else {}
        return await connect_media(
            line,
            url,
            wire,
            faults=_LastingFaults(self.faults, line),
            headers=signature | dict(headers or {}),
            clock=self.clock,
        )

    def tell(
        self, line: TwilioLine, name: str, url: str, fields: Mapping[str, str], method: str
    ) -> None:
        """Tell the customer something about a call."""
        self.webhooks.tell(line.provider_call_id, name, url, fields, method=method)

    def signature(self, url: str, fields: Mapping[str, str]) -> str:
        """What proves that a request is Twilio's: HMAC-SHA1 of the URL and the form's fields."""
        signed = url + "".join(name + fields[name] for name in sorted(fields))
        mac = hmac.new(self.auth_token.encode(), signed.encode(), hashlib.sha1)
        return base64.b64encode(mac.digest()).decode("ascii")

    def failure(self, fault: Fault) -> HttpResponse:
        """The error `fault` asks for."""
        code = fault.code if isinstance(fault.code, int) else None
        return requests.out_of_order(fault.status, code).answer()

    # --- REST ----------------------------------------------------------------------------------

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer a REST request."""
        try:
            self._admit(request)
            return await self._route(request)
        except Refused as refused:
            return refused.answer()

    def _admit(self, request: HttpRequest) -> None:
        if request.basic_auth() != (self.account_sid, self.auth_token):
            raise requests.unauthenticated()
        if self._requests_per_s is None:
            return
        now_ns = self.clock.now_ns()
        full = len(self._taken_ns) == self._requests_per_s
        if full and now_ns - self._taken_ns[0] < NS_PER_S:
            raise requests.too_many(1)
        self._taken_ns.append(now_ns)

    async def _route(self, request: HttpRequest) -> HttpResponse:
        accounts = (twilio_line.API_VERSION, "Accounts")
        if request.segments == (*accounts, f"{self.account_sid}.json"):
            return HttpResponse(body=orjson.dumps(self._resource()))
        if request.segments[:3] != (*accounts, self.account_sid):
            raise requests.not_found(request.path)
        match request.method, request.segments[3:]:
            case "POST", ("Calls.json",):
                return await self.attempt("dial", lambda: self._dial(request))
            case "GET", (("IncomingPhoneNumbers.json" | "OutgoingCallerIds.json") as name,):
                return self._numbers(name, request)
            case "GET", ("Calls", name):
                line = self._line(request, name)
                return await self.attempt("look-up", lambda: _shown(line))
            case "POST", ("Calls", name):
                line = self._line(request, name)
                change = requests.read_change(request.form())
                return await self.attempt(_place(change), lambda: self._change(line, change))
        raise requests.not_found(request.path)

    def _resource(self) -> dict[str, str]:
        """The account, as the API shows it."""
        return {
            "sid": self.account_sid,
            "friendly_name": "Simulated",
            "status": "active",
            "type": "Full",
        }

    def _numbers(self, name: str, request: HttpRequest) -> HttpResponse:
        """Numbers that the account has, or may show though it has them not: there are none."""
        wanted = request.arguments().get("PhoneNumber", [""])[-1]
        has = name == "IncomingPhoneNumbers.json"
        found = [self.numbers[wanted]] if has and wanted in self.numbers else []
        shown = [{"phone_number": wanted, "voice_url": url} for url in found]
        kind = "incoming_phone_numbers" if has else "outgoing_caller_ids"
        return HttpResponse(body=orjson.dumps({kind: shown, "page": 0, "page_size": 1}))

    def _line(self, request: HttpRequest, name: str) -> TwilioLine:
        line = self.calls.get(name.removesuffix(".json"))
        if line is None or not name.endswith(".json"):
            raise requests.not_found(request.path)
        return line

    async def _dial(self, request: HttpRequest) -> HttpResponse:
        placing = requests.read_placing(request.form())
        line = TwilioLine(
            self.account_sid,
            direction="outbound",
            from_number=placing.from_number,
            to_number=placing.to,
            reports=placing.reports,
            clock=self.clock,
        )
        line.log += placing.remarks
        self.add(line)
        self.begin(line, self._call(line, placing))
        return await _shown(line, _CREATED)

    async def _change(self, line: TwilioLine, change: Change) -> HttpResponse:
        if line.ended.is_set() or (change.begin is not None and not line.answered):
            raise requests.not_in_progress()
        if change.status == "completed" or (change.status == "canceled" and not line.answered):
            line.hang_up("api")
        elif change.begin is not None:
            line.order(change.begin)
        return await _shown(line)

    # --- a call's life -------------------------------------------------------------------------

    async def _call(self, line: TwilioLine, placing: Placing) -> None:
        line.status = "initiated"
        self._report(line)
        await line.until_ended(self._reach(line, placing))
        self._finish(line)

    async def _be_called(self, line: TwilioLine, begin: Next) -> None:
        await line.until_ended(self._obey(line, begin, requests.DEFAULT_LIMIT_S))
        self._finish(line)

    async def _reach(self, line: TwilioLine, placing: Placing) -> None:
        line.status = "ringing"
        self._report(line)
        pickup = await _ring(line, placing.ring_s)
        if pickup in _NOT_TAKEN:
            line.refuse(*_NOT_TAKEN[pickup])
            return
        line.machine = pickup == "machine"
        line.pick_up()
        self._report(line)
        if placing.digits:
            await Stage(self, line).press(placing.digits)
        if placing.machines is not None:
            await self._detect(line, placing.machines)
        await self._obey(line, placing.begin, placing.limit_s)

    async def _obey(self, line: TwilioLine, begin: Next, limit_s: int) -> None:
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                await line.follow(begin, lambda following: self._do(line, following))
        except TimeoutError:
            if not limit.expired():
                raise
            line.log.append(f"ended after {limit_s} s, its time limit")

    def _finish(self, line: TwilioLine) -> None:
        line.hang_up("carrier")
        line.finish()
        self._report(line)
        line.finished.set()

    def _report(self, line: TwilioLine) -> None:
        """Report the call's status, where it is wanted."""
        event, reports = _EVENTS[line.status], line.reports
        if reports.url and event in reports.events:
            self.tell(line, event, reports.url, line.report(), reports.method)

    # --- instructions --------------------------------------------------------------------------

    async def _do(self, line: TwilioLine, following: Next) -> Next | None:
        """Do what a document says; where the next one comes from, or None when the call is over."""
        stage = Stage(self, line)
        try:
            document = twiml.read(await self._document(line, following))
            line.log += [f"{remark.code} {remark.detail}" for remark in document.remarks]
            ending = await twiml.perform(document, stage)
        except twiml.TwimlError as error:
            line.log.append(f"{error.code} {error}")
            await stage.apologise()
            return None
        match ending:
            case twiml.Ask(url, method, fields):
                return Next(url=urljoin(line.document_url, url), method=method, fields=fields)
            case twiml.Reject(reason) if not line.answered:
                line.refuse(*_NOT_TAKEN["busy" if reason == "busy" else "no-answer"])
            case _:
                # To hang up is to answer first, which costs what a call costs.
                line.pick_up()
        return None

    async def _document(self, line: TwilioLine, following: Next) -> bytes:
        """The document to do. Raises `TwimlError` when there is none."""
        if following.twiml:
            return following.twiml.encode()
        line.document_url = following.url
        answer = await self.webhooks.ask(
            line.provider_call_id,
            "voice",
            following.url,
            line.fields() | dict(following.fields),
            method=following.method,
        )
        return _markup(answer)

    async def _detect(self, line: TwilioLine, machines: Machines) -> None:
        """Listen for a machine: first, or beside what the call does."""
        if machines.asynchronous:
            line.spawn(self._tell_machine(line, machines))
            return
        await asyncio.sleep(self.pace * _DETECTION_S)
        line.answered_by = _verdict(line, machines)

    async def _tell_machine(self, line: TwilioLine, machines: Machines) -> None:
        await asyncio.sleep(self.pace * _DETECTION_S)
        if not machines.url:
            return
        fields = {
            "CallSid": line.provider_call_id,
            "AccountSid": self.account_sid,
            "AnsweredBy": _verdict(line, machines),
            "MachineDetectionDuration": str(round(_DETECTION_S * _MS_PER_S)),
        }
        self.tell(line, "machine", machines.url, fields, machines.method)

    def _sign(self, method: str, url: str, content: Content) -> Mapping[str, str]:
        fields = content if method == "POST" and isinstance(content, Mapping) else {}
        return {SIGNATURE: self.signature(url, fields)}


class _LastingFaults(Faults):
    """The faults of sockets that do not come back by themselves.

    Args:
        faults: what goes wrong in general.
        line: the call.
    """

    def __init__(self, faults: Faults, line: TwilioLine) -> None:
        super().__init__()
        self._faults = faults
        self._line = line

    def take(self, where: str) -> Fault | None:
        """The fault that happens at `where` now; what dropped, dropped for good."""
        fault = self._faults.take(where)
        if fault is None or fault.kind != "drop":
            self._line.cut_off = fault is not None and fault.kind == "drop-for-good"
            return fault
        return replace(fault, kind="drop-for-good")


async def _ring(line: TwilioLine, ring_s: int) -> Pickup:
    try:
        async with asyncio.timeout(ring_s):
            return await line.party.ring(line)
    except TimeoutError:
        return "no-answer"


async def _shown(line: TwilioLine, status: int = 200) -> HttpResponse:
    return HttpResponse(status, orjson.dumps(line.resource()))


def _place(change: Change) -> str:
    """What a change of a call is called in faults."""
    if change.begin is None:
        return "hang-up"
    if _FIRST_IS_DIAL.search(change.begin.twiml):
        return "transfer"
    return "keys" if _FIRST_IS_KEYS.search(change.begin.twiml) else "update"


def _markup(answer: HttpAnswer | None) -> bytes:
    """The document in an answer. Raises `TwimlError` when Twilio would not read it."""
    if answer is None:
        raise twiml.TwimlError(_NO_CONNECTION, "the voice URL did not answer")
    if answer.status >= _FIRST_REDIRECT:
        raise twiml.TwimlError(_BAD_STATUS, f"the voice URL answered with HTTP {answer.status}")
    kind = answer.content_type.partition(";")[0].strip().lower()
    if kind not in _MARKUP:
        raise twiml.TwimlError(
            _BAD_CONTENT_TYPE, f"the voice URL answered with {kind or 'nothing'}"
        )
    return answer.body


def _verdict(line: TwilioLine, machines: Machines) -> str:
    if not line.machine:
        return "human"
    return "machine_start" if machines.kind == "Enable" else "machine_end_beep"
