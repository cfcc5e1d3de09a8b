"""`/v1/realtime`: the connection that all kinds of Realtime sessions share.

The connection does the handshake, reads and validates client events, sends server events in order,
reports errors and lets planned faults happen. What the events mean is up to a session, a class for
each kind: `transcription` (`?intent=transcription`) and `realtime` (`?model=...`), which are also
the names of their faults and of their records.

A session gets the `RealtimeConnection` when it is made, then `opened` once, then `handle` for each
valid client event, in order. It sends with `RealtimeConnection.send`, refuses an event by raising
`Unacceptable` and does what takes time in tasks of `RealtimeConnection.start`, which end with the
connection at the latest.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, get_args, get_type_hints

import orjson
from openai.types.realtime import RealtimeError, RealtimeErrorEvent
from openai.types.realtime.realtime_client_event_param import RealtimeClientEventParam
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketState

from voicecall.simulator.models.api import error_body, refusal_response
from voicecall.simulator.models.faults import Dropped, Failed
from voicecall.simulator.models.vendor_types import Unacceptable, as_json, checked, made, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from pydantic import BaseModel
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

    from voicecall.simulator.models.faults import Mishaps
    from voicecall.simulator.models.world import World

MAX_UNSENT = 4096
"""Events that wait for a client to read; one more and it is cut off with `POLICY_VIOLATION`."""

BETA_DISABLED = "beta_api_shape_disabled"
_BETA_CLOSED = 4000
_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1
_APPEND = "input_audio_buffer.append"
_BETA_EVENTS = frozenset({"transcription_session.update"})


T = TypeVar("T")


class RealtimeSession(Protocol):
    """What one kind of session does."""

    async def opened(self) -> None:
        """The connection is there: say `session.created`."""
        ...

    async def handle(self, event: Mapping[str, Any]) -> None:
        """Do what the client asks.

        Args:
            event: one of the package's `RealtimeClientEventParam`, validated.

        Raises:
            Unacceptable: it is refused; the client is told and the session goes on.
        """
        ...


class RealtimeConnection:
    """One client's socket, as a session sees it.

    Attributes:
        world: engines, brain, clock and the rest.
        model: of the URL; empty without.
        service: the kind of session.

    Args:
        websocket: accepted.
        world: what all services share.
        service: the kind of session.
        mishaps: what goes wrong.
    """

    def __init__(self, websocket: WebSocket, world: World, service: str, mishaps: Mishaps) -> None:
        self.world = world
        self.model = websocket.query_params.get("model", "")
        self.service = service
        self._websocket = websocket
        self._mishaps = mishaps
        self._unsent: asyncio.Queue[tuple[str, str]] = asyncio.Queue(MAX_UNSENT)
        self._tasks = asyncio.TaskGroup()
        self._handling: str | None = None

    def send(self, kind: type[BaseModel], **fields: Any) -> None:  # noqa: ANN401  (the model's)
        """Send a server event, in order, without waiting.

        Args:
            kind: one of the package's models of server events.
            fields: all but `event_id` and `type`, which are filled in. One that is given as None is
                sent as null, one that is not given is not sent.

        Raises:
            Dropped: the client does not read.
        """
        event = made(kind, event_id=new_id("event"), **fields)
        self.send_event(event)

    def send_event(self, event: BaseModel) -> None:
        """Send a server event that is complete, as `send` does."""
        name = getattr(event, "type", "")
        try:
            self._unsent.put_nowait((str(name), as_json(event)))
        except asyncio.QueueFull:
            raise Dropped(_POLICY_VIOLATION, "events are not read") from None

    def error(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        """Send an `error` event, which names the client event that is being handled, if any."""
        error = made(
            RealtimeError,
            type=kind,
            code=code,
            message=message,
            param=param,
            event_id=self._handling,
        )
        self.send(RealtimeErrorEvent, error=error)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something that takes time; cancelled when the connection ends.

        What it raises ends the connection.
        """
        return self._tasks.create_task(work)

    async def run(self, session: Callable[[RealtimeConnection], RealtimeSession]) -> None:
        """Serve the client until either side ends it."""
        try:
            async with self._tasks:
                _ = self.start(self._write())
                await self._read(session(self))
        except* _Gone:
            pass
        except* Dropped as drops:
            await self._close(_first(drops))

    async def _read(self, session: RealtimeSession) -> NoReturn:
        await session.opened()
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise _Gone
            text = message.get("text")
            await self._take(session, text if text is not None else message["bytes"])

    async def _take(self, session: RealtimeSession, raw: str | bytes) -> None:
        self._handling = None
        try:
            event = self._parsed(raw)
            await session.handle(event)
        except Unacceptable as refused:
            self.error(refused.message, code=refused.code, param=refused.param)
        finally:
            self._handling = None

    def _parsed(self, raw: str | bytes) -> Mapping[str, Any]:
        try:
            data = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise Unacceptable("The event is not valid JSON.", code="invalid_json") from error
        kind = data.get("type") if isinstance(data, dict) else None
        if isinstance(kind, str) and isinstance(data.get("event_id"), str):
            self._handling = data["event_id"]
        if kind != _APPEND:
            self._note(data)
        if kind in _BETA_EVENTS:
            self.error("The Realtime beta API is gone.", code=BETA_DISABLED, param="type")
            raise Dropped(_BETA_CLOSED, BETA_DISABLED)
        return checked_event(data, kind)

    def _note(self, data: object) -> None:
        body = data if isinstance(data, dict) else {}
        headers = self._websocket.headers
        self.world.note(self.service, str(self._websocket.url.path), body, headers)

    async def _write(self) -> None:
        await self._send_raw(await self._mishaps.happen())
        while True:
            name, text = await self._unsent.get()
            await self._websocket.send_text(text)
            try:
                await self._send_raw(await self._mishaps.happen(name))
            except Failed as failed:
                fault = failed.fault
                self.error(fault.message, code=fault.code, kind="server_error")

    async def _send_raw(self, texts: tuple[str, ...]) -> None:
        for text in texts:
            await self._websocket.send_text(text)

    async def _close(self, drop: Dropped) -> None:
        while not self._unsent.empty() and drop.code == _BETA_CLOSED:
            # Why it is closed.
            await self._websocket.send_text(self._unsent.get_nowait()[1])
        if self._websocket.client_state is not WebSocketState.DISCONNECTED:
            await self._websocket.close(drop.code, drop.reason)


