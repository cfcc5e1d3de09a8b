"""Servers that behave as a test wants, and what the generator says of them."""

from __future__ import annotations

import asyncio
import contextlib
import http
import threading
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from benchmarks.load.generate import Load, measure
from benchmarks.load.server import free_port
from benchmarks.load.target import reference

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    Behaviour = Callable[[ServerConnection], Awaitable[None]]

FRAME_OCTETS = 160
FRAME_S = 0.020
WINDOW_S = 1.0
WARMUP_S = 0.3
TONE = reference("tone")
FRAMES = [TONE[at : at + FRAME_OCTETS] for at in range(0, len(TONE), FRAME_OCTETS)]


@contextlib.contextmanager
def serving(behaviour: Behaviour, refuse: bool = False) -> Iterator[int]:
    """Serve on a thread of its own; the port."""
    ready = threading.Event()
    port = free_port()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def handle(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await behaviour(connection)

    def answer(connection: ServerConnection, _: Request) -> Response | None:
        return connection.respond(http.HTTPStatus.FORBIDDEN, "no\n") if refuse else None

    async def run() -> None:
        async with serve(
            handle, "127.0.0.1", port, compression=None, process_request=answer, close_timeout=1
        ):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert ready.wait(10)
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def load(**changes: Any) -> Load:
    given = {
        "streams": 2,
        "seconds": WINDOW_S,
        "warmup_s": WARMUP_S,
        "connect_rate": 1000.0,
        "server_core": None,
        "generator_core": None,
    }
    return Load(**(given | changes))


def put(behaviour: Behaviour, *, refuse: bool = False, **changes: Any) -> dict[str, Any]:
    """What the generator says of a server that behaves like this."""
    with serving(behaviour, refuse) as port:
        return measure(load(**changes), port)
