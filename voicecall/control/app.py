"""The control plane's routes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from voicecall.control.auth import BearerAuth
from voicecall.control.body import read_body
from voicecall.control.challenge import Challenges
from voicecall.control.describe import document
from voicecall.control.events import MAX_MESSAGE_OCTETS, Clients, EventStream, RpcSocket
from voicecall.control.health import Readiness, healthz
from voicecall.control.hold_music import hold_music
from voicecall.control.rpc import RpcDispatcher
from voicecall.control.waiting import asks, while_connected
from voicecall.control.webhooks import WebhookEndpoint

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from voicecall.control.services import ControlServices, StreamRoute

HOLD_MUSIC_PATH = "/voice/hold-music"
CHALLENGE_PATH = "/challenge"
_RPC_BODY_TIMEOUT_S = 5.0
_INTERNAL_ERROR = 1011  # RFC 6455, section 7.4.1

logger = logging.getLogger("voicecall.control")


def create_app(control: ControlServices) -> Starlette:
    """The control plane as an ASGI application. It has no lifespan of its own.

    Args:
        control: what the routes work with; its parts are started and stopped by the caller.
    """
    auth = BearerAuth(control.rpc_token)
    clients = Clients()
    dispatcher = RpcDispatcher(control.calls)
    webhooks = WebhookEndpoint(
        control.webhook,
        control.calls,
        control.webhooks,
        metrics=control.metrics,
        clock=control.clock,
    )
    challenges = Challenges(control.clock)
    readiness = Readiness(control.readiness, verify=control.webhooks.verify)

    async def rpc(request: Request) -> Response:
        message = await read_body(
            request, limit_octets=MAX_MESSAGE_OCTETS, timeout_s=_RPC_BODY_TIMEOUT_S
        )
        answering = dispatcher.answer(message)
        if asks(message):
            response = await while_connected(request, answering)
        else:
            response = await answering
        if response is None:
            return Response(status_code=204)
        return Response(response, media_type="application/json")

    async def description(request: Request) -> Response:
        del request
        return Response(orjson.dumps(document()), media_type="application/json")

    async def metrics(request: Request) -> Response:
        del request
        body, content_type = control.metrics.render()
        return Response(body, headers={"content-type": content_type})

    path = control.webhooks.path.rstrip("/")
    app = Starlette(
        routes=[
            *(
                Route(each, webhooks.receive, methods=["POST"])
                for each in (path or "/", f"{path}/")
            ),
            Route(path or "/", challenges.answer, methods=["GET"]),
            Route(CHALLENGE_PATH, auth.guard(challenges.give), methods=["POST"]),
            Route(HOLD_MUSIC_PATH, hold_music),
            Route("/rpc", auth.guard(rpc), methods=["POST"]),
            Route("/rpc/openrpc.json", auth.guard(description)),
            WebSocketRoute("/rpc/ws", RpcSocket(dispatcher, control.calls, auth, clients).serve),
            Route("/events", auth.guard(EventStream(control.calls, clients).sse)),
            Route("/healthz", healthz),
            Route("/readyz", readiness.readyz),
            Route("/metrics", auth.guard_remote(metrics)),
            *_stream_routes(control.stream),
        ],
        middleware=[Middleware(RequestBoundary)],
        exception_handlers={HTTPException: _refuse},
    )
    # A path that is merely similar is not found; a carrier would not follow a redirect anyway.
    app.router.redirect_slashes = False
    return app


class RequestBoundary:
    """The last line of every request: what nobody expected is logged and tells clients nothing.

    Args:
        app: what it surrounds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        began = False

        async def watched(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:  # the boundary of a request
            # Without the path, which may hold a stream token.
            logger.exception("request failed", extra={"kind": scope["type"]})
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": _INTERNAL_ERROR})
            elif not began:
                await PlainTextResponse("Internal Server Error", 500)(scope, receive, send)


class _AsgiEndpoint:
    """Keeps Starlette from taking an ASGI function for a handler of its own sort."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _stream_routes(stream: StreamRoute | None) -> list[BaseRoute]:
    if stream is None:
        return []
    path = stream.path.rstrip("/")
    return [
        WebSocketRoute(each, _AsgiEndpoint(stream.endpoint))
        for each in (path, f"{path}/", f"{path}/{{token}}")
    ]


async def _refuse(request: Request, error: Exception) -> Response:
    del request
    if not isinstance(error, HTTPException):
        raise error
    return PlainTextResponse(error.detail, error.status_code, headers=error.headers)
