"""OpenAI's sockets: opened with the vendor's package, and failing in our terms."""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson

from voicecall.errors import DependencyMissing, SpeechError

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai import AsyncOpenAI
    from openai.types.websocket_connection_options import WebSocketConnectionOptions

_log = logging.getLogger("voicecall.speech")

_CLOSE_TIMEOUT_S = 1.0
_PING_S = 10.0
_MAX_MESSAGE_OCTETS = 16 * 1024 * 1024
# What the first connection would load on the event loop.
_LOADED_BY_USE = (
    "openai.resources.live.live",
    "openai.resources.realtime.realtime",
    "openai.lib._websocket",
    "websockets.asyncio.client",
)
# HTTP statuses that the same request will not get rid of.
_FINAL_STATUSES = frozenset({400, 401, 403, 404, 405, 410, 422})
# Close codes that say so: RFC 6455 (policy violation, unacceptable data), and the vendor's own.
_FINAL_CODES = frozenset({1003, 1008})
_VENDOR_CODES = range(4000, 5000)
_NAME = re.compile(r"[A-Za-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class Account:
    """Whose models are used, and where they are.

    Attributes:
        api_key: secret; not empty, even where the server wants none.
        base_url: of a server that speaks the same protocols, such as `http://127.0.0.1:8765/v1`;
            None for OpenAI's own.
        connect_timeout_ms: from the first packet to an open socket.
    """

    api_key: str = field(repr=False)
    base_url: str | None = None
    connect_timeout_ms: int = 5_000


class Connection(Protocol):
    """What the package's connections have in common, as far as it is used here."""

    async def send_raw(self, data: bytes | str) -> None:
        """Send one message."""
        ...

    async def recv_bytes(self) -> bytes:
        """The next message, not decoded."""
        ...

    async def close(self) -> None:
        """Close the socket."""
        ...


class Manager(Protocol):
    """What the package connects with."""

    async def enter(self) -> Connection:
        """Open the socket."""
        ...


class OpenAISockets:
    """Opens sockets with one client, shared by all calls.

    Args:
        account: whose.
        service: what to call it in errors.
    """

    def __init__(self, account: Account, service: str) -> None:
        self._account = account
        self._service = service
        self._loading = asyncio.Lock()
        self._client: AsyncOpenAI | None = None
        self._options: dict[str, Any] = {}
        self._failures: tuple[type[Exception], ...] = (OSError, TimeoutError)

    async def prepare(self) -> None:
        """Load the packages and make the client, off the loop: the first import takes a second.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: the account cannot be used.
        """
        async with self._loading:
            if self._client is None:
                await asyncio.to_thread(self._load)

    async def dial(
        self, manager: Callable[[AsyncOpenAI, WebSocketConnectionOptions], Manager]
    ) -> OpenAISocket:
        """Open a socket.

        Args:
            manager: given the client and options for the socket, what the package connects with.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: it cannot be opened.
        """
        await self.prepare()
        if self._client is None:
            raise SpeechError(f"{self._service} is closed")
        try:
            async with asyncio.timeout(self._account.connect_timeout_ms / 1000):
                options = cast("WebSocketConnectionOptions", self._options)
                connection = await manager(self._client, options).enter()
        except self._failures as error:
            raise explained(error, self._service) from error
        return OpenAISocket(connection, self._failures, self._service)

    async def close(self) -> None:
        """Free the client; sockets that are open stay open."""
        async with self._loading:
            client, self._client = self._client, None
            if client is not None:
                await client.close()

    def _load(self) -> None:
        try:
            # Optional packages, and large ones.
            from openai import AsyncOpenAI, OpenAIError  # noqa: PLC0415
            from websockets.exceptions import WebSocketException  # noqa: PLC0415

            for name in _LOADED_BY_USE:
                importlib.import_module(name)
        except ImportError as error:
            raise DependencyMissing(
                "openai or websockets is not installed: pip install 'voicecall[openai]'"
            ) from error
        self._failures = (OSError, TimeoutError, WebSocketException, OpenAIError)
        try:
            client = AsyncOpenAI(
                api_key=self._account.api_key, base_url=self._account.base_url, max_retries=0
            )
        except OpenAIError as error:
            raise SpeechError(f"{self._service}: the account cannot be used") from error
        self._options = {
            "close_timeout": _CLOSE_TIMEOUT_S,
            "ping_interval": _PING_S,
            "ping_timeout": _PING_S,
            "max_size": _MAX_MESSAGE_OCTETS,
            "compression": None,
        }
        if client.base_url.scheme in ("https", "wss"):
            # Else made anew for each socket, on the loop, which takes tens of milliseconds.
            self._options["ssl"] = ssl.create_default_context()
        self._client = client


class OpenAISocket:
    """One open socket; implements `link.Socket`.

    Args:
        connection: the package's.
        failures: what it may raise.
        service: what to call it in errors.
    """

    def __init__(
        self, connection: Connection, failures: tuple[type[Exception], ...], service: str
    ) -> None:
        self._connection = connection
        self._failures = failures
        self._service = service

    async def send(self, message: str) -> None:
        """Send one message. Raises `SpeechError`."""
        try:
            await self._connection.send_raw(message)
        except self._failures as error:
            raise explained(error, self._service) from error

    async def receive(self) -> bytes:
        """The next message. Raises `SpeechError`."""
        try:
            return await self._connection.recv_bytes()
        except self._failures as error:
            raise explained(error, self._service) from error

    async def close(self) -> None:
        """Close it."""
        try:
            async with asyncio.timeout(2 * _CLOSE_TIMEOUT_S):
                await self._connection.close()
        except self._failures:
            _log.debug("a socket to a model did not close in order")


def explained(error: Exception, service: str) -> SpeechError:
    """The vendor's failure in our terms: without its text, which may repeat what we sent.

    Args:
        error: what the package or the socket raised.
        service: what to call the vendor.
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        final = status in _FINAL_STATUSES
        named = _vendors_name(getattr(error, "response", None))
        hint = ": check the API key" if status in (401, 403) else ""
        return SpeechError(
            f"{service} refused the connection with status {status}{named}{hint}",
            retryable=not final,
            status=status,
        )
    received = getattr(error, "rcvd", None)
    if received is not None:
        code = int(received.code)
        final = code in _FINAL_CODES or code in _VENDOR_CODES
        return SpeechError(
            f"{service} closed the connection with code {code}", retryable=not final, status=code
        )
    if isinstance(error, TimeoutError):
        return SpeechError(f"{service} did not answer in time", retryable=True)
    return SpeechError(f"the connection to {service} failed", retryable=True)


def _vendors_name(response: object) -> str:
    """The vendor's own name of an error, where its body tells one and it is but a name."""
    try:
        body = orjson.loads(getattr(response, "body", None) or b"{}")
        error = body.get("error") or {}
        # OpenAI's way, and Deepgram's.
        name = error.get("code") or error.get("type") or body.get("err_code")
    except (ValueError, AttributeError):
        return ""
    return f" ({name})" if isinstance(name, str) and _NAME.fullmatch(name) else ""
