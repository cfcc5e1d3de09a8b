"""A simulated Telnyx: Call Control over REST, signed webhooks, and media streaming.

Written from Telnyx's documentation, its published API description and captured deliveries; it
shares nothing with the adapter that talks to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import orjson

from voicecall.clock import NS_PER_S, SystemClock
from voicecall.errors import CodecError
from voicecall.ports import AudioFormat
from voicecall.simulator.exchange import telnyx_refusals as refusals
from voicecall.simulator.exchange.exchange import Exchange
from voicecall.simulator.exchange.faults import Fault
from voicecall.simulator.exchange.http import HttpResponse
from voicecall.simulator.exchange.telnyx_call import (
    ANSWERED,
    BRIDGING,
    PARKED,
    Application,
    Office,
    TelnyxCall,
)
from voicecall.simulator.exchange.telnyx_commands import Dialling, Fields
from voicecall.simulator.exchange.telnyx_events import Moments, Signer, envelope
from voicecall.simulator.exchange.telnyx_gate import RateLimit, Repeats
from voicecall.simulator.exchange.telnyx_voice import Manners
from voicecall.simulator.exchange.webhooks import Habits
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.telnyx import CODECS, TelnyxOptions, TelnyxWire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.faults import Faults
    from voicecall.simulator.exchange.http import HttpRequest
    from voicecall.simulator.exchange.party import Party
    from voicecall.simulator.exchange.telnyx_commands import Streaming

API_KEY: Final = "KEY0000000000000000SIMULATED_0000000000000000000000"
CONNECTION_ID: Final = "1000000000000000000"

_VERSION = "v2"
_USER_ID = "00000000-0000-4000-8000-000000000000"
_PROFILE_ID = "2000000000000000000"
_DIALS = "dial"
_LOOKED_UP_FOR_NS = 600 * NS_PER_S
# Events that another one soon follows, which may overtake them.
_FOLLOWED = frozenset({"call.answered", "call.speak.started", "streaming.stopped"})

_ALIVE = frozenset({BRIDGING, PARKED, ANSWERED})
_WAITING = frozenset({PARKED})
_ANSWERED = frozenset({ANSWERED})

Do: TypeAlias = "Callable[[TelnyxCall, Fields], None]"


@dataclass(frozen=True, slots=True)
class _Command:
    """What one action does.

    Attributes:
        where: its place for faults.
        do: does it. Raises Refused.
        states: of a call in which it may be asked for.
        method: HTTP's.
    """

    where: str
    do: Do
    states: frozenset[str] = _ANSWERED
    method: str = "POST"


COMMANDS: Final[Mapping[str, _Command]] = {
    "answer": _Command("answer", TelnyxCall.answer, _WAITING),
    "reject": _Command("reject", TelnyxCall.reject, _WAITING),
    "hangup": _Command("hang-up", TelnyxCall.hang_up_now, _ALIVE),
    "transfer": _Command("transfer", TelnyxCall.transfer),
    "speak": _Command("speak", TelnyxCall.speak),
    "playback_stop": _Command("stop-speaking", TelnyxCall.stop_speaking),
    "send_dtmf": _Command("keys", TelnyxCall.send_keys),
    "streaming_start": _Command("stream", TelnyxCall.start_streaming),
    "streaming_stop": _Command("stop-stream", TelnyxCall.stop_streaming),
    "transcription_start": _Command("listen", TelnyxCall.start_transcription),
    "transcription_stop": _Command("stop-listening", TelnyxCall.stop_transcription),
    "client_state_update": _Command("update", TelnyxCall.update_client_state, _ALIVE, "PUT"),
}
"""The actions of Call Control that are simulated."""


@dataclass(frozen=True, slots=True)
class TelnyxHabits:
    """How the simulated Telnyx goes about things.

    Attributes:
        second_s: how long one of the seconds takes that customers ask for, such as those of a ring
            timeout, which Telnyx takes from 5 on.
        thinking_s: how long a party thinks before they answer Telnyx's own voice.
        greeting_s: how long they wait for that voice to greet them, before they speak first.
        patience_s: how long somebody who calls the customer lets it ring.
        webhook_timeout_s: how long a webhook may take.
        webhook_retry_s: the pause before it is sent again, at most three times.
        reorders: whether webhooks overtake each other, as nothing keeps them from doing.
        requests_per_s: how many REST requests are taken each second; None for any number.
        leg_codec: what the phone's leg speaks, and so a stream without a `stream_codec`.
        media: how untidy media sockets are; what is negotiated is not taken from it.
    """

    second_s: float = 1.0
    thinking_s: float = 0.3
    greeting_s: float = 3.0
    patience_s: float = 60.0
    webhook_timeout_s: float = 2.0
    webhook_retry_s: float = 0.5
    reorders: bool = False
    requests_per_s: int | None = None
    leg_codec: str = "PCMU"
    media: TelnyxOptions = field(default_factory=TelnyxOptions)


class TelnyxExchange(Exchange[TelnyxCall]):
    """A simulated Telnyx with one account and one Call Control application.

    Faults happen at `dial`, `look-up`, and at the `where` of each of `COMMANDS`.

    Args:
        party: who is reached by a call, and who calls in.
        api_key: the account's.
        connection_id: of its Call Control application.
        webhook_url: where that reports calls which name no URL of their own.
        habits: how it goes about things.
        clock: the time.
        faults: what goes wrong; nothing when None.

    Attributes:
        numbers: that the account has, each with the id of the application it belongs to; those that
            it calls from are not looked up.
        application: what is shown of the application besides, or instead.
    """

    def __init__(
        self,
        party: Callable[[TelnyxCall], Party],
        *,
        api_key: str = API_KEY,
        connection_id: str = CONNECTION_ID,
        webhook_url: str | None = None,
        habits: TelnyxHabits | None = None,
        clock: Clock | None = None,
        faults: Faults | None = None,
    ) -> None:
        clock = clock or SystemClock()
        habits = habits or TelnyxHabits()
        self._signer = Signer(clock)
        super().__init__(
            party,
            sign=self._signer.sign,
            habits=Habits(
                timeout_s=habits.webhook_timeout_s,
                attempts=4,
                retry_delay_s=habits.webhook_retry_s,
                retry_on=_is_failure,
            ),
            clock=clock,
            faults=faults,
        )
        self.numbers: dict[str, str] = {}
        self.application: dict[str, Any] = {}
        self._api_key = api_key
        self._connection_id = connection_id
        self._habits = habits
        self._webhook_url = webhook_url
        self._limit = RateLimit(habits.requests_per_s, clock)
        self._repeats = Repeats(clock)
        self._office = Office(
            clock=clock,
            moments=Moments(clock),
            tell=self._tell,
            connect=self._connect,
            second_s=habits.second_s,
            manners=Manners(habits.thinking_s, habits.greeting_s),
            patience_s=habits.patience_s,
        )

    @property
    def account(self) -> dict[str, str]:
        """The section `telnyx` of a configuration that leads a server here, once started."""
        return {
            "apiKey": self.api_key,
            "connectionId": self.connection_id,
            "publicKey": self.public_key,
            "apiBaseUrl": self.api_url,
        }

    @property
    def api_url(self) -> str:
        """Where the REST API is, with its version, as the vendor's package takes it."""
        return f"{self.base_url}/{_VERSION}"

    @property
    def api_key(self) -> str:
        """The account's key."""
        return self._api_key

    @property
    def connection_id(self) -> str:
        """The Call Control application's id."""
        return self._connection_id

    @property
    def public_key(self) -> str:
        """What webhooks are verified with, in base64."""
        return self._signer.public_key

    def own(self, number: str, webhook_url: str) -> None:
        """Show a number as the customer's, and where the application reports all calls."""
        self.numbers[number] = self._connection_id
        self.application["webhook_event_url"] = webhook_url

    async def call_in(self, from_number: str, to_number: str, webhook_url: str) -> TelnyxCall:
        """Let somebody call the customer, and report it to `webhook_url`."""
        call = TelnyxCall(
            self._office,
            Application(self._connection_id, webhook_url),
            direction="inbound",
            from_number=from_number,
            to_number=to_number,
        )
        self.add(call)
        self.begin(call, call.come_in())
        return call

    # --- REST ----------------------------------------------------------------------------------

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer a REST request."""
        try:
            if request.headers.get("authorization") != f"Bearer {self._api_key}":
                raise refusals.unauthenticated()
            self._limit.count()
            return await self._route(request)
        except refusals.Refused as refused:
            return refused.answer()

    def failure(self, fault: Fault) -> HttpResponse:
        """The error `fault` asks for, in Telnyx's shape."""
        if fault.status == HTTPStatus.TOO_MANY_REQUESTS:
            return refusals.too_many_requests(1, 1).answer()
        return refusals.broken(fault.status, fault.code).answer()

    async def _route(self, request: HttpRequest) -> HttpResponse:
        match request.method, request.segments:
            case "POST", (version, "calls") if version == _VERSION:
                return await self.attempt("dial", lambda: self._dial(request))
            case "GET", (version, "calls", call_id) if version == _VERSION:
                return await self.attempt("look-up", lambda: self._look_up(call_id))
            case "GET", (version, "call_control_applications", name) if version == _VERSION:
                return self._application(name)
            case "GET", (version, "phone_numbers") if version == _VERSION:
                return self._numbers(request)
            case method, (version, "calls", call_id, "actions", action) if version == _VERSION:
                command = COMMANDS.get(action)
                if command is None or command.method != method:
                    raise refusals.no_such_resource()
                return await self.attempt(
                    command.where, lambda: self._command(command, call_id, request)
                )
            case _:
                raise refusals.no_such_resource()

    async def _dial(self, request: HttpRequest) -> HttpResponse:
        fields = _fields(request)
        dialling = Dialling.read(fields)
        client_state = fields.client_state()
        command_id = fields.text("command_id")
        webhook_url = dialling.webhook_url or self._webhook_url
        if dialling.connection_id != self._connection_id or webhook_url is None:
            raise refusals.unknown_connection()
        earlier = self._repeats.earlier(_DIALS, command_id)
        if earlier is not None:
            return _dialled(self._call(earlier))
        call = TelnyxCall(
            self._office,
            Application(self._connection_id, webhook_url),
            direction="outbound",
            from_number=dialling.from_number,
            to_number=dialling.to,
            client_state=client_state,
        )
        _note_ignored(call, fields)
        self.add(call)
        self._repeats.note(_DIALS, command_id, call.provider_call_id)
        self.begin(call, call.place(dialling))
        return _dialled(call)

    async def _look_up(self, call_id: str) -> HttpResponse:
        call = self._call(call_id)
        if call.over_ns is not None and self.clock.now_ns() - call.over_ns >= _LOOKED_UP_FOR_NS:
            raise refusals.no_such_resource()
        return _answer(call.resource())

    def _application(self, name: str) -> HttpResponse:
        if name != self._connection_id:
            raise refusals.no_such_resource()
        shown: dict[str, Any] = {
            "id": self._connection_id,
            "record_type": "call_control_application",
            "application_name": "Simulated",
            "active": True,
            "webhook_event_url": self._webhook_url,
            "outbound": {"outbound_voice_profile_id": _PROFILE_ID},
        }
        return _answer(shown | self.application)

    def _numbers(self, request: HttpRequest) -> HttpResponse:
        wanted = request.arguments().get("filter[phone_number]", [""])[-1]
        shown = [
            {"phone_number": number, "connection_id": connection_id, "status": "active"}
            for number, connection_id in self.numbers.items()
            if wanted in number.removeprefix("+")
        ]
        meta = {"page_number": 1, "page_size": 20, "total_pages": 1, "total_results": len(shown)}
        return HttpResponse(body=orjson.dumps({"data": shown, "meta": meta}))

    async def _command(self, command: _Command, call_id: str, request: HttpRequest) -> HttpResponse:
        call = self._call(call_id)
        fields = _fields(request)
        client_state = fields.client_state()
        command_id = fields.text("command_id")
        if self._repeats.earlier(call_id, command_id) is None:
            _check_state(call, command)
            command.do(call, fields)
            call.client_state = client_state or call.client_state
            self._repeats.note(call_id, command_id, call_id)
            _note_ignored(call, fields)
        return _answer({"result": "ok"})

    def _call(self, call_id: str) -> TelnyxCall:
        call = self.calls.get(call_id)
        if call is None:
            raise refusals.invalid_call()
        return call

    # --- webhooks and media --------------------------------------------------------------------

    def _tell(self, call: TelnyxCall, kind: str, payload: Mapping[str, Any]) -> None:
        if self._habits.reorders and kind in _FOLLOWED:
            self.faults.add(f"webhook:{kind}", Fault("hold"))
        url = call.application.webhook_url
        body = envelope(kind, payload, occurred_at=self._office.moments.now(), delivered_to=url)
        self.webhooks.tell(call.provider_call_id, kind, url, body)

    async def _connect(self, call: TelnyxCall, streaming: Streaming) -> None:
        wire = _Wire(
            StreamIdentity(call.provider_call_id, _USER_ID, parameters=streaming.parameters),
            self._negotiated(call, streaming),
            clock=self.clock,
        )
        wire.on_key = call.press
        await self.connect_media(call, streaming.url, wire)

    def _negotiated(self, call: TelnyxCall, streaming: Streaming) -> TelnyxOptions:
        codec = self._habits.leg_codec if streaming.codec == "default" else streaming.codec
        takes = CODECS[streaming.return_codec]
        if takes.encoding == "pcm16":
            takes = AudioFormat("pcm16", streaming.return_rate_hz)
        return replace(
            self._habits.media,
            sends=CODECS[codec],
            takes=takes,
            mode=streaming.mode,
            session_id=call.session_id,
            from_number=call.from_number,
            to_number=call.to_number,
            client_state=call.client_state or "",
        )


