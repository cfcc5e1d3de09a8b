"""GPT-Live: a model that listens while it speaks, and does without turns.

It sends one unending stream of audio, its silences included, and stops by itself when the caller
speaks. Transcripts of both sides come in fragments; what makes an utterance of them is decided
here: the other side begins, or a pause. What a tool is needed for the model delegates: to a model
behind it, which is given our tools, or to nobody.

Source: OpenAI Live API, as in the types of openai 3.54.
"""

from __future__ import annotations

import binascii
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from voicecall.call.record import Speaker
from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.errors import ConfigError, SpeechError
from voicecall.ports import (
    ALAW_8K,
    ULAW_8K,
    FinalTranscript,
    PartialTranscript,
    ReplyAudio,
    ReplyText,
    ToolCall,
    ToolUse,
    Turn,
)
from voicecall.speech.realtime.link import Limits, Link
from voicecall.speech.realtime.memory import Memory
from voicecall.speech.realtime.sockets import OpenAISockets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai import AsyncOpenAI
    from openai.types.websocket_connection_options import WebSocketConnectionOptions

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, Briefing, SpeechToSpeechEvent, SpeechToSpeechStream
    from voicecall.speech.realtime.link import Socket
    from voicecall.speech.realtime.sockets import Account, Manager

_log = logging.getLogger("voicecall.speech")

REPLY_ID: Final = "live"
"""The one reply of every conversation."""

_SERVICE = "OpenAI Live"
_FORMATS: Final[dict[AudioFormat, str]] = {ULAW_8K: "audio/pcmu", ALAW_8K: "audio/pcma"}
# An utterance is over when so much time passes without a word.
_PAUSE_NS = 1000 * NS_PER_MS
_QUIET_NS = 2 * NS_PER_S
_MAX_HISTORY = 128
# The vendor takes 500 tokens, which are about four characters each, fewer in some languages.
_MAX_CHARACTERS = 1000
_MAX_WAITING = 32
_SAY = 'Say this to the caller now, word for word, and nothing else: "{}"'
_CANNOT = "That cannot be done on this call. Tell the caller so."
_FAULT = "[A technical fault interrupted the call for a moment. Go on where you stopped.]"
# Audio never pauses, so its absence is noticed sooner than that of a reply.
LIVE_LIMITS: Final = Limits(stall_ms=5_000)
"""What suits a model that never stops sending."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How the model speaks.

    Attributes:
        model: its name.
        voice: its name.
        backend_model: a text model that the tools are given to and that tasks are delegated to;
            None when there is none, and then the model is told that tasks cannot be done.
        backend_instructions: for that model.
    """

    model: str
    voice: str
    backend_model: str | None = None
    backend_instructions: str | None = None


