"""One server on loopback with every simulated model service.

A service is a module of this package with a function `routes(world)` that returns Starlette routes,
HTTP and WebSocket alike; its paths begin as the vendor's do. What services share is in the `World`:
engines, brain, clock, planned faults, the key, the record of requests.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from starlette.routing import Router

from voicecall.clock import SystemClock
from voicecall.control.listen import ControlListener
from voicecall.errors import DependencyMissing
from voicecall.simulator.models.brain import Brain
from voicecall.simulator.models.engines import LocalEngines
from voicecall.simulator.models.faults import Dropped, Faults
from voicecall.simulator.models.sockets import Sockets
from voicecall.simulator.models.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from voicecall.clock import Clock
    from voicecall.simulator.models.engines import ModelEngines
    from voicecall.simulator.models.realtime import RealtimeConnection, RealtimeSession
    from voicecall.simulator.models.world import Received

SIMULATED_KEY = "sk-simulated"
_HOST = "127.0.0.1"
_STOP_GRACE_S = 0.2


class ModelServer:
    """Serves all simulated model services while it is entered.

        async with ModelServer() as server:
            client = AsyncOpenAI(base_url=server.base_url, api_key=server.world.api_key)

    Args:
        engines: what it hears and speaks with; they stay open. None for its own, which work on
            this machine and are loaded at first use.
        brain: who answers; None for the built-in persona.
        clock: the time.
        api_key: what clients have to present.
        port: to listen on; 0 for any.

    Raises:
        DependencyMissing: the vendors' packages are not installed.
        ServeError: the port is taken.
    """

    def __init__(
        self,
        *,
        engines: ModelEngines | None = None,
        brain: Brain | None = None,
        clock: Clock | None = None,
        api_key: str = SIMULATED_KEY,
        port: int = 0,
    ) -> None:
        clock = clock or SystemClock()
        self._owned: ModelEngines | None = None
        if engines is None:
            engines = self._owned = LocalEngines(clock)
        self.world = World(engines, brain or Brain(), clock, api_key)
        self._port = port
        self._sockets: Sockets | None = None
        self._listener: ControlListener | None = None

    async def __aenter__(self) -> Self:
        # The vendors' types take seconds to import on a slow disk.
        router = Router(await asyncio.to_thread(_routes, self.world))
        self._sockets = Sockets(router)
        self._listener = ControlListener(_Droppable(self._sockets), _HOST, self._port)
        await self._listener.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sockets is not None and self._listener is not None:
            await self._sockets.stop(_STOP_GRACE_S)
            await self._listener.stop(_STOP_GRACE_S)
            self._sockets = self._listener = None
        if self._owned is not None:
            await self._owned.close()

    @property
    def origin(self) -> str:
        """Where it is, without a path: `http://127.0.0.1:PORT`."""
        port = self._port if self._listener is None else self._listener.port
        return f"http://{_HOST}:{port}"

    @property
    def base_url(self) -> str:
        """What clients of OpenAI are to use as base URL."""
        return f"{self.origin}/v1"

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.world.faults

    def received(self, service: str) -> list[Received]:
        """What a service was asked, oldest first."""
        return self.world.received(service)


class _Droppable:
    """Breaks a response off where a planned fault says so.

    Args:
        app: what responds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Dropped:
            # A body that is not ended when the application returns is cut off by the server.
            return


def _routes(world: World) -> list[BaseRoute]:
    try:
        # They are made of the vendor's types, an optional package.
        from voicecall.simulator.models import (  # noqa: PLC0415
            catalogue,
            chat,
            conversation,
            deepgram,
            elevenlabs,
            live,
            realtime,
            responses,
            speech,
            transcription,
        )
    except ImportError as error:
        raise DependencyMissing(
            "openai is not installed: pip install 'voicecall[openai]'"
        ) from error
    sessions: dict[str, Callable[[RealtimeConnection], RealtimeSession]] = {
        "realtime": conversation.ConversationSession,
        "transcription": transcription.TranscriptionSession,
    }
    return [
        *catalogue.routes(world),
        *chat.routes(world),
        *responses.routes(world),
        *speech.routes(world),
        *realtime.routes(world, sessions),
        *live.routes(world),
        *deepgram.routes(world),
        *elevenlabs.routes(world),
    ]
