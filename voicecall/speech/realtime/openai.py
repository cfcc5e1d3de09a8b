"""OpenAI Realtime, speech to speech: the model listens, decides when to answer, and speaks.

The caller's audio goes there as the carrier coded it, and the model's comes back so coded. The
server notices speech and its end, begins replies, and stops them when the caller speaks; we tell it
how much of them was heard.

Source: OpenAI Realtime API, general availability, as in the types of openai 3.54.
"""

from __future__ import annotations

import binascii
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from voicecall.call.record import Speaker
from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.dialog.history import SpokenText, heard_text
from voicecall.errors import ConfigError, SpeechError
from voicecall.ports import (
    ALAW_8K,
    ULAW_8K,
    FinalTranscript,
    PartialTranscript,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolUse,
    Turn,
)
from voicecall.speech.realtime.link import Link
from voicecall.speech.realtime.memory import Memory
from voicecall.speech.realtime.sockets import OpenAISockets
from voicecall.speech.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openai import AsyncOpenAI
    from openai.types.websocket_connection_options import WebSocketConnectionOptions

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, Briefing, SpeechToSpeechEvent, SpeechToSpeechStream
    from voicecall.speech.realtime.link import Limits, Socket
    from voicecall.speech.realtime.sockets import Account, Manager

_log = logging.getLogger("voicecall.speech")

_SERVICE = "OpenAI Realtime"
_FORMATS: Final[dict[AudioFormat, str]] = {ULAW_8K: "audio/pcmu", ALAW_8K: "audio/pcma"}
_PREFIX_PADDING_MS = 300
_MAX_WISHES = 32
# What the model reads aloud comes as a fresh context, where nothing else can be answered.
_VERBATIM = (
    "Read the user's text aloud exactly, word for word, in the language it is written in. "
    "Add nothing, leave nothing out, answer nothing."
)
_CUT_OFF = "[A technical fault cut off what you were saying. Go on from there, briefly.]"
_LOST = "[A technical fault lost what the caller just said. Ask them to say it again.]"
_NOT_DONE = "Not done: the caller spoke in between."
_ACTIVE_ALREADY = "conversation_already_has_active_response"
_HARMLESS = frozenset({"response_cancel_not_active"})
_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_TRANSIENT = frozenset({"server_error", "rate_limit_error", "api_error", "overloaded_error"})


@dataclass(frozen=True, slots=True)
class RealtimeSettings:
    """How the model listens and speaks.

    Attributes:
        model: its name.
        voice: its name.
        speed: of speech, 0.25 to 1.5.
        transcription_model: writes down what the caller says; the conversing model hears by itself.
        language: of the caller, ISO 639-1; None for any.
        turn_detection: by silence (`server`), or by what is said (`semantic`).
        silence_ms: how long the caller is silent when a turn is over, with `server`.
        idle_timeout_ms: after so much silence the model asks whether anybody is there, with
            `server`; 0 for never. The server's own bounds are not documented.
        noise_reduction: where the caller's microphone is; None for as it comes.
        tools: of other kinds than functions, such as remote MCP servers, as the vendor wants them.
    """

    model: str
    voice: str
    transcription_model: str
    speed: float = 1.0
    language: str | None = None
    turn_detection: Literal["server", "semantic"] = "server"
    silence_ms: int = 500
    idle_timeout_ms: int = 0
    noise_reduction: Literal["near_field", "far_field"] | None = "near_field"
    tools: Sequence[Mapping[str, Any]] = field(default=(), repr=False)


