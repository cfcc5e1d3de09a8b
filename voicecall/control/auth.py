"""Who may use the control plane."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from voicecall.carriers._proxies import is_loopback

if TYPE_CHECKING:
    from starlette.datastructures import Headers

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

# A request that carries one of these came through a proxy or tunnel on this machine: its peer is
# loopback, its sender is not.
_RELAYED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class BearerAuth:
    """Admits requests with `Authorization: Bearer <token>`, compared in constant time.

    Args:
        token: what clients have to know.

    Raises:
        ValueError: the token is empty, which would admit everybody.
    """

    def __init__(self, token: str) -> None:
        if not token:
            raise ValueError("the RPC token must not be empty")
        self._token = token.encode()

    def admits(self, headers: Headers) -> bool:
        """Whether `headers` carry the token."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        # Headers are octets, which arrive here as Latin-1; who types a token sends UTF-8.
        return hmac.compare_digest(given.strip(" \t").encode("latin-1"), self._token)

    def guard(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint`, answering 401 to everybody without the token."""

        async def guarded(request: Request) -> Response:
            if not self.admits(request.headers):
                raise unauthorized()
            return await endpoint(request)

        return guarded

    def guard_remote(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint`, open to programs on this machine; others need the token."""

        async def guarded(request: Request) -> Response:
            if not (is_local(request) or self.admits(request.headers)):
                raise unauthorized()
            return await endpoint(request)

        return guarded


def is_local(connection: HTTPConnection) -> bool:
    """Whether the request was sent on this machine, not merely relayed by it."""
    peer = connection.client.host if connection.client else ""
    return is_loopback(peer) and not any(name in connection.headers for name in _RELAYED)


def unauthorized() -> HTTPException:
    """The answer to a request without the token."""
    return HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
