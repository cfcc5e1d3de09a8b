"""A voicecall inside somebody else's web application, or served by any ASGI server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketClose

from voicecall.errors import ServeError
from voicecall.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.types import Receive, Scope, Send

    from voicecall.calls import Calls, OnCall
    from voicecall.config.schema import Config
    from voicecall.llm.tools import Tool

_TRY_AGAIN_LATER = 1013


class App:
    """An ASGI application with a server behind it; made by `create_app`."""

    def __init__(
        self,
        config: Config | None,
        *,
        on_call: OnCall | None,
        tools: Sequence[Tool],
        rpc_token: str | None,
    ) -> None:
        self._config = config
        self._on_call = on_call
        self._tools = tools
        self._rpc_token = rpc_token
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        """The running server. Raises ServeError while there is none."""
        if self._server is None:
            raise ServeError(
                "voicecall does not run: enter `app.running()` in the lifespan of the outer "
                "application, since applications that are mounted in another get no lifespan"
            )
        return self._server

    @property
    def calls(self) -> Calls:
        """Places, finds and follows calls, while it runs. Raises ServeError otherwise."""
        return self.server.calls

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Run the server as long as the block lasts; to be entered in the outer lifespan.

        Raises:
            ServeError: it runs already, or a port is taken.
            DependencyMissing: an engine is not installed.
            StoreError: the store cannot be used.
        """
        if self._server is not None:
            raise ServeError("voicecall runs already in this application")
        server = Server(
            self._config,
            on_call=self._on_call,
            tools=self._tools,
            rpc_token=self._rpc_token,
            mounted=True,
        )
        async with server:
            self._server = server
            try:
                yield server
            finally:
                self._server = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, a WebSocket, or the lifespan of a server that serves nothing else."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._server is not None:
            await self._server.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(_TRY_AGAIN_LATER, "voicecall does not run")(scope, receive, send)
        else:
            refusal = PlainTextResponse("voicecall does not run", 503, {"retry-after": "1"})
            await refusal(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        phase = "startup"
        await receive()
        try:
            async with self.running():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as error:
            # The other server shows the reason.
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def create_app(
    config: Config | None = None,
    *,
    on_call: OnCall | None = None,
    tools: Sequence[Tool] = (),
    rpc_token: str | None = None,
) -> App:
    """A voicecall to mount in an ASGI application, or to serve by any ASGI server.

    Webhooks, RPC, events and the media fallback are served by the application; media sockets
    besides on `streaming.port`, unless that is 0. Served on its own, it starts and stops with the
    server. Mounted in another application, whose lifespan is not passed on to it, it has to be
    entered there::

        phone = create_app(config)

        @asynccontextmanager
        async def lifespan(app):
            async with phone.running():
                yield

        app = FastAPI(lifespan=lifespan)
        app.mount("/phone", phone)

    Args:
        config: complete configuration; everything local when None. `publicUrl` is the whole URL of
            the webhook, such as `https://example.org/phone/voice/webhook`; `serve.port` says where
            the outer server listens.
        on_call: holds each conversation itself; see `Server`.
        tools: what language models may use; see `Server`.
        rpc_token: bearer token of the RPC interface; the configured or a random one when None.
    """
    return App(config, on_call=on_call, tools=tools, rpc_token=rpc_token)
