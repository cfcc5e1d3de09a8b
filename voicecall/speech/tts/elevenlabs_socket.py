"""ElevenLabs over its multi-context socket: no request, no handshake for a sentence.

Every sentence is a context of its own. All of its text is known, so it is sent at once, flushed and
closed: only a context that is closed says when its audio is complete, and one that was flushed
before is spoken to its end. That end cannot be prevented; of a sentence that is not wanted any more
the rest is dropped, and its place on the socket stays taken until it has come, as a sixth context
would cost all others the socket.

Source: ElevenLabs API, `/v1/text-to-speech/{voice_id}/multi-stream-input`, and the messages in the
types of elevenlabs 2.78.
"""

from __future__ import annotations

import base64
import logging
from collections import deque
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson

from voicecall.errors import SpeechError
from voicecall.ports import ULAW_8K
from voicecall.speech.tts.elevenlabs import (
    OUTPUT_FORMAT,
    SERVICE,
    error_name,
    hint_for,
    refused,
)
from voicecall.speech.tts.pool import End, Limits, Piece, SentencePool
from voicecall.speech.websocket import SCHEMES, ServiceAddress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from voicecall.ports import AudioFormat
    from voicecall.speech.realtime.link import Socket
    from voicecall.speech.tts.elevenlabs import ElevenLabsAccount, ElevenLabsSettings
    from voicecall.speech.tts.pool import Dialect, Spoken

_log = logging.getLogger("voicecall.speech")

# The server's own bounds; one more context than that closes the socket.
MAX_CONTEXTS: Final = 5
_INACTIVITY_TIMEOUT_S = 180
_MAX_MESSAGE_OCTETS = 16 * 1024 * 1024
# Errors that another socket does not get rid of.
_FINAL_NAMES = frozenset(
    {
        "authentication_error",
        "invalid_api_key",
        "missing_permissions",
        "model_not_found",
        "quota_exceeded",
        "voice_disabled",
        "voice_not_found",
    }
)


class ElevenLabsSocketTextToSpeech:
    """The voice over sockets that all calls share; implements `ports.TextToSpeech`.

    Args:
        account: whose, and where.
        settings: how a text is spoken.
        limits: how much at once, and how long what may take; of sentences on a socket the server
            takes no more than five, and its sockets rest for at most three minutes.
    """

    def __init__(
        self,
        account: ElevenLabsAccount,
        settings: ElevenLabsSettings,
        *,
        limits: Limits | None = None,
    ) -> None:
        query = {
            "model_id": settings.model,
            "output_format": OUTPUT_FORMAT,
            # Sentences come whole: nothing is to wait for more text.
            "auto_mode": "true",
            "inactivity_timeout": str(_INACTIVITY_TIMEOUT_S),
        }
        if settings.language is not None:
            query["language_code"] = settings.language
        url = account.url(settings.voice_id, "multi-stream-input", schemes=SCHEMES)
        self._address = ServiceAddress(
            f"{url}?{urlencode(query)}",
            {"xi-api-key": account.api_key},
            _explained,
            extra="elevenlabs",
            max_message_octets=_MAX_MESSAGE_OCTETS,
        )
        self._voice_settings = dict(settings.voice_settings)
        # Four, by default: it is not documented whether what keeps a socket alive is the fifth.
        limits = limits or Limits()
        limits = replace(limits, sentences=min(limits.sentences, MAX_CONTEXTS))
        self._pool = SentencePool(self._connect, service=SERVICE, audio=ULAW_8K, limits=limits)

    @property
    def output(self) -> AudioFormat:
        """Mu-law at 8 kHz, as most carriers code it."""
        return ULAW_8K

    async def prepare(self) -> None:
        """Load the package and open the first socket; that it cannot be opened is only logged.

        Raises:
            DependencyMissing: the package is not installed.
        """
        await self._address.prepare()
        await self._pool.prepare()

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`: audio as it comes. Closing the iterator drops the rest.

        Raises:
            DependencyMissing: the package is not installed.
            SpeechError: the server refused, broke off or took too long.
        """
        if not text.strip():
            return
        await self._address.prepare()
        async with aclosing(self._pool.speak(text)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Close all sockets; sentences in progress fail."""
        await self._pool.close()

    async def _connect(self) -> tuple[Socket, Dialect]:
        return await self._address.open(), ContextDialect(self._voice_settings)


def _explained(error: Exception) -> SpeechError:
    """The failure in our terms, without the vendor's sentences."""
    response = getattr(error, "response", None)
    if (status := getattr(response, "status_code", None)) is not None:
        return refused(status, getattr(response, "body", None))
    received = getattr(error, "rcvd", None)
    if received is not None:
        code = int(received.code)
        # What it is about came as a message before; limits and timeouts have the same code.
        return SpeechError(
            f"{SERVICE} closed the connection with code {code}", retryable=True, status=code
        )
    if isinstance(error, TimeoutError):
        return SpeechError(f"{SERVICE} did not answer in time", retryable=True)
    return SpeechError(f"the connection to {SERVICE} failed", retryable=True)


class ContextDialect:
    """One socket's contexts, without I/O; implements `pool.Dialect`.

    Args:
        voice_settings: what is told with each context.
    """

    def __init__(self, voice_settings: Mapping[str, float | bool]) -> None:
        self._begin: dict[str, Any] = {"text": " "}
        if voice_settings:
            self._begin["voice_settings"] = dict(voice_settings)
        self._contexts: set[str] = set()
        self.outbox: deque[str] = deque()

    def say(self, key: str, text: str) -> None:
        """Open a context, have all of it spoken, and close it."""
        self._contexts.add(key)
        self._send({**self._begin, "context_id": key})
        # A text that does not end with a space may be continued.
        self._send({"text": f"{text.strip()} ", "context_id": key, "flush": True})
        self._send({"context_id": key, "close_context": True})

    def stop(self, key: str) -> None:
        """Nothing: its context is closed, and is spoken to its end."""

    def rest(self) -> None:
        """Without it a silent socket is closed after `inactivity_timeout`."""
        self._send({"text": ""})

    def receive(self, message: bytes) -> Sequence[Spoken]:
        """What a message means."""
        event = orjson.loads(message)
        key = event.get("contextId") or event.get("context_id")
        if event.get("error") is not None:
            return self._failed(key, event)
        if key not in self._contexts:
            return ()
        spoken: list[Spoken] = []
        if event.get("audio"):
            spoken.append(Piece(key, base64.b64decode(event["audio"])))
        if event.get("isFinal") or event.get("is_final"):
            self._contexts.discard(key)
            spoken.append(End(key))
        return spoken

    def _failed(self, key: str | None, event: Mapping[str, Any]) -> Sequence[Spoken]:
        name = error_name(event["error"])
        error = SpeechError(
            f"{SERVICE} failed ({name or event.get('code')}){hint_for(name)}",
            retryable=name not in _FINAL_NAMES,
            status=name,
        )
        if key not in self._contexts:
            # It is about the socket, which the server closes then.
            raise error
        self._contexts.discard(key)
        return (End(key, error),)

    def _send(self, message: Mapping[str, Any]) -> None:
        self.outbox.append(orjson.dumps(message).decode())
