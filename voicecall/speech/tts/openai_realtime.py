"""OpenAI Realtime as a voice: a conversational model that is told to read aloud.

Every sentence is a response of its own, outside of any conversation, so that sentences of different
calls share sockets and know nothing of each other. The audio comes as carriers want it. The model
rewords what it reads now and then; what it says it has read is compared with what it was to read,
and differences are counted and logged.

Source: OpenAI Realtime API, general availability, as in the types of openai 3.54.
"""

from __future__ import annotations

import base64
import difflib
import logging
import re
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from voicecall.errors import SpeechError
from voicecall.ports import ULAW_8K
from voicecall.speech.realtime.sockets import OpenAISockets
from voicecall.speech.tts.pool import End, Piece, SentencePool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from openai import AsyncOpenAI
    from openai.types.websocket_connection_options import WebSocketConnectionOptions

    from voicecall.ports import AudioFormat
    from voicecall.speech.realtime.link import Socket
    from voicecall.speech.realtime.sockets import Account, Manager
    from voicecall.speech.tts.pool import Dialect, Limits, Spoken

_log = logging.getLogger("voicecall.speech")

_SERVICE = "OpenAI's voice"
_VERBATIM = (
    "Read the user's text aloud exactly, word for word, in the language it is written in. "
    "Add nothing, leave nothing out, answer nothing."
)
_SPEEDS = (0.25, 1.5)
_KEY = "sentence"
# Error types that the same request may get rid of.
_TRANSIENT = frozenset({"server_error", "rate_limit_error", "api_error", "overloaded_error"})
# Errors after which the socket is of no use; another one is.
_OVER = frozenset({"session_expired"})
# What the same request would end with again.
_FINAL_REASONS = frozenset({"content_filter", "insufficient_quota"})
# A sentence that has just ended cannot be stopped any more.
_HARMLESS = frozenset({"response_cancel_not_active"})
_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_WORD = re.compile(r"[^\W\d_]+")
_SIMILAR = 0.75


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """How the model reads.

    Attributes:
        model: its name.
        voice: its name.
        instructions: how it is to sound; None leaves it to the model.
        speed: of speech; the model takes 0.25 to 1.5, what is beyond is brought there.
    """

    model: str
    voice: str
    instructions: str | None = None
    speed: float = 1.0


