"""The media port: accepts connections and hands them to one poller."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING

from voicecall._codec import SocketPoller
from voicecall.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("voicecall.media")

BACKLOG = 1024
# Connections accepted before anybody else gets a turn.
ACCEPTS_MAX = 32
# After running out of descriptors: how long until the next try.
ACCEPT_PAUSE_S = 1.0


class MediaListener:
    """Listens on one port.

    Args:
        on_connection: takes each connection, which does not block, and its peer's address;
            OSError says that there is nothing left to serve it with.

    Attributes:
        poller: serves what `on_connection` adds to it.
    """

    def __init__(self, on_connection: Callable[[socket.socket, str], object]) -> None:
        self.poller = SocketPoller()
        self._on_connection = on_connection
        self._listening: list[socket.socket] = []
        self._pause: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Accept connections from now on; the port, chosen by the system for 0.

        Raises:
            ServeError: the port is taken or may not be used.
        """
        loop = asyncio.get_running_loop()
        try:
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            # Some systems name an address twice.
            for family, *_, address in dict.fromkeys(addresses):
                chosen = self._listening[0].getsockname()[1] if self._listening else port
                self._listening.append(_bound(family, (address[0], chosen, *address[2:])))
        except OSError as error:
            self.stop_listening()
            problem = error.strerror if isinstance(error, socket.gaierror) else None
            raise ServeError(
                f"streaming.port: cannot listen on {host}:{port}: "
                f"{problem or os.strerror(error.errno or 0)}. "
                "Choose another port, or stop what uses this one."
            ) from error
        loop.add_reader(self.poller.fileno(), self.poller.poll)
        self._resume()
        bound: int = self._listening[0].getsockname()[1]
        return bound

    def stop_listening(self) -> None:
        """Accept nobody any more; what is open stays."""
        loop = asyncio.get_running_loop()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        for listening in self._listening:
            loop.remove_reader(listening)
            listening.close()
        self._listening.clear()

    def close(self) -> None:
        """Accept nobody any more and end what is open at once."""
        self.stop_listening()
        if self.poller.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.poller.fileno())
            self.poller.close()

    def _resume(self) -> None:
        self._pause = None
        for listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                connection, address = listening.accept()
                connection.setblocking(False)
                self._on_connection(connection, str(address[0]))
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                self._rest(error)
                return

    def _rest(self, error: OSError) -> None:
        """No descriptors or memory are left: those who wait are better off in the backlog."""
        reason = os.strerror(error.errno or 0)
        log.error("cannot accept media connections", extra={"reason": reason})
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening)
        self._pause = loop.call_later(ACCEPT_PAUSE_S, self._resume)


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
