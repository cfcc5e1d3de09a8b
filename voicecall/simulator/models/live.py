"""`/v1/live/sessions`: simulated GPT-Live, which listens while it speaks.

Audio goes out all the time, silence included, as fast as it is played. The model stops by itself
when it is spoken over; what it says is told as transcript when it begins to be heard. Tasks are
delegated by the brain's uses of tools: to a backend, whose function calls the client answers, or to
the client. A client that has no tools to offer is delegated to by the tool `delegate`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_type_hints

import orjson
from openai.types.live import (
    CommentaryAppendedEvent,
    DelegationCreatedEvent,
    Error,
    ErrorEvent,
    InputAudioMutedEvent,
    InputAudioUnmutedEvent,
    InputTranscriptDeltaEvent,
    InstructionsAppendedEvent,
    OutputAudioDeltaEvent,
    OutputTranscriptDeltaEvent,
    ResponseEvent,
    SessionClosedEvent,
    SessionResource,
    SessionStartedEvent,
    SessionUpdatedEvent,
    SessionUsageUpdatedEvent,
    ThinkingAppendedEvent,
)
from openai.types.live.client_event_param import ClientEventParam
from openai.types.responses import (
    Response as BackendResponse,
)
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseCreatedEvent,
    ResponseFunctionToolCall,
    ResponseOutputItemDoneEvent,
)
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute

from voicecall.audio import SILENCE_OCTET
from voicecall.call.record import Speaker
from voicecall.dialog.history import SpokenText, heard_text
from voicecall.errors import SpeechError
from voicecall.ports import SpeechStarted, SpeechStopped, ToolUse, Turn
from voicecall.simulator.models.api import error_body, refusal_response
from voicecall.simulator.models.brain import Question, Use
from voicecall.simulator.models.faults import Dropped
from voicecall.simulator.models.hearing import Hearing, audio_format, position_ms
from voicecall.simulator.models.realtime import RealtimeConnection
from voicecall.simulator.models.speaking import sentences, spoken
from voicecall.simulator.models.turns import arguments_of
from voicecall.simulator.models.vendor_types import Unacceptable, checked, made, new_id
from voicecall.speech.vad import Endpointing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from pydantic import BaseModel
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

    from voicecall.simulator.models.world import World
    from voicecall.speech.vad import Endpoint, SpokenAudio

_log = logging.getLogger("voicecall.simulator")

SERVICE = "live"
DELEGATE = "delegate"
"""The tool that stands for a task of the client's."""

FRAME_MS = 40
"""So much audio is sent at once."""

LIFETIME_S = 3600
_USAGE_MS = 5_000
_NORMAL_CLOSURE = 1000
_SILENCE_MS = 500
_WORDS_A_DELTA = 3
_MAX_HISTORY = 128
# 500 tokens, at four characters.
_MAX_CHARACTERS = 2000
_APPEND = "session.input_audio.append"
_QUOTED = re.compile(r'"([^"]+)"')
# Something that happened, rather than something to be said.
_REMARK = re.compile(r"\[.*\]", re.DOTALL)


def routes(world: World) -> list[BaseRoute]:
    """The endpoint."""

    async def serve(websocket: WebSocket) -> None:
        if not world.authorized(websocket.headers):
            body = error_body("Incorrect API key provided.", code="invalid_api_key")
            await websocket.send_denial_response(JSONResponse(body, 401))
            return
        world.note(SERVICE, websocket.url.path, dict(websocket.query_params), websocket.headers)
        mishaps = world.faults.begin(SERVICE)
        if mishaps.refusal is not None:
            await websocket.send_denial_response(refusal_response(mishaps.refusal))
            return
        await websocket.accept()
        await LiveConnection(websocket, world, SERVICE, mishaps).run(LiveSession)

    return [WebSocketRoute("/v1/live/sessions", serve)]


