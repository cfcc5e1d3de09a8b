"""A simulated Plivo: Voice API over REST, webhooks, XML and audio streaming.

An independent peer: it is written from Plivo's documentation, and what it signs, asks and refuses
shares nothing with the adapter that talks to it.

Source: Plivo, "Call API", "Voice XML", "Validating requests", "Callback configurations", "Hangup
causes" and "Audio streaming".
"""

from __future__ import annotations

import secrets
from collections import deque
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from voicecall.clock import NS_PER_S
from voicecall.errors import CodecError
from voicecall.simulator.exchange import plivo_requests as requests
from voicecall.simulator.exchange.exchange import Exchange
from voicecall.simulator.exchange.http import HttpResponse
from voicecall.simulator.exchange.plivo_call import PlivoCall, Switch
from voicecall.simulator.exchange.plivo_line import PlivoLine
from voicecall.simulator.exchange.plivo_requests import (
    Arguments,
    Callback,
    Placing,
    Refused,
    answer,
    not_found,
)
from voicecall.simulator.exchange.plivo_webhooks import Signer, Version, patience

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.faults import Fault, Faults
    from voicecall.simulator.exchange.http import HttpRequest
    from voicecall.simulator.exchange.party import Party

AUTH_ID: Final = "MASIMULATEDACCOUNT00"
"""The account of a simulated Plivo that is given none; plainly nobody's."""
AUTH_TOKEN: Final = "simulated" + "0" * 31
"""Its secret, which is none."""

_PACE = 0.02
_WINDOW_NS = 5 * NS_PER_S
_PREFIX = ("v1", "Account")
_MAX_LISTED = 20
_APPLICATION_ID = "20000000000000000"
_DONE = HttpResponse(int(HTTPStatus.NO_CONTENT))
_REASONS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "could not verify your access level for that URL",
    HTTPStatus.NOT_FOUND: "not found",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests",
}

_Leg: TypeAlias = Literal["Speak", "DTMF", "Stream"]


