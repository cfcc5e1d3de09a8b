"""One uvicorn process for an ASGI app, set up as both ASGI peers use it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from benchmarks.peers.ready import announce

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.applications import Starlette

    Lifespan = Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]

BACKLOG = 2048
# Faster here than `websockets` and `wsproto`; README.md has the figures.
WEBSOCKETS = "websockets-sansio"


def lifespan_of(name: str, listener: socket.socket) -> Lifespan:
    """A lifespan that prints the ready line of the peer `name`; `listener` accepts already."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # As our own server does: full collections need not walk what the imports made.
        gc.collect()
        gc.freeze()
        announce(name, listener.getsockname()[1])
        yield

    return lifespan


def run(name: str, build: Callable[[Lifespan], Starlette], description: str | None) -> None:
    """Read the command line of a peer and serve its app on loopback until SIGTERM or SIGINT.

    Args:
        name: the peer, as in `envs/NAME.txt`.
        build: makes the app around the given lifespan.
        description: help text of the command line.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True, help="0 chooses a free one")
    parser.add_argument("--websockets", default=WEBSOCKETS, help="uvicorn's --ws")
    options = parser.parse_args()
    # uvicorn raises the signal that stopped it once more: that ends the process well, too.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    with socket.create_server(("127.0.0.1", options.port), backlog=BACKLOG) as listener:
        config = uvicorn.Config(
            build(lifespan_of(name, listener)),
            loop="uvloop",
            ws=options.websockets,
            ws_per_message_deflate=False,
            lifespan="on",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(config).run(sockets=[listener])