class OpenAILive:
    """The engine, shared by all calls; implements `ports.SpeechToSpeech`.

    Args:
        account: whose models.
        settings: how the model speaks.
        clock: the time.
        audio: `ULAW_8K` or `ALAW_8K`, both ways.
        limits: how long what may take.

    Raises:
        ConfigError: the model cannot take such audio.
    """

    def __init__(
        self,
        account: Account,
        settings: LiveSettings,
        *,
        clock: Clock,
        audio: AudioFormat = ULAW_8K,
        limits: Limits = LIVE_LIMITS,
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
        """False: there is one unending reply, `REPLY_ID`."""
        return False

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
        dialogue = LiveDialogue(self._settings, briefing, self._audio, self._clock)
        return Link(self._dial, dialogue, audio=self._audio, clock=self._clock, limits=self._limits)

    async def close(self) -> None:
        """Free the client."""
        await self._sockets.close()

    async def _dial(self) -> Socket:
        def manager(client: AsyncOpenAI, options: WebSocketConnectionOptions) -> Manager:
            return client.live.connect(websocket_connection_options=options)

        return await self._sockets.dial(manager)


@dataclass(slots=True)
class _Utterance:
    """What one side is saying.

    Attributes:
        key: in the memory.
        text: so far.
        at_ns: when its last fragment came.
    """

    key: str
    text: str
    at_ns: int


class LiveDialogue:
    """One conversation without I/O; implements `link.Dialogue`.

    Overflow rule: at most 32 things to be said wait for a connection; of more the oldest is
    forgotten.

    Args:
        settings: how the model speaks.
        briefing: who it is, and what came before.
        audio: how audio is coded, both ways.
        clock: the wall clock, on which the vendor says when a session ends.
    """

    def __init__(
        self, settings: LiveSettings, briefing: Briefing, audio: AudioFormat, clock: Clock
    ) -> None:
        self._settings = settings
        self._briefing = briefing
        self._audio = audio
        self._clock = clock
        self._memory = Memory(briefing.history)
        self._outbox: deque[str] = deque()
        self._waiting: deque[str] = deque(maxlen=_MAX_WAITING)
        self._utterances: dict[Speaker, _Utterance] = {}
        self._counter = 0
        self._open_calls: dict[str, ToolCall] = {}
        self._ready = False
        self._expires_ns: int | None = None
        self._spoke_ns = 0

    # --- the connection ---------------------------------------------------------------------

    @property
    def outbox(self) -> deque[str]:
        """Messages to be sent."""
        return self._outbox

    @property
    def ready(self) -> bool:
        """Whether the session has started."""
        return self._ready

    @property
    def due(self) -> bool:
        """Always while connected: the model never stops sending audio."""
        return self._ready

    @property
    def quiet(self) -> bool:
        """Whether nobody has spoken lately and no tool is being used."""
        return not self._open_calls and self._clock.now_ns() - self._spoke_ns >= _QUIET_NS

    @property
    def expires_ns(self) -> int | None:
        """When the vendor ends the session."""
        return self._expires_ns

    def opened(self, now_ns: int) -> None:
        """Speak first, as the vendor wants it."""
        del now_ns
        session: dict[str, Any] = {
            "model": self._settings.model,
            "instructions": self._briefing.instructions,
            "audio": {
                "format": {"type": _FORMATS[self._audio], "rate": self._audio.rate_hz},
                "output": {"voice": self._settings.voice},
            },
            "delegation": self._delegation(),
        }
        if history := self._history():
            session["input"] = history
        self._post({"type": "session.start", "session": session})

    def broken(self, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """End what was being said. Tools that are used are of no use to another connection."""
        speaking = Speaker.BOT in self._utterances or Speaker.USER in self._utterances
        if self._ready and speaking:
            self._waiting.appendleft(_FAULT)
        events = [*self._end(Speaker.USER), *self._end(Speaker.BOT)]
        self._outbox.clear()
        self._open_calls.clear()
        self._ready = False
        self._expires_ns = None
        self._spoke_ns = now_ns
        return events

    def tick(self, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """End utterances that are followed by a pause."""
        events: list[SpeechToSpeechEvent] = []
        for speaker, utterance in list(self._utterances.items()):
            if now_ns - utterance.at_ns >= _PAUSE_NS:
                events += self._end(speaker)
        return events

    def audio(self, audio: bytes, now_ns: int) -> str:
        """The message that carries the caller's audio."""
        del now_ns
        coded = binascii.b2a_base64(audio, newline=False).decode()
        return f'{{"type":"session.input_audio.append","audio":"{coded}"}}'

    def farewell(self) -> str | None:
        """Have the vendor settle the session."""
        return '{"type":"session.close"}' if self._ready else None

    # --- what is asked of it ------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Have it say `text`, at most about 1000 characters; it may choose other words."""
        self._comment(_SAY.format(text[:_MAX_CHARACTERS]))

    def prompt(self, text: str) -> None:
        """Have it react to `text`."""
        self._comment(text[:_MAX_CHARACTERS])

    def cancel(self) -> None:
        """Nothing: this model cannot be told to stop, and stops by itself."""

    def heard(self, reply_id: str, heard_ms: int) -> None:
        """Nothing: what it has sent was played, or is known to it as interrupted."""

    def tool_result(self, tool_call_id: str, output: str) -> None:
        """Tell the model behind; once it waits for no other tool, it goes on."""
        call = self._open_calls.pop(tool_call_id, None)
        if call is None:
            return
        use = ToolUse(call.name, call.arguments, output)
        self._memory.put(call.id, Turn(Speaker.BOT, "", use))
        item = {"type": "function_call_output", "call_id": call.id, "output": output}
        self._post({"type": "response.item.create", "item": item})
        if not self._open_calls:
            self._post({"type": "response.create"})

    # --- sending ------------------------------------------------------------------------------

    def _post(self, event: dict[str, Any]) -> None:
        self._outbox.append(orjson.dumps(event).decode())

    def _comment(self, content: str, delegation_id: str | None = None) -> None:
        if not self._ready:
            self._waiting.append(content)
            return
        event = {"type": "session.commentary.append", "content": content}
        self._post({**event, "delegation_id": delegation_id})

    def _delegation(self) -> dict[str, Any]:
        if self._settings.backend_model is None or not self._briefing.tools:
            return {"type": "client"}
        tools = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            }
            for tool in self._briefing.tools
        ]
        instructions = self._settings.backend_instructions or self._briefing.instructions
        backend = {"model": self._settings.backend_model, "instructions": instructions}
        return {"type": "responses", "responses": {**backend, "tools": tools}}

    def _history(self) -> list[dict[str, Any]]:
        """What was said before, in text, which is all that a session takes."""
        said = [turn for turn in self._memory.turns if turn.tool is None]
        return [_message(turn) for turn in said[-_MAX_HISTORY:]]

    # --- receiving ----------------------------------------------------------------------------

    def receive(self, message: bytes, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """What a message means; one that makes no sense means nothing.

        Raises:
            SpeechError: the session is refused, or over.
        """
        try:
            event = orjson.loads(message)
            handle = self._HANDLERS.get(event["type"])
            return () if handle is None else handle(self, event, now_ns)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # The error's text may hold what was said.
            _log.warning("a model sent an unusable event", extra={"kind": type(error).__name__})
            return ()

    def _on_started(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        left_ms = int(event["session"]["expires_at"]) * 1000 - self._clock.wall_ms()
        self._expires_ns = now_ns + left_ms * NS_PER_MS
        self._ready = True
        self._spoke_ns = now_ns
        waiting, self._waiting = self._waiting, deque(maxlen=_MAX_WAITING)
        for content in waiting:
            self._comment(content)
        return ()

    def _on_audio(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        audio = ReplyAudio(REPLY_ID, binascii.a2b_base64(event["delta"]))
        return (audio, *self.tick(now_ns)) if self._utterances else (audio,)

    def _on_caller(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        ended = self._end(Speaker.BOT)
        text = self._extend(Speaker.USER, str(event["delta"]), now_ns)
        return (*ended, PartialTranscript(text)) if text else ended

    def _on_bot(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        ended = self._end(Speaker.USER)
        delta = str(event["delta"])
        self._extend(Speaker.BOT, delta, now_ns)
        return (*ended, ReplyText(REPLY_ID, delta))

    def _extend(self, speaker: Speaker, delta: str, now_ns: int) -> str:
        utterance = self._utterances.get(speaker)
        if utterance is None:
            self._counter += 1
            utterance = self._utterances[speaker] = _Utterance(f"live-{self._counter}", "", now_ns)
        utterance.text += delta
        utterance.at_ns = self._spoke_ns = now_ns
        self._memory.tell(utterance.key, speaker, utterance.text)
        return utterance.text.strip()

    def _end(self, speaker: Speaker) -> Sequence[SpeechToSpeechEvent]:
        utterance = self._utterances.pop(speaker, None)
        if utterance is None or speaker is Speaker.BOT:
            return ()
        text = utterance.text.strip()
        return (FinalTranscript(text),) if text else ()

    def _on_delegation(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """The model wants something done; to us it does not even say what."""
        del now_ns
        delegation = event["delegation"]
        if delegation["target"] == "client":
            self._comment(_CANNOT, str(delegation["id"]))
        return ()

    def _on_backend(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """The model behind works: nested here are its own events."""
        del now_ns
        nested = event["event"]
        if nested["type"] == "response.failed":
            error = nested["response"].get("error") or {}
            _log.warning("a delegated task failed", extra={"status": error.get("code")})
        if nested["type"] != "response.output_item.done":
            return ()
        item = nested["item"]
        if item["type"] != "function_call":
            return ()
        call = ToolCall(str(item["call_id"]), str(item["name"]), str(item["arguments"]))
        self._open_calls[call.id] = call
        return (call,)

    def _on_closed(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        reason = str(event["reason"])
        raise SpeechError(
            f"{_SERVICE} ended the session: {reason}", retryable=reason != "content", status=reason
        )

    def _on_error(self, event: dict[str, Any], now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        del now_ns
        error = event["error"]
        code = error.get("code") or error["type"]
        if not self._ready:
            final = error["type"] in ("invalid_request_error", "authentication_error")
            raise SpeechError(
                f"{_SERVICE} refused the session: {code}", retryable=not final, status=code
            )
        _log.warning("a model reported an error", extra={"status": code})
        return ()

    _HANDLERS: Final = {
        "session.started": _on_started,
        "session.output_audio.delta": _on_audio,
        "session.input_transcript.delta": _on_caller,
        "session.output_transcript.delta": _on_bot,
        "session.delegation.created": _on_delegation,
        "response.event": _on_backend,
        "session.closed": _on_closed,
        "error": _on_error,
    }


def _message(turn: Turn) -> dict[str, Any]:
    user = turn.speaker is Speaker.USER
    content = {"type": "input_text" if user else "output_text", "text": turn.text}
    return {"type": "message", "role": "user" if user else "assistant", "content": [content]}