class PlivoExchange(Exchange[PlivoLine]):
    """A simulated Plivo with one account.

    Faults have the places `dial`, `look-up`, `hang-up`, `update` (transfers), `keys`, `speak`,
    `stream`, `socket`, and the webhooks `ring`, `answer`, `redirect`, `input`, `transfer`,
    `hangup`, `machine` and `stream`.

    A broken media socket is not connected again by itself: the call goes on with its document. So
    of the faults of a socket, `drop` lets the document connect another one, and after
    `drop-for-good` that fails.

    Args:
        party: who is reached by a call.
        auth_id: names the account; 20 characters, `MA` first.
        auth_token: its secret.
        main_auth_token: of the main account, where this one is a subaccount.
        signatures: which of them webhooks and media sockets have.
        same_uuid: whether a call goes by the id of the request for it.
        queue_s: how long calls are queued before they are placed.
        requests_per_5_s: how many REST requests are taken in five seconds, at Plivo 300; None for
            any number.
        pace: how long what the carrier does itself takes (waiting, tones, time-outs of listening),
            where 1 is as long as in reality.
        clock: the time.
        faults: what goes wrong.

    Attributes:
        auth_id: as given.
        auth_token: as given.
        numbers: that the account has, without a plus, each with the path of its application, empty
            without one; those that it calls from are not looked up.
    """

    def __init__(  # noqa: PLR0913  (each is independent of the others)
        self,
        party: Callable[[PlivoLine], Party],
        *,
        auth_id: str = AUTH_ID,
        auth_token: str = AUTH_TOKEN,
        main_auth_token: str | None = None,
        signatures: Collection[Version] = ("v3", "v2"),
        same_uuid: bool = False,
        queue_s: float = 0.0,
        requests_per_5_s: int | None = None,
        pace: float = _PACE,
        clock: Clock | None = None,
        faults: Faults | None = None,
    ) -> None:
        sign = Signer(auth_token, main_auth_token=main_auth_token, versions=signatures)
        super().__init__(party, sign=sign, habits=patience(""), clock=clock, faults=faults)
        self.auth_id = auth_id
        self.auth_token = auth_token
        self.numbers: dict[str, str] = {}
        self._same_uuid = same_uuid
        self._requests_per_5_s = requests_per_5_s
        self._taken_ns: deque[int] = deque(maxlen=requests_per_5_s)
        self._switch = Switch(
            auth_id=auth_id,
            webhooks=self.webhooks,
            sign=sign,
            faults=self.faults,
            clock=self.clock,
            pace=pace,
            queue_s=queue_s,
        )

    @property
    def account(self) -> dict[str, str]:
        """The section `plivo` of a configuration that leads a server here, once started."""
        return {
            "authId": self.auth_id,
            "authToken": self.auth_token,
            "apiBaseUrl": self.base_url,
        }

    def own(self, number: str, webhook_url: str) -> None:
        """Show a number as the customer's; what its application reports to is not shown."""
        del webhook_url
        path = f"/v1/Account/{self.auth_id}/Application/{_APPLICATION_ID}/"
        self.numbers[number.removeprefix("+")] = path

    async def call_in(
        self, from_number: str, to_number: str, webhook_url: str, *, hangup_url: str | None = None
    ) -> PlivoLine:
        """Let somebody call the customer's number.

        Args:
            from_number: who calls.
            to_number: the customer's number.
            webhook_url: the answer URL of the number's application.
            hangup_url: its hang-up URL; the answer URL when None, nowhere when empty.
        """
        placing = Placing(
            from_number,
            (to_number,),
            answer=Callback(webhook_url),
            hangup=Callback(webhook_url if hangup_url is None else hangup_url),
        )
        line, call = self._new_call(placing, to_number, "inbound")
        self.begin(line, call.take())
        return line

    def failure(self, fault: Fault) -> HttpResponse:
        """The error `fault` asks for."""
        return answer(fault.status, error=str(fault.code or _reason(fault.status)))

    # --- REST ----------------------------------------------------------------------------------

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer a REST request."""
        try:
            self._admit(request)
            return await self._route(request)
        except Refused as refused:
            return refused.answer()
        except CodecError as error:
            return Refused(str(error)).answer()

    def _admit(self, request: HttpRequest) -> None:
        given, wanted = request.basic_auth(), (self.auth_id, self.auth_token)
        if given is None or not secrets.compare_digest(repr(given), repr(wanted)):
            raise _refused(HTTPStatus.UNAUTHORIZED)
        if self._requests_per_5_s is None:
            return
        now_ns = self.clock.now_ns()
        taken = self._taken_ns
        if len(taken) == taken.maxlen and now_ns - taken[0] < _WINDOW_NS:
            raise _refused(HTTPStatus.TOO_MANY_REQUESTS)
        taken.append(now_ns)

    async def _route(self, request: HttpRequest) -> HttpResponse:
        # Without its slash at the end nothing is found.
        if not request.path.endswith("/") or request.segments[:3] != (*_PREFIX, self.auth_id):
            raise not_found()
        match request.method, *request.segments[3:]:
            case ("GET",):
                return answer(auth_id=self.auth_id, account_type="standard", cash_credits="20.0")
            case "GET", "Number", number if number in self.numbers:
                return answer(number=number, application=self.numbers[number], voice_enabled=True)
            case "POST", "Call":
                return await self._dial(request)
            case "GET", "Call":
                return await self.attempt("look-up", partial(self._list, _query(request)))
            case method, "Call", call_uuid:
                return await self._one_call(method, call_uuid, request)
            case "DELETE", "Request", request_uuid:
                return await self.attempt("hang-up", partial(self._cancel, request_uuid))
            case method, "Call", call_uuid, ("Speak" | "DTMF" | "Stream") as leg:
                return await self._on_call(method, call_uuid, leg, request)
            case method, "Call", call_uuid, "Stream", stream_id:
                return await self.attempt(
                    "stream", partial(self._one_stream, method, call_uuid, stream_id)
                )
        raise not_found()

    async def _dial(self, request: HttpRequest) -> HttpResponse:
        placing = requests.read_placing(Arguments(request.json()))
        return await self.attempt("dial", partial(self._place, placing))

    async def _place(self, placing: Placing) -> HttpResponse:
        placed = [self._new_call(placing, to, "outbound") for to in placing.destinations]
        for line, call in placed:
            self.begin(line, call.place())
        uuids = [line.request_uuid for line, _ in placed]
        if len(uuids) == 1:
            return answer(HTTPStatus.CREATED, message="call fired", request_uuid=uuids[0])
        return answer(HTTPStatus.CREATED, message="calls fired", request_uuid=uuids)

    def _new_call(
        self, placing: Placing, to_number: str, direction: Literal["inbound", "outbound"]
    ) -> tuple[PlivoLine, PlivoCall]:
        line = PlivoLine(
            placing,
            direction=direction,
            to_number=to_number,
            at_ms=self.clock.wall_ms(),
            same_uuid=self._same_uuid,
        )
        self.add(line)
        return line, PlivoCall(line, self._switch)

    async def _one_call(self, method: str, call_uuid: str, request: HttpRequest) -> HttpResponse:
        match method:
            case "GET":
                wanted = _query(request).get("status", "")
                return await self.attempt("look-up", partial(self._look_up, call_uuid, wanted))
            case "POST":
                arguments = Arguments(request.json())
                return await self.attempt("update", partial(self._transfer, call_uuid, arguments))
            case "DELETE":
                return await self.attempt("hang-up", partial(self._hang_up, call_uuid))
        raise _refused(HTTPStatus.METHOD_NOT_ALLOWED)

    async def _look_up(self, uuid: str, wanted: str) -> HttpResponse:
        if wanted == "queued":
            return answer(**self._queued(uuid).resource())
        line = self.calls.get(uuid)
        if line is not None and wanted == "live" and line.live:
            return answer(**line.resource())
        if line is not None and not wanted and line.over:
            return answer(**line.record(self.auth_id))
        raise not_found()

    def _queued(self, request_uuid: str) -> PlivoLine:
        for line in self.calls.values():
            if line.request_uuid == request_uuid and line.status == "queued":
                return line
        raise not_found()

    async def _list(self, query: Mapping[str, str]) -> HttpResponse:
        wanted = query.get("status", "")
        lines = list(self.calls.values())
        if wanted == "live":
            return answer(calls=[line.provider_call_id for line in lines if line.live])
        if wanted == "queued":
            return answer(calls=[line.request_uuid for line in lines if line.status == "queued"])
        arguments = Arguments(query)
        limit = arguments.number("limit", _MAX_LISTED, low=1, high=_MAX_LISTED)
        offset = arguments.number("offset", 0)
        over = [line for line in reversed(lines) if line.over]
        meta = {
            "limit": limit,
            "offset": offset,
            "next": None,
            "previous": None,
            "total_count": len(over),
        }
        shown = over[offset : offset + limit]
        return answer(meta=meta, objects=[line.record(self.auth_id) for line in shown])

    async def _transfer(self, call_uuid: str, arguments: Arguments) -> HttpResponse:
        line = self._answered(call_uuid)
        line.transfer(requests.read_transfer(arguments))
        return answer(HTTPStatus.ACCEPTED, message="call transferred", call_uuids=[call_uuid])

    async def _hang_up(self, call_uuid: str) -> HttpResponse:
        line = self.calls.get(call_uuid)
        if line is None or not line.live:
            raise not_found()
        line.end_by_api()
        return _DONE

    async def _cancel(self, request_uuid: str) -> HttpResponse:
        for line in self.calls.values():
            waits = line.status in {"queued", "ringing"} and not line.ended.is_set()
            if line.request_uuid == request_uuid and waits:
                line.end_by_api()
                return _DONE
        raise not_found()

    # --- on a call that was answered -----------------------------------------------------------

    async def _on_call(
        self, method: str, call_uuid: str, leg: _Leg, request: HttpRequest
    ) -> HttpResponse:
        arguments = Arguments(request.json())
        match leg, method:
            case "Speak", "POST":
                return await self.attempt("speak", partial(self._speak, call_uuid, arguments))
            case "DTMF", "POST":
                return await self.attempt("keys", partial(self._press, call_uuid, arguments))
            case "Stream", "POST":
                return await self.attempt("stream", partial(self._stream, call_uuid, arguments))
            case "Stream", "GET":
                return await self.attempt("stream", partial(self._streams, call_uuid))
            case "Stream", "DELETE":
                return await self.attempt("stream", partial(self._stop_streams, call_uuid))
        raise _refused(HTTPStatus.METHOD_NOT_ALLOWED)

    def _answered(self, call_uuid: str) -> PlivoLine:
        line = self.calls.get(call_uuid)
        if line is None or not (line.live and line.answered):
            raise not_found()
        return line

    def _life(self, call_uuid: str) -> PlivoCall:
        return PlivoCall(self._answered(call_uuid), self._switch)

    async def _speak(self, call_uuid: str, arguments: Arguments) -> HttpResponse:
        call = self._life(call_uuid)
        call.speak_aside(requests.read_text(arguments))
        return answer(HTTPStatus.ACCEPTED, message="speak started")

    async def _press(self, call_uuid: str, arguments: Arguments) -> HttpResponse:
        call = self._life(call_uuid)
        call.press_aside(requests.read_digits(arguments))
        return answer(HTTPStatus.ACCEPTED, message="digits sent")

    async def _stream(self, call_uuid: str, arguments: Arguments) -> HttpResponse:
        call = self._life(call_uuid)
        wanted = requests.read_stream(arguments)
        if self._answered(call_uuid).stream_id:
            raise Refused("a stream is active already")
        stream_id = call.stream_aside(wanted)
        return answer(HTTPStatus.ACCEPTED, message="audio streaming started", stream_id=stream_id)

    async def _streams(self, call_uuid: str) -> HttpResponse:
        stream_id = self._answered(call_uuid).stream_id
        shown = [{"call_uuid": call_uuid, "stream_id": stream_id}] if stream_id else []
        return answer(meta={"total_count": len(shown)}, objects=shown)

    async def _stop_streams(self, call_uuid: str) -> HttpResponse:
        self._answered(call_uuid).stop_stream()
        return _DONE

    async def _one_stream(self, method: str, call_uuid: str, stream_id: str) -> HttpResponse:
        line = self._answered(call_uuid)
        if line.stream_id != stream_id:
            raise not_found()
        if method == "GET":
            return answer(call_uuid=call_uuid, stream_id=stream_id)
        if method == "DELETE":
            line.stop_stream()
            return _DONE
        raise _refused(HTTPStatus.METHOD_NOT_ALLOWED)


def _query(request: HttpRequest) -> Mapping[str, str]:
    return {name: values[-1] for name, values in request.arguments().items()}


def _refused(status: int) -> Refused:
    return Refused(_reason(status), status)


def _reason(status: int) -> str:
    return _REASONS.get(status, HTTPStatus(status).phrase.lower())
