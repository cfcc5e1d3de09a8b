"""The way to one server over HTTP: a request and its answer, and what goes wrong in between.

Nothing is ever sent twice. Whether to ask again is for the caller to decide: a dial whose answer
was lost may well be ringing somebody's phone.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

import httpx
import orjson

from voicecall.errors import ConfigError, InvalidRequest, RemoteError
from voicecall.faults import error_of

if TYPE_CHECKING:
    import ssl

PREFIX: Final = "voicecall."

_OK: Final = 200
_UNAUTHORIZED: Final = 401
_TOO_LONG: Final = 413
# What a proxy says when there is no server behind it, and our server when it has too many clients.
_UNAVAILABLE: Final = frozenset({502, 503, 504})
_MAX_REQUESTS: Final = 1000
# How OpenSSL says so; httpx keeps its words, but not its exception.
_NOT_BELIEVED: Final = "CERTIFICATE_VERIFY_FAILED"
_SCHEMES: Final = frozenset({"http", "https"})
_MAX_PORT: Final = 65_535
# Methods that change nothing, so that asking again does no harm.
_READING: Final = frozenset(
    f"{PREFIX}{name}" for name in ("status", "history", "changes", "latency", "continue.result")
) | {"rpc.discover"}


class Connection:
    """A pool of connections to one server, used in one event loop.

    Args:
        url: of its control plane, without a path.
        token: what it wants to see; empty for nothing.
        verify: as httpx has it.

    Raises:
        ConfigError: the URL is that of no server, or the token cannot be sent.
    """

    def __init__(self, url: str, token: str, verify: ssl.SSLContext | bool) -> None:
        self.url = _server_url(url)
        self._ids = itertools.count(1)
        self._http = httpx.AsyncClient(
            headers={b"Authorization": b"Bearer " + _sendable(token)} if token else {},
            # Deadlines are for whole requests, so they are not here. Without TLS nobody's
            # certificate is looked at, and loading those of all authorities takes a while.
            timeout=None,  # noqa: S113  (as just said)
            verify=verify if httpx.URL(self.url).scheme == "https" else False,
            limits=httpx.Limits(max_connections=_MAX_REQUESTS, max_keepalive_connections=20),
            # Whoever names a server here does not mean to ask a proxy for it.
            trust_env=False,
        )

    async def request(
        self, method: str, params: dict[str, object], timeout_s: float
    ) -> dict[str, Any]:
        """Have a method run.

        Args:
            method: its whole name.
            params: by name.
            timeout_s: how long it may take, the connection included.

        Raises:
            ConfigError: the server does not know the token.
            CallError, StoreError: as the server says.
            RemoteError: as the server says; or none is there, it did not answer in time, or what
                answers is none. `retryable` tells whether asking again may help and can do no harm.
        """
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        try:
            content = orjson.dumps(body)
        except TypeError as error:
            raise InvalidRequest(f"the parameters cannot be sent as JSON: {error}") from error
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.post(
                    f"{self.url}/rpc",
                    content=content,
                    headers={"content-type": "application/json"},
                )
        except TimeoutError as error:
            raise self._unanswered(f"within {timeout_s:g} s", method) from error
        except httpx.HTTPError as error:
            raise self._broken(error, method) from error
        return self._result(response, method)

    async def events(self, call_id: str | None, timeout_s: float) -> httpx.Response:
        """The stream of events, begun: every change from now on is in it.

        Args:
            call_id: whose changes alone are wanted; None for those of all calls.
            timeout_s: within which it has to begin.

        Returns:
            A response whose body is not read yet; the caller closes it.

        Raises:
            ConfigError, RemoteError: as `request` does.
        """
        params = {} if call_id is None else {"callId": call_id}
        request = self._http.build_request("GET", f"{self.url}/events", params=params)
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.send(request, stream=True)
        except TimeoutError as error:
            raise self._unanswered(f"within {timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise self._broken(error) from error
        kind = response.headers.get("content-type", "").partition(";")[0]
        if response.status_code == _OK and kind == "text/event-stream":
            return response
        await response.aclose()
        raise self._refusal(response.status_code)

    async def aclose(self) -> None:
        """Close every connection; what is still asked then fails."""
        await self._http.aclose()

    def _result(self, response: httpx.Response, method: str) -> dict[str, Any]:
        if response.status_code != _OK:
            raise self._refusal(response.status_code, method)
        match _decoded(response.content):
            case {"result": dict(result)}:
                return result
            case {"error": {"message": str()} as body}:
                raise error_of(body)
        raise self._stranger(response.status_code)

    def _refusal(self, status: int, method: str | None = None) -> Exception:
        """What an answer that is none means."""
        if status == _UNAUTHORIZED:
            return ConfigError(
                f"rpc.token: the server at {self.url} has another one; was it started with this "
                "configuration?"
            )
        if status == _TOO_LONG:
            return InvalidRequest(f"the server at {self.url} does not take a request that long")
        if status in _UNAVAILABLE:
            return RemoteError(
                f"the server at {self.url} is not available (HTTP {status})",
                retryable=_harmless(method),
                status=status,
            )
        return self._stranger(status)

    def _stranger(self, status: int) -> RemoteError:
        return RemoteError(f"what answers at {self.url} is no voicecall server", status=status)

    def _broken(self, error: httpx.HTTPError, method: str | None = None) -> RemoteError:
        if isinstance(error, httpx.ConnectError) and _NOT_BELIEVED in str(error):
            return RemoteError(f"the certificate of the server at {self.url} is not believed")
        if isinstance(error, httpx.ConnectError):
            # Nothing was sent, so nothing can have been done.
            return RemoteError(
                f"no server answers at {self.url}; start one with: voicecall serve", retryable=True
            )
        return self._unanswered(f"and the connection broke ({type(error).__name__})", method)

    def _unanswered(self, why: str, method: str | None = None) -> RemoteError:
        harmless = _harmless(method)
        doubt = "" if harmless else "; it is not known whether it was done"
        return RemoteError(
            f"the server at {self.url} did not answer {why}{doubt}", retryable=harmless
        )


def _server_url(url: str) -> str:
    """`url` without slashes at its end. Raises ConfigError: it leads to no server."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{url!r} is no URL: {error}") from error
    # httpx takes any number for a port, and no host at all.
    port = 1 if parsed.port is None else parsed.port
    if parsed.scheme not in _SCHEMES or not parsed.host or not 0 < port <= _MAX_PORT:
        raise ConfigError(f"{url!r} is no URL of a server, like http://127.0.0.1:3334")
    return url.rstrip("/")


def _sendable(token: str) -> bytes:
    """The token as octets of a header. Raises ConfigError: no header can hold it."""
    if not token.isprintable():
        raise ConfigError("rpc.token: has a line break or something else that cannot be sent")
    return token.encode()


def _harmless(method: str | None) -> bool:
    return method is None or method in _READING


def _decoded(content: bytes) -> object:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
