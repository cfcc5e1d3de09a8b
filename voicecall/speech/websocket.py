"""WebSockets to services that speak: one place of theirs, and sockets opened there."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Any

from voicecall.errors import DependencyMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from websockets.asyncio.client import ClientConnection

    from voicecall.errors import SpeechError

_log = logging.getLogger("voicecall.speech")

SCHEMES = {"http": "ws", "https": "wss"}
"""What the schemes of a service's other addresses become."""

_OPEN_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 1.0
_PING_S = 10.0


class ServiceSocket:
    """One open socket; implements `channel.Socket` and `link.Socket`.

    Args:
        connection: the package's.
        failures: what it may raise.
        explained: says that in our terms; it may hold what was said, so it is not chained.
    """

    def __init__(
        self,
        connection: ClientConnection,
        failures: tuple[type[Exception], ...],
        explained: Callable[[Exception], SpeechError],
    ) -> None:
        self._connection = connection
        self._failures = failures
        self._explained = explained

    async def send(self, message: str | bytes, /) -> None:
        """Send one message. Raises `SpeechError`."""
        try:
            await self._connection.send(message)
        except self._failures as error:
            raise self._explained(error) from None

    async def receive(self) -> bytes:
        """The next message. Raises `SpeechError`."""
        try:
            return await self._connection.recv(decode=False)
        except self._failures as error:
            raise self._explained(error) from None

    async def close(self) -> None:
        """Close it, within two seconds; never fails."""
        try:
            async with asyncio.timeout(2 * _CLOSE_TIMEOUT_S):
                await self._connection.close()
        except self._failures:
            _log.debug("a socket to a speech service did not close in order")


class ServiceAddress:
    """Where a service takes sockets.

    Args:
        url: `ws://` or `wss://`.
        headers: of each handshake.
        explained: says in our terms why a socket could not be opened, or broke.
        extra: what of ours to install for it, where the package is missing.
        max_message_octets: a longer message breaks the socket.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        explained: Callable[[Exception], SpeechError],
        *,
        extra: str,
        max_message_octets: int,
    ) -> None:
        self.url = url
        self._headers = headers
        self._explained = explained
        self._extra = extra
        self._max_message_octets = max_message_octets
        self._loading = asyncio.Lock()
        self._options: dict[str, Any] | None = None

    async def prepare(self) -> None:
        """Load the package, off the event loop.

        Raises:
            DependencyMissing: it is not installed.
        """
        async with self._loading:
            if self._options is None:
                self._options = await asyncio.to_thread(self._load)

    async def open(self) -> ServiceSocket:
        """Open a socket; cancelled, it leaves nothing open.

        Raises:
            DependencyMissing: the package is not installed.
            SpeechError: the service refused, or could not be reached within five seconds.
        """
        await self.prepare()
        # Loaded by now.
        from websockets.asyncio.client import connect  # noqa: PLC0415
        from websockets.exceptions import WebSocketException  # noqa: PLC0415

        failures = (OSError, TimeoutError, WebSocketException)
        try:
            connection = await connect(
                self.url, additional_headers=self._headers, **(self._options or {})
            )
        except failures as error:
            # The original may hold the request with its key: it is not chained.
            raise self._explained(error) from None
        return ServiceSocket(connection, failures, self._explained)

    def _load(self) -> dict[str, Any]:
        try:
            # An optional package.
            import websockets.asyncio.client  # noqa: F401, PLC0415
        except ImportError as error:
            raise DependencyMissing(
                f"websockets is not installed: pip install 'voicecall[{self._extra}]'"
            ) from error
        options: dict[str, Any] = {
            "open_timeout": _OPEN_TIMEOUT_S,
            "close_timeout": _CLOSE_TIMEOUT_S,
            "ping_interval": _PING_S,
            "ping_timeout": _PING_S,
            "max_size": self._max_message_octets,
            "compression": None,
        }
        if self.url.startswith("wss:"):
            # Else made anew for each socket, on the loop, which takes tens of milliseconds.
            options["ssl"] = ssl.create_default_context()
        return options
