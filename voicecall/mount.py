"""A voicecall inside somebody else's web application, or served by any ASGI server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketClose

from voicecall.errors import ServeError
from voicecall.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from starlette.types import Receive, Scope, Send

    from voicecall.calls import Calls, OnCall
    from voicecall.config.schema import Config
    from voicecall.llm.tools import Tool
    from voicecall.ports import SpeechToText, TextToSpeech
    from voicecall.session.guests import AnyResponder

_TRY_AGAIN_LATER = 1013


class App:
    """An ASGI application with a server behind it; made by `create_app`.

    Args:
        make: makes the server, each time that it is to run.
    """

    def __init__(self, make: Callable[[], Server]) -> None:
        self._make = make
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

        While calls are being ended, what carriers report of them is still taken.

        Raises:
            ConfigError, ServeError: it runs already, a port is taken, or this version cannot do
                what the configuration asks for.
            DependencyMissing: an engine is not installed.
            StoreError: the store cannot be used.
        """
        if self._server is not None:
            raise ServeError("voicecall runs already in this application")
        server = self._make()
        try:
            async with server:
                self._server = server
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
    responder: AnyResponder | None = None,
    tts: TextToSpeech | None = None,
    stt: SpeechToText | None = None,
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

    While it does not run, requests are answered with 503, and WebSockets closed with 1013. Servers
    that wait for open requests before they stop need a limit to that, since event streams have no
    end: uvicorn's is `timeout_graceful_shutdown`.

    Args:
        config: complete configuration; everything local when None. `publicUrl` is the whole URL of
            the webhook, such as `https://example.org/phone/voice/webhook`; `serve.port` says where
            the outer server listens.
        on_call: holds each conversation itself; see `Server`.
        responder: decides what is said; see `Server`. Like the next two, it is closed when the
            application stops, and does for one run.
        tts: speaks.
        stt: listens.
        tools: what language models may use; see `Server`.
        rpc_token: bearer token of the RPC interface; the configured or a random one when None.
    """
    make = partial(
        Server,
        config,
        on_call=on_call,
        responder=responder,
        tts=tts,
        stt=stt,
        tools=tools,
        rpc_token=rpc_token,
        mounted=True,
    )
    return App(make)