class _Wire(TelnyxWire):
    """A media socket's dialect, whose keys are reported by webhook, too, as Telnyx does.

    Attributes:
        on_key: told of each key.
    """

    on_key: Callable[[str], None] | None = None

    def dtmf(self, digit: str) -> list[bytes]:
        """A key the party pressed."""
        if self.on_key is not None:
            self.on_key(digit)
        return super().dtmf(digit)

    def again(self) -> Self:
        """Another stream of the same call, with an id of its own."""
        another = super().again()
        another.on_key = self.on_key
        return another


def _is_failure(status: int | None) -> bool:
    return status is None or not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _fields(request: HttpRequest) -> Fields:
    try:
        return Fields(request.json())
    except CodecError:
        raise refusals.not_json() from None


def _check_state(call: TelnyxCall, command: _Command) -> None:
    if call.ended.is_set():
        raise refusals.already_ended()
    if call.status in command.states:
        return
    if command.states == _ANSWERED:
        raise refusals.not_answered()
    raise refusals.not_possible("This call is not waiting to be answered.")


def _note_ignored(call: TelnyxCall, fields: Fields) -> None:
    """So that nobody takes for simulated what is not."""
    for name in fields.ignored():
        call.log.append(f"the simulation ignores {name}")


def _dialled(call: TelnyxCall) -> HttpResponse:
    # A dial is answered before anything has happened.
    return _answer(call.resource() | {"is_alive": False})


def _answer(data: Mapping[str, Any]) -> HttpResponse:
    return HttpResponse(body=orjson.dumps({"data": dict(data)}))