def _event_types() -> dict[str, Any]:
    """The package's client events by their type."""
    return {
        get_args(get_args(get_type_hints(event, include_extras=True)["type"])[0])[0]: event
        for event in get_args(ClientEventParam)
    }


_EVENTS = _event_types()


class LiveConnection(RealtimeConnection):
    """A connection that speaks the Live protocol instead of Realtime's."""

    @property
    def client_event_id(self) -> str | None:
        """Of the event that is being handled, if the client gave it one."""
        return self._handling

    def error(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        """Send an `error` event, which names the client event that is being handled, if any."""
        cause = {"client_event_id": self._handling}
        error = made(
            Error, type=kind, code=code or "invalid_value", message=message, param=param, **cause
        )
        self.send(ErrorEvent, error=error)

    def _parsed(self, raw: str | bytes) -> Mapping[str, Any]:
        try:
            data = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise Unacceptable("The event is not valid JSON.", code="invalid_json") from error
        kind = data.get("type") if isinstance(data, dict) else None
        if kind not in _EVENTS:
            message = f"Unknown event type: '{kind}'."
            raise Unacceptable(message, param="type", code="unknown_event_type")
        if isinstance(data.get("event_id"), str):
            self._handling = data["event_id"]
        if kind != _APPEND:
            self._note(data)
        return checked(_EVENTS[kind], data)

    async def _close(self, drop: Dropped) -> None:
        if drop.code == _NORMAL_CLOSURE:
            # Among it is `session.closed`.
            while not self._unsent.empty():
                await self._websocket.send_text(self._unsent.get_nowait()[1])
        await super()._close(drop)


@dataclass(slots=True)
class _Stretch:
    """One sentence that waits to be heard, or is being.

    Attributes:
        text: what it says.
        audio: what of it was not sent yet.
        octets: how much there was.
    """

    text: str
    audio: bytes
    octets: int


class LiveSession:
    """One client's session.

    Args:
        connection: where its events come from and go.
    """

    def __init__(self, connection: RealtimeConnection) -> None:
        self._connection = connection
        self._world = connection.world
        self._settings: dict[str, Any] | None = None
        self._id = new_id("live")
        self._expires_s = self._world.clock.wall_ms() // 1000 + LIFETIME_S
        self._audio = audio_format(None)
        self._hearing: Hearing | None = None
        self._muted = False
        self._turns: list[Turn] = []
        self._mouth: deque[_Stretch] = deque()
        self._played_ms = 0
        self._thinking: asyncio.Task[None] | None = None
        self._delegations: set[str] = set()
        # Uses of tools the backend waits for, by id.
        self._calls: dict[str, Use] = {}
        self._delegation_id = ""

    async def opened(self) -> None:
        """The client speaks first."""

    async def handle(self, event: Mapping[str, Any]) -> None:
        """Do what the client asks. Raises `Unacceptable`."""
        kind = event["type"]
        if (kind == "session.start") is (self._settings is not None):
            message = "Send session.start first, and once."
            raise Unacceptable(message, param="type", code="invalid_session_state")
        handler = self._HANDLERS.get(kind)
        if handler is None:
            raise Unacceptable(f"'{kind}' is not simulated.", param="type", code="unsupported")
        await handler(self, event)

    # --- the session --------------------------------------------------------------------------

    async def _on_start(self, event: Mapping[str, Any]) -> None:
        settings: dict[str, Any] = dict(event["session"])
        history = list(settings.get("input") or [])
        if len(history) > _MAX_HISTORY:
            message = f"At most {_MAX_HISTORY} messages are taken."
            raise Unacceptable(message, param="session.input", code="invalid_value")
        for message_ in history:
            speaker = Speaker.BOT if message_["role"] == "assistant" else Speaker.USER
            self._turns.append(Turn(speaker, message_["content"][0]["text"]))
        self._audio = audio_format((settings.get("audio") or {}).get("format"))
        detector = await self._world.engines.detector()
        self._hearing = Hearing(
            detector, self._audio, Endpointing(silence_ms=_SILENCE_MS, early_ms=0)
        )
        self._settings = settings
        self._tell(SessionStartedEvent, session=self._resource())
        _ = self._connection.start(self._play())

    def _resource(self) -> SessionResource:
        return made(
            SessionResource,
            id=self._id,
            expires_at=self._expires_s,
            status="active",
            **(self._settings or {}),
        )

    async def _on_update(self, event: Mapping[str, Any]) -> None:
        update = event["session"].get("delegation") or {}
        if update.get("type", self._target) != self._target:
            message = "The delegation type cannot change."
            raise Unacceptable(message, param="session.delegation.type", code="invalid_value")
        if self._settings is not None and update:
            self._settings["delegation"] = {**self._settings["delegation"], **update}
        self._tell(SessionUpdatedEvent, session=self._resource())

    async def _on_close(self, event: Mapping[str, Any]) -> None:
        del event
        self._tell(
            SessionClosedEvent,
            reason="close_requested",
            session=self._resource(),
            usage={"seconds": self._played_ms / 1000},
        )
        raise Dropped(_NORMAL_CLOSURE, "")

    def _tell(self, kind: type[BaseModel], **fields: Any) -> None:  # noqa: ANN401  (the model's)
        """Send an event that answers one of the client's."""
        connection = self._connection
        if isinstance(connection, LiveConnection) and connection.client_event_id is not None:
            fields["client_event_id"] = connection.client_event_id
        connection.send(kind, **fields)

    @property
    def _target(self) -> str:
        delegation = (self._settings or {}).get("delegation") or {"type": "client"}
        return str(delegation["type"])

    @property
    def _tools(self) -> frozenset[str]:
        if self._target != "responses":
            return frozenset({DELEGATE})
        backend = (self._settings or {})["delegation"]["responses"]
        tools = backend.get("tools") or []
        return frozenset(tool["name"] for tool in tools if tool["type"] == "function")

    # --- listening ----------------------------------------------------------------------------

    async def _on_append(self, event: Mapping[str, Any]) -> None:
        try:
            audio = base64.b64decode(event["audio"], validate=True)
        except binascii.Error as error:
            message = "Invalid 'audio': base64 is expected."
            raise Unacceptable(message, param="audio", code="invalid_value") from error
        if self._hearing is None or self._muted:
            return
        for endpoint in self._hearing.push(audio):
            self._notice(endpoint)

    def _notice(self, endpoint: Endpoint) -> None:
        match endpoint:
            case SpeechStarted():
                self._fall_silent()
            case SpeechStopped():
                pass
            case _:
                _ = self._connection.start(self._hear(endpoint))

    async def _on_mute(self, event: Mapping[str, Any]) -> None:
        del event
        self._muted = True
        self._tell(InputAudioMutedEvent)

    async def _on_unmute(self, event: Mapping[str, Any]) -> None:
        del event
        self._muted = False
        self._tell(InputAudioUnmutedEvent)

    async def _hear(self, heard: SpokenAudio) -> None:
        try:
            words = await self._world.engines.transcribe(heard.pcm)
        except SpeechError as error:
            _log.warning("a simulated model could not understand", exc_info=error)
            return
        end_ms = position_ms(heard.until_ns)
        fragments = re.findall(rf"(?:\S+\s*){{1,{_WORDS_A_DELTA}}}", words)
        for fragment in fragments:
            times = {"start_ms": end_ms, "end_ms": end_ms}
            self._connection.send(InputTranscriptDeltaEvent, delta=fragment, **times)
        if words:
            self._turns.append(Turn(Speaker.USER, words))
            self._think()

    # --- speaking -----------------------------------------------------------------------------

    async def _play(self) -> None:
        """Send what is to be heard, and silence in between, as fast as it is played."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            audio = self._frame()
            delta = base64.b64encode(audio).decode()
            self._connection.send_event(made(OutputAudioDeltaEvent, delta=delta))
            self._played_ms += FRAME_MS
            if self._played_ms % _USAGE_MS == 0:
                usage = {"seconds": self._played_ms / 1000}
                self._connection.send(SessionUsageUpdatedEvent, usage=usage)
            due_s += FRAME_MS / 1000
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    def _frame(self) -> bytes:
        octets = self._audio.octets_per_second * FRAME_MS // 1000
        frame = b""
        while self._mouth and len(frame) < octets:
            stretch = self._mouth[0]
            if len(stretch.audio) == stretch.octets:
                self._begin(stretch)
            wanted = octets - len(frame)
            frame += stretch.audio[:wanted]
            stretch.audio = stretch.audio[wanted:]
            if not stretch.audio:
                self._mouth.popleft()
        return frame + bytes([SILENCE_OCTET[self._audio.encoding]]) * (octets - len(frame))

    def _begin(self, stretch: _Stretch) -> None:
        self._turns.append(Turn(Speaker.BOT, stretch.text))
        end_ms = self._played_ms + int(self._audio.duration_ms(stretch.octets))
        times = {"start_ms": self._played_ms, "end_ms": end_ms}
        self._connection.send(OutputTranscriptDeltaEvent, delta=f"{stretch.text} ", **times)

    def _fall_silent(self) -> None:
        """Stop because somebody else speaks; remember what of it was heard."""
        self._stop_thinking()
        if self._mouth and self._turns and self._turns[-1].text == self._mouth[0].text:
            stretch = self._mouth[0]
            heard_ms = self._audio.duration_ms(stretch.octets - len(stretch.audio))
            whole = SpokenText(stretch.text, self._audio.duration_ms(stretch.octets))
            self._turns[-1] = Turn(Speaker.BOT, heard_text([whole], heard_ms))
        self._mouth.clear()

    async def _speak(self, sentence: str) -> None:
        voice = self._world.engines.voice
        pieces = [piece async for piece in spoken(voice, sentence, self._audio)]
        if audio := b"".join(pieces):
            self._mouth.append(_Stretch(sentence, audio, len(audio)))

    # --- thinking -----------------------------------------------------------------------------

    def _think(self) -> None:
        """Answer what was said last."""
        self._stop_thinking()
        self._thinking = self._connection.start(self._answer(list(self._turns)))

    def _stop_thinking(self) -> None:
        if self._thinking is not None:
            self._thinking.cancel()
            self._thinking = None

    async def _answer(self, turns: list[Turn]) -> None:
        instructions = (self._settings or {}).get("instructions") or ""
        question = Question(turns, self._tools, instructions)
        uses: list[Use] = []
        async with aclosing(sentences(self._world.brain.answer(question))) as parts:
            async for part in parts:
                if isinstance(part, str):
                    await self._speak(part)
                else:
                    uses.append(part)
        if uses:
            self._delegate(uses)

    def _delegate(self, uses: Iterable[Use]) -> None:
        responses = self._target == "responses"
        self._delegation_id = new_id("dlg")
        self._delegations.add(self._delegation_id)
        delegation = {"id": self._delegation_id, "target": self._target, "type": "delegation"}
        response_id = new_id("resp")
        if responses:
            delegation["response_id"] = response_id
        self._connection.send(
            DelegationCreatedEvent, delegation=delegation, offset_ms=self._played_ms
        )
        if not responses:
            return
        calls = []
        for use in uses:
            call_id = new_id("call")
            self._calls[call_id] = use
            call = {"call_id": call_id, "name": use.tool, "arguments": arguments_of(use)}
            calls.append(
                made(ResponseFunctionToolCall, id=new_id("fc"), status="completed", **call)
            )
        self._tell_backend(response_id, calls)

    def _tell_backend(self, response_id: str, calls: Iterable[ResponseFunctionToolCall]) -> None:
        """Tell what the backend does, in its own events."""
        backend = (self._settings or {})["delegation"]["responses"]
        response = made(
            BackendResponse,
            id=response_id,
            created_at=float(self._world.clock.wall_ms() // 1000),
            model=backend["model"],
            object="response",
            output=[],
            parallel_tool_calls=True,
            tool_choice="auto",
            tools=[],
        )
        events: list[BaseModel] = [
            made(ResponseCreatedEvent, response=response, sequence_number=0),
            *(
                made(
                    ResponseOutputItemDoneEvent,
                    item=call,
                    output_index=index,
                    sequence_number=index + 1,
                )
                for index, call in enumerate(calls)
            ),
        ]
        completed = made(ResponseCompletedEvent, response=response, sequence_number=len(events))
        for event in (*events, completed):
            nested = event.model_dump(exclude_unset=True, mode="json")
            self._connection.send(ResponseEvent, event=nested, delegation_id=self._delegation_id)

    async def _on_item(self, event: Mapping[str, Any]) -> None:
        self._refuse_without_backend()
        item = event["item"]
        use = self._calls.pop(str(item.get("call_id")), None)
        if item.get("type") != "function_call_output" or use is None:
            message = "No tool call waits for this output."
            raise Unacceptable(message, param="item.call_id", code="invalid_value")
        result = ToolUse(use.tool, arguments_of(use), str(item["output"]))
        self._turns.append(Turn(Speaker.BOT, "", result))

    async def _on_response(self, event: Mapping[str, Any]) -> None:
        del event
        self._refuse_without_backend()
        if self._calls:
            message = "Tool calls are not answered yet."
            raise Unacceptable(message, param="type", code="invalid_value")
        self._tell_backend(new_id("resp"), ())
        self._think()

    def _refuse_without_backend(self) -> None:
        if self._target != "responses":
            message = "This requires Responses delegation."
            raise Unacceptable(message, param="type", code="invalid_value")

    # --- context ------------------------------------------------------------------------------

    async def _on_commentary(self, event: Mapping[str, Any]) -> None:
        content = self._content(event)
        self._tell(CommentaryAppendedEvent, **self._moment())
        if _REMARK.fullmatch(content):
            self._turns.append(Turn(Speaker.USER, content))
            self._think()
            return
        quoted = _QUOTED.search(content)
        _ = self._connection.start(self._speak(quoted[1] if quoted else content))

    async def _on_thinking(self, event: Mapping[str, Any]) -> None:
        self._content(event)
        self._tell(ThinkingAppendedEvent, **self._moment())

    async def _on_instructions(self, event: Mapping[str, Any]) -> None:
        self._content(event)
        self._tell(InstructionsAppendedEvent, **self._moment())

    def _content(self, event: Mapping[str, Any]) -> str:
        delegation_id = event.get("delegation_id")
        if "delegation_id" not in event:
            message = "Missing required parameter: 'delegation_id'."
            raise Unacceptable(message, param="delegation_id", code="missing_required_parameter")
        if delegation_id is not None and (
            delegation_id not in self._delegations or self._target != "client"
        ):
            message = "No delegation of the client's has this id."
            raise Unacceptable(message, param="delegation_id", code="invalid_value")
        content = str(event["content"])
        if len(content) > _MAX_CHARACTERS:
            message = "The content is limited to 500 tokens."
            raise Unacceptable(message, param="content", code="string_above_max_length")
        return content

    def _moment(self) -> dict[str, int]:
        return {"start_ms": self._played_ms, "end_ms": self._played_ms}

    _HANDLERS: ClassVar[
        dict[str, Callable[[LiveSession, Mapping[str, Any]], Coroutine[Any, Any, None]]]
    ] = {
        "session.start": _on_start,
        "session.update": _on_update,
        "session.close": _on_close,
        _APPEND: _on_append,
        "session.input_audio.mute": _on_mute,
        "session.input_audio.unmute": _on_unmute,
        "session.commentary.append": _on_commentary,
        "session.thinking.append": _on_thinking,
        "session.instructions.append": _on_instructions,
        "response.item.create": _on_item,
        "response.create": _on_response,
    }