class OpenAIRealtime:
    """The engine, shared by all calls; implements `ports.SpeechToSpeech`.

    Args:
        account: whose models.
        settings: how the model listens and speaks.
        clock: the time.
        audio: `ULAW_8K` or `ALAW_8K`, both ways.
        limits: how long what may take.

    Raises:
        ConfigError: the model cannot take such audio.
    """

    def __init__(
        self,
        account: Account,
        settings: RealtimeSettings,
        *,
        clock: Clock,
        audio: AudioFormat = ULAW_8K,
        limits: Limits | None = None,
    ) -> None:
        if audio not in _FORMATS:
            raise ConfigError("realtime: the model takes mu-law or A-law at 8000 Hz")
        self._sockets = OpenAISockets(account, _SERVICE)
        self._settings = settings
        self._clock = clock
        self._audio = audio
        self._limits = limits

    @property
    def audio(self) -> AudioFormat:
        """G.711, as the carrier codes it."""
        return self._audio

    @property
    def takes_turns(self) -> bool:
        """True."""
        return True

    async def prepare(self) -> None:
        """Load the packages.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: the account cannot be used.
        """
        await self._sockets.prepare()

    async def open(self, briefing: Briefing) -> SpeechToSpeechStream:
        """Begin a conversation; the socket is opened meanwhile. Raises as `prepare` does."""
        await self.prepare()
        dialogue = RealtimeDialogue(self._settings, briefing, self._audio)
        return Link(self._dial, dialogue, audio=self._audio, clock=self._clock, limits=self._limits)

    async def close(self) -> None:
        """Free the client."""
        await self._sockets.close()

    async def _dial(self) -> Socket:
        def manager(client: AsyncOpenAI, options: WebSocketConnectionOptions) -> Manager:
            return client.realtime.connect(
                model=self._settings.model, websocket_connection_options=options
            )

        return await self._sockets.dial(manager)


@dataclass(slots=True)
class _Wish:
    """A reply that we want made, once nothing else is being made.

    Attributes:
        verbatim: what it says; None for what the model sees fit.
        happened: told to the model before; None for nothing.
    """

    verbatim: str | None = None
    happened: str | None = None

    @property
    def plain(self) -> bool:
        return self.verbatim is None and self.happened is None


@dataclass(slots=True)
class _Spoken:
    """One thing the model says.

    Attributes:
        response_id: what it belongs to.
        content_index: where in the item its audio is.
        octets: how much audio has come.
        text: how much text has come.
        over: whether no more will.
        known: whether this connection has it.
    """

    response_id: str
    content_index: int = 0
    octets: int = 0
    text: str = ""
    over: bool = False
    known: bool = True


@dataclass(slots=True)
class _Response:
    """What the model is making.

    Attributes:
        id: the server's.
        wish: of ours, where it is one.
        items: what it says, by item.
        calls: tools it wants used.
        cancelled: whether we have told it to stop.
    """

    id: str
    wish: _Wish | None
    items: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    cancelled: bool = False