class _Gone(Exception):
    """The client has left; what is still being done for it is cancelled."""


def _first(group: BaseExceptionGroup[Dropped]) -> Dropped:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _event_types() -> dict[str, Any]:
    """The package's client events by their type."""
    return {
        get_args(get_args(get_type_hints(event, include_extras=True)["type"])[0])[0]: event
        for event in get_args(RealtimeClientEventParam)
    }


_EVENTS = _event_types()

# The package's types of parameters do not say so, its documentation does.
_NULLABLE = ("noise_reduction", "transcription")


def checked_event(data: object, kind: object) -> dict[str, Any]:
    """A client event, validated.

    Args:
        data: parsed JSON.
        kind: its type.

    Raises:
        Unacceptable: it is not one.
    """
    if kind is None:
        message = "Missing required parameter: 'type'."
        raise Unacceptable(message, param="type", code="missing_required_parameter")
    params = _EVENTS.get(kind) if isinstance(kind, str) else None
    if params is None or not isinstance(data, dict):
        supported = ", ".join(f"'{name}'" for name in sorted(_EVENTS))
        message = f"Invalid value: '{kind}'. Supported values are: {supported}."
        raise Unacceptable(message, param="type", code="invalid_value")
    nulls = _take_nulls(data)
    event = checked(params, data)
    for place in nulls:
        event["session"]["audio"]["input"][place] = None
    return event


def _take_nulls(data: dict[str, Any]) -> list[str]:
    """Remove nulls that turn something off from a `session.update`; returns which."""
    audio_input: object = data
    for key in ("session", "audio", "input"):
        audio_input = audio_input.get(key) if isinstance(audio_input, dict) else None
    if not isinstance(audio_input, dict):
        return []
    nulls = [key for key in _NULLABLE if key in audio_input and audio_input[key] is None]
    for key in nulls:
        del audio_input[key]
    return nulls


def merged(current: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """A session's configuration after an update, which changes only what it names.

    Objects are merged, unless the update makes something else of one by another `type`.
    """
    result = dict(current)
    for key, new in update.items():
        old = current.get(key)
        if (
            isinstance(old, dict)
            and isinstance(new, dict)
            and old.get("type") == new.get("type", old.get("type"))
        ):
            result[key] = merged(old, new)
        else:
            result[key] = new
    return result


def routes(
    world: World, sessions: Mapping[str, Callable[[RealtimeConnection], RealtimeSession]]
) -> list[BaseRoute]:
    """The endpoint.

    Args:
        world: what all services share.
        sessions: what makes a session, by its kind.
    """

    async def serve(websocket: WebSocket) -> None:
        service = _kind_of_session(websocket)
        refusal = _handshake_refusal(websocket, world, service if service in sessions else None)
        if refusal is not None:
            await websocket.send_denial_response(refusal)
            return
        query = dict(websocket.query_params)
        world.note(service, str(websocket.url.path), query, websocket.headers)
        mishaps = world.faults.begin(service)
        if mishaps.refusal is not None:
            await websocket.send_denial_response(refusal_response(mishaps.refusal))
            return
        await websocket.accept()
        await RealtimeConnection(websocket, world, service, mishaps).run(sessions[service])

    return [WebSocketRoute("/v1/realtime", serve)]


def _kind_of_session(websocket: WebSocket) -> str:
    """A model in the URL makes a conversation, whatever the intent."""
    if websocket.query_params.get("model"):
        return "realtime"
    return websocket.query_params.get("intent", "")


def _handshake_refusal(websocket: WebSocket, world: World, service: str | None) -> Response | None:
    if not world.authorized(websocket.headers):
        return JSONResponse(error_body("Incorrect API key provided.", code="invalid_api_key"), 401)
    if "openai-beta" in websocket.headers:
        message = "The Realtime beta API is gone; leave the OpenAI-Beta header out."
        return JSONResponse(error_body(message, code=BETA_DISABLED), 400)
    if service is None:
        message = "Give a model, or intent=transcription."
        return JSONResponse(error_body(message, code="missing_model", param="model"), 400)
    return None
