"""Granian, embedded in the running event loop, made into something that starts and stops."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from granian._granian import ListenerSpec
from granian.constants import Interfaces, SSLProtocols
from granian.errors import ConfigurationError
from granian.log import LogLevels
from granian.server.embed import Server

from voicecall.errors import ServeError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Open requests and sockets together; the media fallback alone may hold 128.
MAX_OPEN_REQUESTS = 4096
LISTEN_BACKLOG = 1024
START_TIMEOUT_S = 10.0
STOP_GRACE_S = 5.0
_PROBE_INTERVAL_S = 0.01
_SETTLE_TIMEOUT_S = 2.0
_GOING_AWAY = 1001  # RFC 6455, section 7.4.1

# Where to reach an address that stands for all of this machine's.
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (a key, nothing is bound)

logger = logging.getLogger("voicecall.control")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What TLS needs, both PEM.

    Attributes:
        cert: the certificate chain.
        key: its private key, unencrypted.
    """

    cert: Path
    key: Path


class ControlListener:
    """Serves an ASGI application on one port.

    Args:
        app: the application; it gets no lifespan messages.
        host: an IP address, or a name with one.
        port: 0 picks a free one.
        tls: None serves plain HTTP.
        shared: other processes of ours serve the same port, which then must not be 0; whether
            somebody else has it is not looked at.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        tls: TlsFiles | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._requests = OpenRequests(app)
        self._host = host
        self._port = port
        self._tls = tls
        self._shared = shared
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on; the one it picked once started."""
        return self._port

    async def start(self) -> None:
        """Listen; returns when connections are accepted.

        Raises:
            ServeError: the port is taken, the address is not ours, or a TLS file is unusable.
        """
        address, self._port = _address(self._host, self._port, probe=not self._shared)
        self._server = self._build(address)
        self._serving = asyncio.create_task(self._server.serve(), name="control listener")
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._accepting(address, self._serving)
        except TimeoutError as error:
            await self.stop(grace_s=0)
            raise ServeError(f"port {self._port} does not accept connections") from error
        except BaseException:
            await self.stop(grace_s=0)
            raise
        logger.info("control plane listens", extra={"host": self._host, "port": self._port})

    async def wait_closed(self) -> None:
        """Wait until it no longer serves, because it was stopped or because granian gave up."""
        if self._serving is not None:
            await asyncio.wait({self._serving})

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop accepting, let requests finish, and close the rest.

        Event streams and WebSockets are closed at once, since they have no end to wait for.

        Args:
            grace_s: how long other requests may take.
        """
        if self._server is None or self._serving is None:
            return
        self._server.stop()  # type: ignore[no-untyped-call]  # granian does not annotate it
        self._requests.end_streams()
        _, unfinished = await asyncio.wait({self._serving}, timeout=grace_s)
        if unfinished:
            self._requests.end_all()
            _, unfinished = await asyncio.wait({self._serving}, timeout=_SETTLE_TIMEOUT_S)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        self._server = self._serving = None

    def _build(self, address: str) -> Server:
        try:
            return _EmbeddedServer(
                self._requests,
                address=address,
                port=self._port,
                interface=Interfaces.ASGINL,
                backlog=LISTEN_BACKLOG,
                backpressure=MAX_OPEN_REQUESTS,
                ssl_cert=self._tls.cert if self._tls else None,
                ssl_key=self._tls.key if self._tls else None,
                # Carriers' HTTP clients still come with TLS 1.2.
                ssl_protocol_min=SSLProtocols.tls12,
                # granian 2.8 configures logging when built; an incremental change installs no
                # handlers and leaves those of the application alone. Its notices (that embedding
                # is experimental, its start and stop) are not for our users; its errors are.
                log_level=LogLevels.error,
                log_dictconfig={"incremental": True, "handlers": {}, "loggers": {}},
            )
        except (ConfigurationError, OSError, ValueError) as error:
            raise ServeError(f"the TLS certificate or key cannot be used: {error}") from error

    async def _accepting(self, address: str, serving: asyncio.Task[None]) -> None:
        """Return once a connection is accepted, or raise when the server ended instead."""
        target = _LOCAL.get(address, address)
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection(target, self._port)
            except OSError:
                await asyncio.sleep(_PROBE_INTERVAL_S)
            else:
                writer.close()
                return
        cause = None if serving.cancelled() else serving.exception()
        raise ServeError(f"the server on port {self._port} ended while starting") from cause


class _EmbeddedServer(Server):
    """granian without the socket that it forgets."""

    def _init_shared_socket(self) -> None:
        """Say where to listen.

        granian 2.8 also binds a socket here, to see whether it can, and never closes it: one
        descriptor would be lost with every server that a process starts.
        """
        self._ssp = ListenerSpec(  # type: ignore[assignment]  # granian declares it as None
            self.bind_addr, self.bind_port, self.backlog
        )


class ServedElsewhere:
    """Takes the place of a `ControlListener` when another server serves the application.

    Args:
        app: the application.
        port: where the other server listens, as far as is known.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = OpenRequests(app)
        self.port = port

    async def start(self) -> None:
        """Nothing to do: whoever serves the application decides when."""

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End event streams and WebSockets; other requests end by themselves."""
        del grace_s
        self.app.end_streams()


class OpenRequests:
    """Knows every request in progress, so that all can be ended when the server stops.

    Args:
        app: what serves them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[_Exchange] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        exchange = _Exchange(send)
        self._open.add(exchange)
        try:
            await self._app(scope, receive, exchange.send)
        except asyncio.CancelledError:
            # Cancelled by `end`, which is this object's own doing: the peer is told the end.
            if not exchange.ended:
                raise
            await exchange.finish()
        finally:
            self._open.discard(exchange)

    def end_streams(self) -> None:
        """End WebSockets and responses that are being streamed."""
        for exchange in tuple(self._open):
            if exchange.closing is not None:
                exchange.end()

    def end_all(self) -> None:
        """End everything."""
        for exchange in tuple(self._open):
            exchange.end()


class _Exchange:
    """One request in progress and how to end it politely."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._task = asyncio.current_task()
        self.ended = False
        self.closing: Message | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on, noting what would properly end what it begins."""
        kind = message["type"]
        if kind == "websocket.accept":
            self.closing = {"type": "websocket.close", "code": _GOING_AWAY}
        elif kind == "http.response.body":
            more = message.get("more_body", False)
            self.closing = {"type": "http.response.body", "body": b""} if more else None
        elif kind == "websocket.close":
            self.closing = None
        await self._send(message)

    def end(self) -> None:
        """Cancel it."""
        if self._task is not None and not self.ended:
            self.ended = True
            self._task.cancel()

    async def finish(self) -> None:
        """Tell the peer that this was the end."""
        if self.closing is not None:
            await self._send(self.closing)


def _address(host: str, port: int, *, probe: bool) -> tuple[str, int]:
    """The IP address of `host` and a port there; with `probe`, one that nobody listens on.

    granian binds with SO_REUSEPORT and would share a busy port without a word, so the port is
    tried here first, without.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if not probe:
            return str(address[0]), port
        with socket.socket(family, kind, proto) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            bound = taken.getsockname()
    except OSError as error:
        raise ServeError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return str(bound[0]), int(bound[1])
