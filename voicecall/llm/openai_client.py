"""OpenAI's package: loaded when it is wanted, and failing in our terms."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from voicecall.errors import DependencyMissing, SpeechError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from openai import APIError, AsyncOpenAI

OPENAI_URL: Final = "https://api.openai.com/v1"
_OPENAI_DOMAIN = "api.openai.com"
# Servers that want no key still want the header.
_NO_KEY = "unused"

_HINTS: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "the model may know no tools, or not this setting",
    HTTPStatus.UNAUTHORIZED: "check openai.apiKey",
    HTTPStatus.FORBIDDEN: "the key may not use this model",
    HTTPStatus.NOT_FOUND: "check responseModel and openai.baseUrl",
    HTTPStatus.TOO_MANY_REQUESTS: "the account's rate limit is reached",
}
_QUOTA = "insufficient_quota"
_PASSING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_REHEARSAL: Final[Mapping[str, list[dict[str, Any]]]] = {
    "chat": [{"choices": [{"index": 0, "delta": {"content": ""}}]}],
    "responses": [
        {"type": "response.output_text.delta", "delta": ""},
        {"type": "response.output_item.done", "item": {"type": "function_call"}},
        {"type": "response.completed", "response": {"output": []}},
    ],
}
# A server's own words may repeat the key or the conversation; names of errors do not.
_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")


@dataclass(frozen=True, slots=True)
class Account:
    """Whose models are used, and where they are.

    Attributes:
        api_key: secret; None for servers that want none.
        base_url: of a server that speaks OpenAI's protocols, with its version; None is OpenAI's.
        connect_timeout_ms: until a connection is open.
        read_timeout_ms: how long nothing may come; replies have stricter deadlines of their own.
    """

    api_key: str | None = field(repr=False)
    base_url: str | None = None
    connect_timeout_ms: int = 2_000
    read_timeout_ms: int = 60_000

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI itself, which knows settings that other servers refuse."""
        host = urlsplit(self.base_url or OPENAI_URL).hostname or ""
        return host == _OPENAI_DOMAIN or host.endswith(f".{_OPENAI_DOMAIN}")


class OpenAIClient:
    """The package's client, one for all calls.

    Args:
        account: whose.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self._client: AsyncOpenAI | None = None
        self._loading = asyncio.Lock()
        self._closed = False

    async def prepare(self) -> None:
        """Load the package and make its client, off the event loop, unless that is done.

        Raises:
            DependencyMissing: the package is not installed.
        """
        async with self._loading:
            if self._client is None:
                self._client = await asyncio.to_thread(_load, self.account)

    async def connected(self) -> AsyncOpenAI:
        """The package's client.

        Raises:
            DependencyMissing: the package is not installed.
            SpeechError: there is no key for it, or it was closed.
        """
        if self.account.is_openai and not self.account.api_key:
            raise SpeechError("openai.apiKey is not set; OpenAI answers nobody without")
        if self._closed:
            raise SpeechError("the model's client was closed")
        if self._client is None:
            await self.prepare()
        if self._client is None:
            raise SpeechError("the model's client was closed")
        return self._client

    async def close(self) -> None:
        """Close its connections, for good."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close()


@contextmanager
def failing_as_speech_error() -> Generator[None]:
    """Have what the package raises in the block raised as `SpeechError`, without secrets."""
    from openai import APIError, OpenAIError  # noqa: PLC0415  (who is here has loaded it)

    try:
        yield
    # The originals hold the request with its key and all that was said: they are not chained.
    except APIError as error:
        raise _told(error) from None
    except OpenAIError:
        raise SpeechError("the model's client failed") from None
    except ValueError:
        raise SpeechError("the model's server sent what is not an event") from None


def failure(code: object, *, retryable: bool = True) -> SpeechError:
    """The model reports that a reply failed.

    Args:
        code: the server's name of the reason, as it came.
        retryable: whether it may succeed later.
    """
    name = _named(code)
    hint = f" ({name})" if name else ""
    return SpeechError(f"the model failed{hint}", retryable=retryable, status=name)


def text_of(event: object, name: str) -> str:
    """A text in an event of the package, which hands on whatever a server sent.

    Raises:
        SpeechError: it is not there, or is no text.
    """
    value = getattr(event, name, None)
    if not isinstance(value, str):
        raise SpeechError(f"an event of the model's server has no {name}")
    return value


def _load(account: Account) -> AsyncOpenAI:
    try:
        from openai import AsyncOpenAI, Timeout  # noqa: PLC0415  (large, and not everybody has it)
    except ImportError as error:
        raise DependencyMissing(
            "replies by OpenAI or a compatible server need pip install 'voicecall[openai]'"
        ) from error
    client = AsyncOpenAI(
        api_key=account.api_key or _NO_KEY,
        # Named, as the package would look for one in the environment.
        base_url=account.base_url or OPENAI_URL,
        timeout=Timeout(account.read_timeout_ms / 1000, connect=account.connect_timeout_ms / 1000),
        # It would wait as long as a server asks for, with nobody speaking on the line.
        max_retries=0,
    )
    asyncio.run(_rehearse())
    return client


async def _rehearse() -> None:
    """Have replies by both APIs read once, with nobody on the other side.

    The package loads and compiles much of itself for its first reply: a quarter of a second in
    which a call's audio would stop.
    """
    import httpx2  # noqa: PLC0415  (comes with the package)
    from openai import AsyncOpenAI  # noqa: PLC0415

    def answer(request: httpx2.Request) -> httpx2.Response:
        events = _REHEARSAL["chat" if request.url.path.endswith("completions") else "responses"]
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=body)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with AsyncOpenAI(api_key=_NO_KEY, base_url=OPENAI_URL, http_client=http) as client:
        async with await client.responses.create(model="", input="", stream=True) as events:
            _: list[object] = [event async for event in events]
        chat = client.chat.completions
        async with await chat.create(model="", messages=[], stream=True) as chunks:
            _ = [chunk async for chunk in chunks]


def _told(error: APIError) -> SpeechError:
    from openai import APIConnectionError, APIStatusError, APITimeoutError  # noqa: PLC0415

    if isinstance(error, APITimeoutError):
        return SpeechError("the model's server did not answer in time", retryable=True)
    if isinstance(error, APIConnectionError):
        return SpeechError("the model's server could not be reached, or broke off", retryable=True)
    if not isinstance(error, APIStatusError):
        return failure(error.code or error.type)
    return _refusal(error)


def _refusal(error: Any) -> SpeechError:  # noqa: ANN401  (an APIStatusError; loaded elsewhere)
    status = int(error.status_code)
    named = [name for name in map(_named, (error.code or error.type, error.param)) if name]
    hint = _HINTS.get(status)
    quota = _QUOTA in named
    if quota:
        hint = "the account has no credit left"
    detail = " ".join([f"HTTP {status}", *named])
    return SpeechError(
        f"the model's server refused ({detail})" + (f"; {hint}" if hint else ""),
        retryable=not quota and (status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR),
        status=status,
    )


def _named(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None