class OpenAIRealtimeTextToSpeech:
    """The voice, shared by all calls; implements `ports.TextToSpeech`.

    Args:
        account: whose.
        settings: how the model reads.
        limits: how much at once, and how long what may take.

    Attributes:
        reworded: how many sentences the model has not read as they were written.
    """

    def __init__(
        self, account: Account, settings: ReadingSettings, *, limits: Limits | None = None
    ) -> None:
        self._settings = settings
        self._sockets = OpenAISockets(account, _SERVICE)
        self._pool = SentencePool(self._connect, service=_SERVICE, audio=ULAW_8K, limits=limits)
        self.reworded = 0

    @property
    def output(self) -> AudioFormat:
        """Mu-law at 8 kHz, as most carriers code it."""
        return ULAW_8K

    async def prepare(self) -> None:
        """Load the packages and open the first socket; that it cannot be opened is only logged.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: the account cannot be used.
        """
        await self._sockets.prepare()
        await self._pool.prepare()

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`: audio as it comes. Closing the iterator stops the model.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: the model refused, broke off or took too long.
        """
        if not text.strip():
            return
        await self._sockets.prepare()
        async with aclosing(self._pool.speak(text)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Close all sockets; sentences in progress fail."""
        await self._pool.close()
        await self._sockets.close()

    async def _connect(self) -> tuple[Socket, Dialect]:
        socket = await self._sockets.dial(self._manager)
        try:
            await _configure(socket, self._settings)
        except BaseException:
            await socket.close()
            raise
        return socket, ReadingDialect(self._settings, self._compare)

    def _manager(self, client: AsyncOpenAI, options: WebSocketConnectionOptions) -> Manager:
        return client.realtime.connect(
            model=self._settings.model, websocket_connection_options=options
        )

    def _compare(self, text: str, said: str) -> None:
        likeness = similarity(text, said)
        if likeness < _SIMILAR:
            self.reworded += 1
            _log.warning(
                "a model reworded what it was to read",
                extra={"likeness": round(likeness, 2), "pii_text": text, "pii_said": said},
            )


async def _configure(socket: Socket, settings: ReadingSettings) -> None:
    """Make a new session one that reads; whoever calls this limits its time.

    Raises:
        SpeechError: the server refuses.
    """
    await _expect(socket, "session.created")
    await socket.send(_written(_session_update(settings)))
    await _expect(socket, "session.updated")


async def _expect(socket: Socket, wanted: str) -> None:
    while True:
        try:
            event = orjson.loads(await socket.receive())
            kind = event["type"]
            if kind == "error":
                raise _refusal(event["error"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SpeechError(f"{_SERVICE}: the server sends no events", retryable=True) from error
        if kind == wanted:
            return


def _session_update(settings: ReadingSettings) -> dict[str, Any]:
    return {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "instructions": _instructions(settings),
            "output_modalities": ["audio"],
            "audio": {
                "input": {"turn_detection": None},
                "output": {
                    "format": {"type": "audio/pcmu"},
                    "voice": settings.voice,
                    "speed": max(_SPEEDS[0], min(_SPEEDS[1], settings.speed)),
                },
            },
        },
    }


def _instructions(settings: ReadingSettings) -> str:
    return f"{_VERBATIM}\n\n{settings.instructions}" if settings.instructions else _VERBATIM


class ReadingDialect:
    """One session in which sentences are read, without I/O; implements `pool.Dialect`.

    Args:
        settings: how the model reads.
        compare: told each text that was read to its end, and what the model says it has read.
    """

    def __init__(self, settings: ReadingSettings, compare: Callable[[str, str], None]) -> None:
        self._instructions = _instructions(settings)
        self._compare = compare
        self._texts: dict[str, str] = {}
        # Keys of sentences by their response's id, once that is known, and the other way round.
        self._keys: dict[str, str] = {}
        self._responses: dict[str, str] = {}
        self._stopped: set[str] = set()
        self.outbox: deque[str] = deque()

    def say(self, key: str, text: str) -> None:
        """Have a sentence read, outside of the session's conversation."""
        self._texts[key] = text
        content = [{"type": "input_text", "text": text}]
        response = {
            "conversation": "none",
            "output_modalities": ["audio"],
            "metadata": {_KEY: key},
            "instructions": self._instructions,
            "input": [{"type": "message", "role": "user", "content": content}],
        }
        # An error names the event that it is about.
        event = {"type": "response.create", "event_id": key, "response": response}
        self.outbox.append(_written(event))

    def stop(self, key: str) -> None:
        """Cancel a sentence, now or as soon as it has an id."""
        if key not in self._texts:
            return
        self._stopped.add(key)
        if (response_id := self._responses.get(key)) is not None:
            self._cancel(response_id)

    def rest(self) -> None:
        """Nothing: sockets are kept alive by pings."""

    def receive(self, message: bytes) -> Sequence[Spoken]:
        """What an event means."""
        event = orjson.loads(message)
        handle = self._HANDLERS.get(event["type"])
        return () if handle is None else handle(self, event)

    def _cancel(self, response_id: str) -> None:
        self.outbox.append(_written({"type": "response.cancel", "response_id": response_id}))

    def _on_created(self, event: Mapping[str, Any]) -> Sequence[Spoken]:
        response = event["response"]
        key = (response.get("metadata") or {}).get(_KEY)
        if key not in self._texts:
            # Never guessed: another caller would hear it.
            _log.warning("a model reads something that it was not asked to")
            self._cancel(response["id"])
            return ()
        self._keys[response["id"]] = key
        self._responses[key] = response["id"]
        if key in self._stopped:
            self._cancel(response["id"])
        return ()

    def _on_audio(self, event: Mapping[str, Any]) -> Sequence[Spoken]:
        key = self._keys.get(event["response_id"])
        return () if key is None else (Piece(key, base64.b64decode(event["delta"])),)

    def _on_transcript(self, event: Mapping[str, Any]) -> Sequence[Spoken]:
        key = self._keys.get(event["response_id"])
        if key is not None and key not in self._stopped:
            self._compare(self._texts[key], str(event["transcript"]))
        return ()

    def _on_done(self, event: Mapping[str, Any]) -> Sequence[Spoken]:
        response = event["response"]
        key = self._keys.pop(response["id"], None)
        if key is None:
            return ()
        stopped = key in self._stopped
        self._forget(key)
        if stopped or response["status"] == "completed":
            return (End(key),)
        return (End(key, _unfinished(response)),)

    def _on_error(self, event: Mapping[str, Any]) -> Sequence[Spoken]:
        error = event["error"]
        key, code = error.get("event_id"), error.get("code")
        if code in _OVER:
            raise SpeechError(f"{_SERVICE}: the session is over", retryable=True, status=code)
        if key in self._texts and key not in self._responses:
            self._forget(key)
            return (End(key, _refusal(error)),)
        if code not in _HARMLESS:
            _log.warning("a model reported an error", extra={"status": _name(code)})
        return ()

    def _forget(self, key: str) -> None:
        self._texts.pop(key, None)
        self._responses.pop(key, None)
        self._stopped.discard(key)

    _HANDLERS: Final = {
        "response.created": _on_created,
        "response.output_audio.delta": _on_audio,
        "response.output_audio_transcript.done": _on_transcript,
        "response.done": _on_done,
        "error": _on_error,
    }


def similarity(text: str, said: str) -> float:
    """How alike two texts sound: 1 for the same words, 0 for quite others.

    Numbers are left out, as they are written in many ways.
    """
    words, others = _WORD.findall(text.casefold()), _WORD.findall(said.casefold())
    return difflib.SequenceMatcher(None, words, others, autojunk=False).ratio()


def _written(event: Mapping[str, Any]) -> str:
    return orjson.dumps(event).decode()


def _name(value: object) -> str | None:
    """The vendor's name of something, where it is but a name: its sentences may repeat ours."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _refusal(error: Mapping[str, Any]) -> SpeechError:
    names = [name for name in (_name(error.get("code")), _name(error.get("param"))) if name]
    told = f" ({' '.join(names)})" if names else ""
    return SpeechError(
        f"{_SERVICE} refused{told}; check the model, the voice and the key of tts.openai",
        retryable=error.get("type") in _TRANSIENT,
        status=_name(error.get("code")),
    )


def _unfinished(response: Mapping[str, Any]) -> SpeechError:
    details = response.get("status_details") or {}
    error = details.get("error") or {}
    reason = _name(error.get("code")) or _name(details.get("reason")) or _name(response["status"])
    return SpeechError(
        f"{_SERVICE} broke off ({reason})",
        retryable=reason not in _FINAL_REASONS,
        status=reason,
    )
