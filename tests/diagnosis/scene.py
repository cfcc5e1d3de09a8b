"""A server, a carrier, and what stands between them: a proxy that can get everything wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from voicecall.config.load import load
from voicecall.diagnosis.network import Network

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from types import TracebackType

    import trustme

    from voicecall.config.load import LoadedConfig

DEADLINE_S = 30
HOST = "localhost"
_TLS_HANDSHAKE = b"\x16"


def run(case: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await case

    asyncio.run(bounded())


def loaded(folder: Path, environ: dict[str, str] | None = None, /, **settings: Any) -> LoadedConfig:
    """A configuration as the command would have it, with nothing of this machine in it."""
    path = folder / "voicecall.json5"
    path.write_text(json.dumps(settings))
    return load(path, environ=environ or {}, cwd=folder, home=folder)


def network(ca: trustme.CA | None = None) -> Network:
    trust = ssl.create_default_context()
    if ca is not None:
        ca.configure_trust(trust)
    return Network(trust=trust, timeout_s=10)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@dataclass
class Route:
    """What becomes of requests whose path begins with `path`.

    `answer` is sent instead of passing them on; `keeps_upgrades` leaves upgrades in them.
    """

    path: str
    port: int = 0
    answer: str = ""
    keeps_upgrades: bool = True


@dataclass
class Proxy:
    """A reverse proxy for one request a connection."""

    routes: list[Route]
    tls: ssl.SSLContext | None = None
    port: int = 0
    seen: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http{'s' * (self.tls is not None)}://{HOST}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(1)
            if first == _TLS_HANDSHAKE:
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                raise OSError
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            self.seen.append(head.partition("\r\n")[0])
            path = head.split(" ")[1]
            route = next(each for each in self.routes if path.startswith(each.path))
            if route.answer:
                writer.write(f"HTTP/1.1 {route.answer}\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
            else:
                await _relay(_passed_on(route, head), route.port, reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _passed_on(route: Route, head: str) -> bytes:
    lines = head.split("\r\n")
    dropped = ("upgrade:", "sec-websocket") if not route.keeps_upgrades else ()
    kept = [line for line in lines if not line.lower().startswith((*dropped, "connection:"))]
    upgrades = route.keeps_upgrades and "upgrade: websocket" in head.lower()
    kept.insert(1, f"Connection: {'Upgrade' if upgrades else 'close'}")
    return "\r\n".join(kept).encode()


async def _relay(
    head: bytes, port: int, client: asyncio.StreamReader, answers: asyncio.StreamWriter
) -> None:
    """Pass on what comes back, until either side has had enough."""
    backend, requests = await asyncio.open_connection("127.0.0.1", port)
    requests.write(head)
    back = asyncio.create_task(_pump(backend, answers))
    gone = asyncio.create_task(client.read())
    await asyncio.wait({back, gone}, return_when=asyncio.FIRST_COMPLETED)
    for each in (back, gone):
        each.cancel()
    await asyncio.gather(back, gone, return_exceptions=True)
    requests.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while octets := await source.read(65536):
        target.write(octets)
        await target.drain()
