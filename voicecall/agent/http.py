"""MCP over streamable HTTP, for those who know the token."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from voicecall.agent.mcp import VoiceCallTools
from voicecall.carriers._proxies import is_loopback
from voicecall.control.auth import BearerAuth
from voicecall.control.listen import ControlListener
from voicecall.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from starlette.types import ASGIApp, Receive, Scope, Send

    from voicecall.agent.control import CallControl
    from voicecall.control.listen import TlsFiles

PATH: Final = "/mcp"
_STOP_GRACE_S: Final = 1.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_UNAUTHORIZED: Final = 401


class McpListener:
    """Serves the tools at `/mcp` while it is entered.

    Requests need `Authorization: Bearer <token>`. Their `Host`, and their `Origin` if a browser
    sent them, must be ours, so that no web site can reach this by a name that it lets point here.

    Args:
        control: what the tools act through.
        token: what clients have to show.
        bind: where to listen, an IP address or a name with one.
        port: 0 picks a free one.
        hosts: names by which clients reach it, besides those of this machine's loopback.
        tls: None serves plain HTTP.

    Raises:
        ServeError: it would listen beyond this machine, and under no name.
    """

    def __init__(
        self,
        control: CallControl,
        token: str,
        *,
        bind: str = "127.0.0.1",
        port: int = 0,
        hosts: Sequence[str] = (),
        tls: TlsFiles | None = None,
    ) -> None:
        from mcp.server.transport_security import TransportSecuritySettings  # noqa: PLC0415

        if not (bind == "localhost" or is_loopback(bind) or hosts):
            raise ServeError(
                f"{bind} is reached from other machines: say by which names, so that requests for "
                "others can be refused: --allow-host mcp.example.com"
            )
        self._bind = bind
        self._scheme = "https" if tls else "http"
        names = [*_LOOPBACK, *hosts]
        server = VoiceCallTools(control).server()
        app = server.streamable_http_app(
            streamable_http_path=PATH,
            transport_security=TransportSecuritySettings(
                allowed_hosts=[each for name in names for each in (name, f"{name}:*")],
                allowed_origins=[
                    each
                    for name in names
                    for each in (f"{self._scheme}://{name}", f"{self._scheme}://{name}:*")
                ],
            ),
        )
        self._sessions = server.session_manager
        self._listener = ControlListener(_Guarded(app, token), bind, port, tls)
        self._held = asyncio.Event()
        self._released = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it is, once entered."""
        host = f"[{self._bind}]" if ":" in self._bind else self._bind
        return f"{self._scheme}://{host}:{self._listener.port}{PATH}"

    async def __aenter__(self) -> Self:
        """Listen. Raises ServeError."""
        self._holding = asyncio.create_task(self._hold_sessions(), name="mcp sessions")
        try:
            # Nothing is answered without them.
            await self._held.wait()
            await self._listener.start()
        except BaseException:
            await self._release()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._listener.stop(_STOP_GRACE_S)
        finally:
            await self._release()

    async def _hold_sessions(self) -> None:
        """Keep sessions until released: in a task, since they belong to the one that opens them."""
        async with self._sessions.run():
            self._held.set()
            await self._released.wait()

    async def _release(self) -> None:
        self._released.set()
        await self._holding


class _Guarded:
    """An application for those who know the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._auth = BearerAuth(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._auth.admits(Headers(scope=scope)):
            refusal = PlainTextResponse(
                "Unauthorized", _UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"}
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