class RealtimeDialogue:
    """One conversation without I/O; implements `link.Dialogue`.

    Overflow rule: at most 32 replies of our own wishing wait to be made; of more the oldest is
    forgotten.

    Args:
        settings: how the model listens and speaks.
        briefing: who it is, and what came before.
        audio: how audio is coded, both ways.
    """

    def __init__(self, settings: RealtimeSettings, briefing: Briefing, audio: AudioFormat) -> None:
        self._settings = settings
        self._briefing = briefing
        self._audio = audio
        self._memory = Memory(briefing.history)
        self._spoken: dict[str, _Spoken] = {}
        self._wishes: deque[_Wish] = deque(maxlen=_MAX_WISHES)
        # Tools the model waits for, by id of the use.
        self._open_calls: dict[str, ToolCall] = {}
        self._counter = 0
        self._outbox: deque[str] = deque()
        self._forget_connection()

    def _forget_connection(self) -> None:
        self._outbox.clear()
        self._ready = False
        for spoken in self._spoken.values():
            spoken.known = False
        # The server was busy with a reply that we have not seen yet: not at once again.
        self._held = False
        # Asked for, under this number, and not begun yet.
        self._asked: tuple[str, _Wish] | None = None
        self._cancel_asked = False
        self._response: _Response | None = None
        self._speaking = False
        # What the caller has said and the model has not begun to answer.
        self._unanswered: str | None = None
        self._partials: dict[str, str] = {}
        self._timeline = Timeline()
        self._sent_ns = 0
        self._sent_until_ns = 0

    # --- the connection ---------------------------------------------------------------------

    @property
    def outbox(self) -> deque[str]:
        """Messages to be sent."""
        return self._outbox

    @property
    def ready(self) -> bool:
        """Whether the session is configured."""
        return self._ready

    @property
    def due(self) -> bool:
        """Whether a reply was asked for, is being made, or has to follow what the caller said."""
        waiting = self._asked is not None or self._response is not None
        return waiting or self._unanswered is not None

    @property
    def quiet(self) -> bool:
        """Whether nobody speaks and nothing is waited for."""
        return not (self._speaking or self.due or self._wishes or self._open_calls)

    @property
    def expires_ns(self) -> int | None:
        """The vendor does not tell."""
        return None

    def opened(self, now_ns: int) -> None:
        """Wait for the server to speak first."""
        self._sent_until_ns = now_ns

    def broken(self, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """End what was going on, and have it taken up again on the next connection."""
        events: list[SpeechToSpeechEvent] = []
        if self._speaking:
            events.append(SpeechStopped(now_ns))
        if self._response is not None:
            events += self._break_items(self._response)
        if (wish := self._unfinished()) is not None:
            self._wishes.appendleft(wish)
        self._forget_connection()
        return events

    def _spoken_in(self, response: _Response) -> list[tuple[str, _Spoken]]:
        """What a response says, as far as it is kept."""
        return [(item, self._spoken[item]) for item in response.items if item in self._spoken]

    def _break_items(self, response: _Response) -> list[SpeechToSpeechEvent]:
        """End what was being said; what was not heard at all is said again, so it did not fail."""
        events: list[SpeechToSpeechEvent] = []
        for item_id, spoken in self._spoken_in(response):
            spoken.over = True
            heard = spoken.octets > 0
            failure = "the connection broke" if heard else None
            events.append(ReplyDone(item_id, interrupted=not heard, failure=failure))
            if not heard:
                self._memory.forget(item_id)
        return events

    def _unfinished(self) -> _Wish | None:
        """What the next connection has to begin with."""
        if self._asked is not None:
            return self._asked[1]
        if self._response is not None and not self._response.cancelled:
            if any(spoken.octets for _, spoken in self._spoken_in(self._response)):
                return _Wish(happened=_CUT_OFF)
            return self._response.wish or _Wish()
        if self._unanswered is not None:
            return _Wish() if self._memory.text(self._unanswered) else _Wish(happened=_LOST)
        return None

    def tick(self, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """Ask again for what was refused while something else was being said."""
        del now_ns
        self._held = False
        self._advance()
        return ()

    def audio(self, audio: bytes, now_ns: int) -> str:
        """The message that carries the caller's audio."""
        duration_ns = len(audio) * NS_PER_S // self._audio.octets_per_second
        self._sent_ns += duration_ns
        self._sent_until_ns = self._timeline.date(duration_ns, now_ns)
        coded = binascii.b2a_base64(audio, newline=False).decode()
        return f'{{"type":"input_audio_buffer.append","audio":"{coded}"}}'

    def farewell(self) -> str | None:
        """Nothing: closing the socket is enough."""
        return None

    # --- what is asked of it ------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Have it say `text` as its next reply."""
        self._wish(_Wish(verbatim=text))

    def prompt(self, text: str) -> None:
        """Have it react to `text`."""
        self._wish(_Wish(happened=text))

    def cancel(self) -> None:
        """Stop the reply that is being made; what still comes of it is dropped."""
        if self._response is not None:
            self._cancel(self._response)
        elif self._asked is not None:
            self._cancel_asked = True

    def heard(self, reply_id: str, heard_ms: int) -> None:
        """Have the model forget what of a reply was not heard."""
        spoken = self._spoken.get(reply_id)
        if spoken is None:
            return
        received_ms = int(self._audio.duration_ms(spoken.octets))
        if heard_ms >= received_ms and spoken.over:
            return
        text = heard_text([SpokenText(spoken.text, received_ms)], heard_ms)
        spoken.text = text
        spoken.octets = min(spoken.octets, heard_ms * self._audio.octets_per_second // 1000)
        if heard_ms <= 0:
            self._memory.forget(reply_id)
        else:
            self._memory.tell(reply_id, Speaker.BOT, text)
        if spoken.known:
            self._cut(reply_id, spoken.content_index, min(heard_ms, received_ms))

    def tool_result(self, tool_call_id: str, output: str) -> None:
        """Tell the model; once it waits for no other tool, it goes on."""
        if self._finish_call(tool_call_id, output) and not self._open_calls:
            self._wish(_Wish())

    # --- sending ------------------------------------------------------------------------------

    def _send(self, kind: str, **fields: object) -> None:
        if self._ready or kind == "session.update":
            self._outbox.append(orjson.dumps({"type": kind, **fields}).decode())

    def _wish(self, wish: _Wish) -> None:
        if wish.plain and self._wishes and self._wishes[-1].plain:
            return
        self._wishes.append(wish)
        self._advance()

    def _advance(self) -> None:
        """Ask for the next reply if none is being made."""
        if not self._ready or self._held or self._speaking or self.due or not self._wishes:
            return
        wish = self._wishes.popleft()
        self._counter += 1
        number = f"wish-{self._counter}"
        self._asked = number, wish
        response: dict[str, Any] = {"metadata": {"wish": number}}
        if wish.happened is not None:
            self._create_item(_message("system", "input_text", wish.happened))
        if wish.verbatim is not None:
            response["instructions"] = _VERBATIM
            response["input"] = [_message("user", "input_text", wish.verbatim)]
            response["tool_choice"] = "none"
        self._send("response.create", event_id=number, response=response)

    def _cancel(self, response: _Response) -> None:
        if not response.cancelled:
            response.cancelled = True
            self._send("response.cancel", response_id=response.id)

    def _cut(self, item_id: str, content_index: int, end_ms: int) -> None:
        if end_ms <= 0:
            self._send("conversation.item.delete", item_id=item_id)
            return
        place = {"item_id": item_id, "content_index": content_index}
        self._send("conversation.item.truncate", **place, audio_end_ms=end_ms)

    def _create_item(self, item: dict[str, Any]) -> None:
        self._send("conversation.item.create", item=item)

    def _finish_call(self, call_id: str, output: str) -> bool:
        call = self._open_calls.pop(call_id, None)
        if call is None:
            return False
        use = ToolUse(call.name, call.arguments, output)
        self._memory.put(call_id, Turn(Speaker.BOT, "", use))
        self._create_item({"type": "function_call_output", "call_id": call_id, "output": output})
        return True

    def _configure(self) -> None:
        settings = self._settings
        coding = {"type": _FORMATS[self._audio]}
        transcription = {"model": settings.transcription_model}
        if settings.language is not None:
            transcription["language"] = settings.language
        noise = settings.noise_reduction
        # What is left out of a new session is off; the vendor's types know no other way to say so.
        reduction = {} if noise is None else {"noise_reduction": {"type": noise}}
        functions = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            }
            for tool in self._briefing.tools
        ]
        session = {
            "type": "realtime",
            "instructions": self._briefing.instructions,
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": coding,
                    **reduction,
                    "transcription": transcription,
                    "turn_detection": self._turn_detection(),
                },
                "output": {"format": coding, "voice": settings.voice, "speed": settings.speed},
            },
            "tools": [*functions, *map(dict, settings.tools)],
            "tool_choice": "auto",
        }
        self._send("session.update", session=session)

    def _turn_detection(self) -> dict[str, Any]:
        settings = self._settings
        answering = {"create_response": True, "interrupt_response": True}
        if settings.turn_detection == "semantic":
            return {"type": "semantic_vad", **answering}
        detection = {
            "type": "server_vad",
            "prefix_padding_ms": _PREFIX_PADDING_MS,
            "silence_duration_ms": settings.silence_ms,
            **answering,
        }
        if settings.idle_timeout_ms:
            detection["idle_timeout_ms"] = settings.idle_timeout_ms
        return detection

    def _replay(self) -> None:
        """Tell a new connection what was said, as far as it was heard."""
        for key, turn in self._memory.items():
            if turn.tool is not None:
                call_id = f"call-{key}" if key.startswith("earlier-") else key
                call = {"name": turn.tool.name, "arguments": turn.tool.arguments}
                self._create_item({"type": "function_call", "call_id": call_id, **call})
                if key not in self._open_calls:
                    output = {"call_id": call_id, "output": turn.tool.result}
                    self._create_item({"type": "function_call_output", **output})
            elif turn.speaker is Speaker.USER:
                self._create_item(_message("user", "input_text", turn.text))
            else:
                self._create_item(_message("assistant", "output_text", turn.text))

    # --- receiving ----------------------------------------------------------------------------

    def receive(self, message: bytes, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """What a message means; one that makes no sense means nothing.

        Raises:
            SpeechError: the session is refused.
        """
        try:
            event = orjson.loads(message)
            handle = self._HANDLERS.get(event["type"])
            events = () if handle is None else handle(self, event, now_ns)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # The error's text may hold what was said.
            _log.warning("a model sent an unusable event", extra={"kind": type(error).__name__})
            return ()
        self._advance()
        return events

    def _on_created(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del event, now_ns
        self._configure()
        return ()

    def _on_updated(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del event, now_ns
        if not self._ready:
            self._ready = True
            self._replay()
        return ()

    def _on_started(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        server = self._settings.turn_detection == "server"
        start_ms = event["audio_start_ms"] + (_PREFIX_PADDING_MS if server else 0)
        self._speaking = True
        return (SpeechStarted(self._dated(start_ms, now_ns)),)

    def _on_stopped(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        server = self._settings.turn_detection == "server"
        end_ms = event["audio_end_ms"] - (self._settings.silence_ms if server else 0)
        self._speaking = False
        self._unanswered = str(event["item_id"])
        return (SpeechStopped(self._dated(end_ms, now_ns)),)

    def _dated(self, position_ms: float, now_ns: int) -> int:
        """When the caller's audio at a position in this session was spoken."""
        back_ns = max(0, self._sent_ns - round(position_ms * NS_PER_MS))
        return min(now_ns, self._sent_until_ns) - back_ns

    def _on_committed(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        self._memory.tell(str(event["item_id"]), Speaker.USER, "")
        return ()

    def _on_partial(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        item_id, delta = str(event["item_id"]), event.get("delta") or ""
        text = self._partials[item_id] = self._partials.get(item_id, "") + delta
        return (PartialTranscript(text),)

    def _on_final(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        item_id, text = str(event["item_id"]), str(event["transcript"]).strip()
        self._partials.pop(item_id, None)
        if not text:
            self._memory.forget(item_id)
            return ()
        self._memory.tell(item_id, Speaker.USER, text)
        return (FinalTranscript(text),)

    def _on_unintelligible(
        self, event: dict[str, Any], now_ns: int
    ) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        self._partials.pop(str(event["item_id"]), None)
        code = event["error"].get("code")
        _log.warning("a model could not transcribe the caller", extra={"status": code})
        return ()

    def _on_response(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        response = event["response"]
        wish = None
        if self._asked is not None and _number(response) == self._asked[0]:
            wish, self._asked = self._asked[1], None
        elif _number(response) is None:
            # The server's own, which answers everything that it has been told.
            self._wishes = deque(
                (wish for wish in self._wishes if not wish.plain), maxlen=_MAX_WISHES
            )
        self._unanswered = None
        self._response = _Response(str(response["id"]), wish)
        if wish is not None and self._cancel_asked:
            self._cancel_asked = False
            self._cancel(self._response)
        return ()

    def _on_item(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        response, item = self._response, event["item"]
        if response is None or event["response_id"] != response.id or item["type"] != "message":
            return ()
        item_id = str(item["id"])
        response.items.append(item_id)
        self._spoken[item_id] = _Spoken(response.id)
        self._memory.tell(item_id, Speaker.BOT, "")
        while len(self._spoken) > _MAX_WISHES:
            del self._spoken[next(iter(self._spoken))]
        return ()

    def _on_audio(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        item_id = event["item_id"]
        spoken = self._current(item_id)
        if spoken is None:
            return ()
        audio = binascii.a2b_base64(event["delta"])
        spoken.octets += len(audio)
        spoken.content_index = int(event["content_index"])
        return (ReplyAudio(item_id, audio),)

    def _on_text(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        item_id, delta = event["item_id"], str(event["delta"])
        spoken = self._current(item_id)
        if spoken is None:
            return ()
        spoken.text += delta
        self._memory.tell(item_id, Speaker.BOT, spoken.text)
        return (ReplyText(item_id, delta),)

    def _current(self, item_id: str) -> _Spoken | None:
        """What is being said, unless we do not want it any more."""
        response, spoken = self._response, self._spoken.get(item_id)
        if response is None or spoken is None or response.cancelled:
            return None
        return spoken if spoken.response_id == response.id else None

    def _on_call(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        call = ToolCall(str(event["call_id"]), str(event["name"]), str(event["arguments"]))
        response = self._response
        if response is not None and event["response_id"] == response.id:
            response.calls.append(call)
        return ()

    def _on_done(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """A reply ends; then come the tools it wants used, so that they find it complete."""
        del now_ns
        done, response = event["response"], self._response
        if response is None or done["id"] != response.id:
            return ()
        self._response = None
        cut = done["status"] == "cancelled"
        failure = None if done["status"] in ("completed", "cancelled") else _why(done)
        events = self._end_items(response, interrupted=cut, failure=failure)
        if not response.items and (cut or failure is not None):
            events.append(ReplyDone(response.id, cut, failure))
        for call in response.calls:
            use = ToolUse(call.name, call.arguments, "")
            self._memory.put(call.id, Turn(Speaker.BOT, "", use))
            self._open_calls[call.id] = call
            if cut:
                self._finish_call(call.id, _NOT_DONE)
            else:
                events.append(call)
        return events

    def _end_items(
        self, response: _Response, *, interrupted: bool = False, failure: str | None = None
    ) -> list[SpeechToSpeechEvent]:
        for _, spoken in self._spoken_in(response):
            spoken.over = True
        return [ReplyDone(item_id, interrupted, failure) for item_id in response.items]

    def _on_error(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        error = event["error"]
        code = error.get("code") or error["type"]
        if not self._ready:
            raise SpeechError(
                f"{_SERVICE} refused the session: {code}",
                retryable=error["type"] in _TRANSIENT,
                status=code,
            )
        level = logging.DEBUG if code in _HARMLESS else logging.WARNING
        _log.log(level, "a model reported an error", extra={"status": code})
        asked = self._asked
        if asked is None or error.get("event_id") != asked[0]:
            return ()
        self._asked = None
        self._cancel_asked = False
        if code == _ACTIVE_ALREADY:
            # The caller's words were answered at the same moment; ours comes after that.
            self._wishes.appendleft(asked[1])
            self._held = True
            return ()
        return (ReplyDone(asked[0], failure=code),)

    _HANDLERS: Final = {
        "session.created": _on_created,
        "session.updated": _on_updated,
        "input_audio_buffer.speech_started": _on_started,
        "input_audio_buffer.speech_stopped": _on_stopped,
        "input_audio_buffer.committed": _on_committed,
        f"{_TRANSCRIPTION}.delta": _on_partial,
        f"{_TRANSCRIPTION}.completed": _on_final,
        f"{_TRANSCRIPTION}.failed": _on_unintelligible,
        "response.created": _on_response,
        "response.output_item.added": _on_item,
        "response.output_audio.delta": _on_audio,
        "response.output_audio_transcript.delta": _on_text,
        "response.function_call_arguments.done": _on_call,
        "response.done": _on_done,
        "error": _on_error,
    }


def _message(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def _number(response: dict[str, Any]) -> str | None:
    """Which of our wishes a response is."""
    number = (response.get("metadata") or {}).get("wish")
    return None if number is None else str(number)


def _why(done: dict[str, Any]) -> str:
    """Why a response is not complete, in the vendor's own terms."""
    details = done.get("status_details") or {}
    error = details.get("error") or {}
    return str(error.get("code") or error.get("type") or details.get("reason") or done["status"])
