"""ElevenLabs, one HTTP request a sentence; what its two ways of speaking share.

The audio comes as carriers want it.

Source: ElevenLabs API, `POST /v1/text-to-speech/{voice_id}/stream`.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import orjson

from voicecall.errors import SpeechError
from voicecall.ports import ULAW_8K
from voicecall.speech.tts.body import Patience, streamed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    import httpx

    from voicecall.ports import AudioFormat

SERVICE: Final = "ElevenLabs"
ORIGIN: Final = "https://api.elevenlabs.io"
OUTPUT_FORMAT: Final = "ulaw_8000"

_OK = 200
_PASSING = frozenset({408, 409, 425, 429})
_SERVER_ERRORS = 500
_MAX_REFUSAL_OCTETS = 64 * 1024
_MAX_CONNECTIONS = 128
_KEEPALIVE_S = 60.0
_QUOTA = "quota_exceeded"
_HINTS: Final[Mapping[int | str, str]] = {
    400: "check tts.elevenlabs",
    401: "check elevenlabs.apiKey",
    402: "the account's plan does not cover it",
    403: "the key may not use this voice or model",
    404: "check tts.elevenlabs.voiceId",
    422: "check the voice's settings, model and language",
    429: "too many requests at once for the account",
    _QUOTA: "the account has no characters left",
    "invalid_api_key": "check elevenlabs.apiKey",
    "voice_not_found": "check tts.elevenlabs.voiceId",
}
# A server's own words may repeat the text; names of errors do not.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class ElevenLabsAccount:
    """Whose voice, and where.

    Attributes:
        api_key: secret.
        base_url: of a server that speaks the same protocol, or of a region; None for the usual one.
    """

    api_key: str = field(repr=False)
    base_url: str | None = None

    def url(self, voice_id: str, action: str, *, schemes: Mapping[str, str] | None = None) -> str:
        """Where a voice does something.

        Args:
            voice_id: of the voice.
            action: the last part of the path.
            schemes: replacements for `http` and `https`.
        """
        parts = urlsplit(self.base_url or ORIGIN)
        path = parts.path.rstrip("/").removesuffix("/v1")
        path = f"{path}/v1/text-to-speech/{quote(voice_id, safe='')}/{action}"
        scheme = (schemes or {}).get(parts.scheme, parts.scheme)
        return parts._replace(scheme=scheme, path=path, query="", fragment="").geturl()


@dataclass(frozen=True, slots=True)
class ElevenLabsSettings:
    """How a text is spoken.

    Attributes:
        voice_id: of the voice.
        model: its id.
        language: ISO 639-1; None leaves it to the model.
        voice_settings: `stability`, `similarity_boost`, `style`, `use_speaker_boost`, `speed`; what
            is not there is left to the voice.
    """

    voice_id: str
    model: str
    language: str | None = None
    voice_settings: Mapping[str, float | bool] = field(default_factory=dict)


class ElevenLabsTextToSpeech:
    """The voice over HTTP, shared by all calls; implements `ports.TextToSpeech`.

    Args:
        account: whose, and where.
        settings: how a text is spoken.
        patience: how long it may take.
    """

    def __init__(
        self,
        account: ElevenLabsAccount,
        settings: ElevenLabsSettings,
        *,
        patience: Patience | None = None,
    ) -> None:
        self._account = account
        self._patience = patience or Patience()
        self._url = account.url(settings.voice_id, "stream")
        self._request: dict[str, Any] = {"model_id": settings.model}
        if settings.language is not None:
            self._request["language_code"] = settings.language
        if settings.voice_settings:
            self._request["voice_settings"] = dict(settings.voice_settings)
        self._loading = asyncio.Lock()
        self._client: httpx.AsyncClient | None = None
        self._failures: tuple[type[Exception], ...] = ()
        self._closed = False

    @property
    def output(self) -> AudioFormat:
        """Mu-law at 8 kHz, as most carriers code it."""
        return ULAW_8K

    async def prepare(self) -> None:
        """Make the client, off the event loop: certificates are read for it."""
        async with self._loading:
            if self._client is None and not self._closed:
                self._client, self._failures = await asyncio.to_thread(
                    _load, self._account, self._patience
                )

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`: audio as it comes.

        Closing the iterator closes the connection, which stops the synthesis.

        Raises:
            SpeechError: the server refused, broke off or took too long.
        """
        if not text.strip():
            return
        await self.prepare()
        if self._client is None:
            raise SpeechError(f"{SERVICE} was closed")
        response = _accepted(self._client, self._url, {"text": text, **self._request})
        body = streamed(response, _octets, service=SERVICE, patience=self._patience)
        try:
            async with aclosing(body) as pieces:
                async for piece in pieces:
                    yield piece
        except self._failures:
            # The original holds the request with its key: it is not chained.
            raise SpeechError(
                f"{SERVICE} could not be reached, or broke off", retryable=True
            ) from None

    async def close(self) -> None:
        """Close its connections, for good."""
        self._closed = True
        async with self._loading:
            client, self._client = self._client, None
        if client is not None:
            await client.aclose()


@asynccontextmanager
async def _accepted(
    client: httpx.AsyncClient, url: str, request: Mapping[str, Any]
) -> AsyncGenerator[httpx.Response]:
    """The response to a request that was not refused."""
    query = {"output_format": OUTPUT_FORMAT}
    async with client.stream("POST", url, params=query, json=request) as response:
        if response.status_code != _OK:
            raise refused(response.status_code, await _refusal(response))
        yield response


async def _refusal(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _MAX_REFUSAL_OCTETS:
            break
    return bytes(body)


def _octets(response: httpx.Response) -> AsyncIterator[bytes]:
    return response.aiter_bytes()


def _load(
    account: ElevenLabsAccount, patience: Patience
) -> tuple[httpx.AsyncClient, tuple[type[Exception], ...]]:
    # Takes a while to load, and not every server needs it.
    import httpx  # noqa: PLC0415

    connect_s, begin_s = patience.connect_ms / 1000, patience.begin_ms / 1000
    client = httpx.AsyncClient(
        headers={"xi-api-key": account.api_key},
        # Stricter deadlines are kept where the pieces are awaited.
        timeout=httpx.Timeout(begin_s + patience.gap_ms / 1000, connect=connect_s),
        limits=httpx.Limits(max_connections=_MAX_CONNECTIONS, keepalive_expiry=_KEEPALIVE_S),
    )
    return client, (httpx.HTTPError, httpx.StreamError)


def refused(status: int, body: bytes | None) -> SpeechError:
    """A request, or the handshake of a socket, was answered by an HTTP error.

    Args:
        status: of HTTP.
        body: as far as it is known.
    """
    name = _vendors_name(body or b"")
    hint = _HINTS.get(name or "") or _HINTS.get(status)
    told = f"HTTP {status} {name}" if name else f"HTTP {status}"
    return SpeechError(
        f"{SERVICE} refused ({told})" + (f"; {hint}" if hint else ""),
        retryable=name != _QUOTA and (status in _PASSING or status >= _SERVER_ERRORS),
        status=status,
    )


def error_name(value: object) -> str | None:
    """The vendor's name of an error, where it is but a name."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def hint_for(name: str | None) -> str:
    """What to do about an error of that name; empty where nobody knows."""
    hint = _HINTS.get(name or "")
    return f"; {hint}" if hint else ""


def _vendors_name(body: bytes) -> str | None:
    try:
        detail = orjson.loads(body)["detail"]
        # The older way, and the newer.
        return error_name(detail.get("status")) or error_name(detail.get("code"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
