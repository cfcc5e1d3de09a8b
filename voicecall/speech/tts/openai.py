"""The voice of a server that has OpenAI's `/v1/audio/speech`.

OpenAI's own models for it end in January 2027; the protocol stays, as other servers speak it.

Source: `POST /v1/audio/speech` as in the types of openai 3.54; PCM there is 24 kHz, mono, without a
header.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import AudioFormat
from voicecall.speech.tts.body import Patience, streamed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from openai import APIStatusError, AsyncOpenAI

    from voicecall.speech.realtime.sockets import Account

_SERVICE = "the speech server"
# Named, as the package would look for one in the environment.
_OPENAI_URL = "https://api.openai.com/v1"
_OUTPUT = AudioFormat("pcm16", 24000)
# What servers that do not know PCM send instead; it would be heard as noise.
_NOT_PCM = re.compile(r"audio/(mpeg|mp3|(x-|vnd\.)?wav|wave|ogg|opus|aac|flac|mp4)|text/|.*json")
_PASSING = frozenset({408, 409, 429})
_SERVER_ERRORS = 500
_QUOTA = "insufficient_quota"
_HINTS: Final[Mapping[int, str]] = {
    400: "it may not know the model, the voice or a setting",
    401: "check the API key of tts.openai",
    403: "the key may not use this model",
    404: "check tts.openai.model and tts.openai.baseUrl; it may have tts.openai.api realtime only",
    429: "the account's rate limit is reached",
}
# A server's own words may repeat the key or the text; names of errors do not.
_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")


@dataclass(frozen=True, slots=True)
class SpeechSettings:
    """How a text is spoken.

    Attributes:
        model: its name.
        voice: its name.
        instructions: how it is to sound; not every model takes them. None for none.
        speed: of speech, 0.25 to 4.
    """

    model: str
    voice: str
    instructions: str | None = None
    speed: float = 1.0


class OpenAITextToSpeech:
    """The voice, shared by all calls; implements `ports.TextToSpeech`.

    Args:
        account: whose, and where.
        settings: how a text is spoken.
        patience: how long it may take.
    """

    def __init__(
        self, account: Account, settings: SpeechSettings, *, patience: Patience | None = None
    ) -> None:
        self._account = account
        self._patience = patience or Patience()
        self._request: dict[str, Any] = {
            "model": settings.model,
            "voice": settings.voice,
            "response_format": "pcm",
        }
        # Servers that do not know them refuse what could be left out.
        if settings.instructions:
            self._request["instructions"] = settings.instructions
        if settings.speed != 1:
            self._request["speed"] = settings.speed
        self._loading = asyncio.Lock()
        self._client: AsyncOpenAI | None = None
        self._failures: tuple[type[Exception], ...] = ()
        self._closed = False

    @property
    def output(self) -> AudioFormat:
        """PCM16 at 24 kHz."""
        return _OUTPUT

    async def prepare(self) -> None:
        """Load the package and make its client, off the event loop.

        Raises:
            DependencyMissing: the package is not installed.
        """
        async with self._loading:
            if self._client is None and not self._closed:
                self._client, self._failures = await asyncio.to_thread(
                    _load, self._account, self._patience
                )

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`, at most 4096 characters: audio as it comes, odd pieces included.

        Closing the iterator closes the connection, which stops the synthesis.

        Raises:
            DependencyMissing: the package is not installed.
            SpeechError: the server refused, broke off or took too long.
        """
        if not text.strip():
            return
        await self.prepare()
        if self._client is None:
            raise SpeechError(f"{_SERVICE} was closed")
        speech = self._client.audio.speech.with_streaming_response
        response = speech.create(input=text, **self._request)
        body = streamed(response, _pcm, service=_SERVICE, patience=self._patience)
        try:
            async with aclosing(body) as pieces:
                async for piece in pieces:
                    yield piece
        except self._failures as error:
            # The original holds the request with its key: it is not chained.
            raise _told(error) from None

    async def close(self) -> None:
        """Close its connections, for good."""
        self._closed = True
        async with self._loading:
            client, self._client = self._client, None
        if client is not None:
            await client.close()


def _pcm(response: Any) -> AsyncIterator[bytes]:  # noqa: ANN401  (a type that is loaded late)
    kind = response.headers.get("content-type", "")
    if _NOT_PCM.match(kind):
        raise SpeechError(f"{_SERVICE} sends {kind.partition(';')[0]} instead of PCM")
    # Without a size: pieces as they come, not once they are full.
    body: AsyncIterator[bytes] = response.iter_bytes()
    return body


def _load(account: Account, patience: Patience) -> tuple[AsyncOpenAI, tuple[type[Exception], ...]]:
    try:
        # An optional package, and a large one, and what it depends on.
        import httpx2  # noqa: PLC0415
        from openai import AsyncOpenAI, OpenAIError  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing(
            "openai is not installed: pip install 'voicecall[openai]'"
        ) from error
    connect_s, begin_s = patience.connect_ms / 1000, patience.begin_ms / 1000
    client = AsyncOpenAI(
        api_key=account.api_key,
        base_url=account.base_url or _OPENAI_URL,
        # Stricter deadlines are kept where the pieces are awaited.
        timeout=httpx2.Timeout(begin_s + patience.gap_ms / 1000, connect=connect_s),
        max_retries=0,
    )
    asyncio.run(_rehearse())
    return client, (OpenAIError, httpx2.HTTPError, httpx2.StreamError)


async def _rehearse() -> None:
    """Have the package speak once, with nobody on the other side.

    It loads and compiles much of itself for its first request, in which time every call's audio
    would stop.
    """
    import httpx2  # noqa: PLC0415  (loaded by now)
    from openai import AsyncOpenAI  # noqa: PLC0415

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(200)))
    async with AsyncOpenAI(api_key="unused", base_url=_OPENAI_URL, http_client=http) as client:
        speech = client.audio.speech.with_streaming_response
        async with speech.create(model="", voice="", input="", response_format="pcm") as response:
            _ = [piece async for piece in response.iter_bytes()]


def _told(error: Exception) -> SpeechError:
    from openai import APIStatusError, APITimeoutError  # noqa: PLC0415  (raised by it: loaded)

    if isinstance(error, APIStatusError):
        return _refusal(error)
    if isinstance(error, APITimeoutError):
        return SpeechError(f"{_SERVICE} did not answer in time", retryable=True)
    return SpeechError(f"{_SERVICE} could not be reached, or broke off", retryable=True)


def _refusal(error: APIStatusError) -> SpeechError:
    status = error.status_code
    names = [
        name
        for name in (error.code or error.type, error.param)
        if isinstance(name, str) and _NAME.fullmatch(name)
    ]
    quota = _QUOTA in names
    hint = "the account has no credit left" if quota else _HINTS.get(status)
    told = " ".join([f"HTTP {status}", *names])
    return SpeechError(
        f"{_SERVICE} refused ({told})" + (f"; {hint}" if hint else ""),
        retryable=not quota and (status in _PASSING or status >= _SERVER_ERRORS),
        status=status,
    )
