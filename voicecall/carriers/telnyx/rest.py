"""Requests to Telnyx's REST API, each of them sent once.

The vendor's package `telnyx` repeats every request up to twice after an error, and follows
redirects, a dial included. Both are switched off here. What may be repeated without harm is
repeated by whoever asked for it.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from voicecall.carriers.telnyx.faults import MAY_RING, Refusal, Refused, pause_s, unreachable
from voicecall.errors import CarrierError, DependencyMissing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import httpx

    from voicecall.carriers.telnyx.markup import Command

API_URL: Final = "https://api.telnyx.com/v2"
MAX_CONNECTIONS: Final = 32

# Ids become part of a request's path, and a media socket may name any: no dots, and not endless.
_ID = re.compile(r"[A-Za-z0-9:_=+~/-]{1,256}")


@dataclass(frozen=True, slots=True)
class _Package:
    """The vendor's package, loaded.

    Attributes:
        client: its asynchronous client.
        status_error: raised for answers of 300 and above.
        connection_error: raised without an answer.
        unsent: causes of the latter which tell that nothing was sent.
    """

    client: Any
    status_error: Any
    connection_error: type[Exception]
    unsent: tuple[type[Exception], ...]


class Rest:
    """The REST API of one account.

    After an answer of 429 requests are held back for as long as Telnyx asks.

    Args:
        api_key: secret.
        base_url: of the API, with its version; None is Telnyx's own.
        timeout_s: how long any one request may take.

    Raises:
        DependencyMissing: the vendor's package is not installed.
    """

    def __init__(self, api_key: str, base_url: str | None, timeout_s: float) -> None:
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._package = _load(api_key, base_url or API_URL, timeout_s)
        # These load much of the package, too, which is not to happen during a call.
        self._calls = self._package.client.calls.with_raw_response
        self._actions = self._package.client.calls.actions.with_raw_response
        self._paused_until_s = 0.0

    async def dial(self, parameters: Mapping[str, Any]) -> bytes:
        """Place a call; the answer's body. Raises Refused or CarrierError."""
        return await self._send(
            "place the call", lambda: self._calls.dial(**parameters), doubt=MAY_RING
        )

    async def look_up(self, provider_call_id: str) -> bytes:
        """Ask about a call; the answer's body. Raises Refused or CarrierError."""
        what = "look the call up"
        _check_id(what, provider_call_id)
        return await self._send(what, lambda: self._calls.retrieve_status(provider_call_id))

    async def command(
        self, what: str, provider_call_id: str, command: Command, *, doubt: str = ""
    ) -> None:
        """Send a command about a call.

        Args:
            what: it is to do, for errors.
            provider_call_id: the call.
            command: the command.
            doubt: what to say when it may have been done, of one that must not be repeated then;
                empty where repeating does no harm.

        Raises:
            Refused: Telnyx answered, and not with a success.
            CarrierError: it did not answer.
        """
        _check_id(what, provider_call_id)
        send = getattr(self._actions, command.action)
        await self._send(what, lambda: send(provider_call_id, **command.parameters), doubt=doubt)

    async def application(self, connection_id: str) -> bytes:
        """Ask about a Call Control application; the answer's body. Raises Refused, CarrierError."""
        resource = self._package.client.call_control_applications.with_raw_response
        return await self._send(
            "look the Call Control application up", lambda: resource.retrieve(connection_id)
        )

    async def numbers(self, number: str) -> bytes:
        """Ask which numbers of the account match; the answer's body. Raises Refused, CarrierError.

        Args:
            number: E.164.
        """
        resource = self._package.client.phone_numbers.with_raw_response
        # With its plus nothing is found.
        wanted = {"phone_number": number.removeprefix("+")}
        return await self._send("look fromNumber up", lambda: resource.list(filter=wanted))

    async def close(self) -> None:
        """Free the connections."""
        await self._package.client.close()

    async def _send(
        self, what: str, request: Callable[[], Awaitable[Any]], *, doubt: str = ""
    ) -> bytes:
        """Send one request, once; the answer's body.

        Raises:
            Refused: Telnyx answered, and not with a success.
            CarrierError: it did not answer.
        """
        await self._wait_out_pause(what)
        package = self._package
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await request()
                return bytes(await answer.read())
        except TimeoutError:
            why = f"no answer within {self._timeout_s:g} s"
            raise unreachable(what, why, sent=True, doubt=doubt) from None
        except package.status_error as error:
            raise self._refused(what, error.response, doubt=doubt) from None
        except package.connection_error as error:
            sent = not isinstance(error.__cause__, package.unsent)
            why = type(error.__cause__ or error).__name__
            raise unreachable(what, why, sent=sent, doubt=doubt) from error

    async def _wait_out_pause(self, what: str) -> None:
        """Hold a request back while Telnyx wants none; nothing was sent, so nothing is repeated."""
        pause_left_s = self._paused_until_s - asyncio.get_running_loop().time()
        if pause_left_s >= self._timeout_s:
            raise CarrierError(
                f"Telnyx wants no requests for another {pause_left_s:.0f} s and was not asked to "
                f"{what}; try again then",
                retryable=True,
                status=int(HTTPStatus.TOO_MANY_REQUESTS),
            )
        if pause_left_s > 0:
            await asyncio.sleep(pause_left_s)

    def _refused(self, what: str, response: httpx.Response, *, doubt: str) -> Refused:
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            now_s = asyncio.get_running_loop().time()
            self._paused_until_s = max(self._paused_until_s, now_s + pause_s(response.headers))
        refusal = Refusal.read(response.status_code, response.content, self._api_key)
        return Refused(refusal, what, doubt=doubt)


def _check_id(what: str, provider_call_id: str) -> None:
    if not _ID.fullmatch(provider_call_id):
        raise CarrierError(f"cannot {what}: that is no id of a call at Telnyx", status="invalid")


def _load(api_key: str, base_url: str, timeout_s: float) -> _Package:
    """Load the vendor's package and make a client that sends each request once."""
    try:
        # An optional package, large, and needed on this carrier only.
        import httpx  # noqa: PLC0415
        import telnyx  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing(
            "calls through Telnyx need the package telnyx; install voicecall[telnyx]"
        ) from error
    client = telnyx.AsyncTelnyx(
        api_key=api_key,
        # Whatever is left out is taken from environment variables.
        public_key="",
        client_id="",
        client_secret="",
        base_url=base_url,
        max_retries=0,
        timeout=timeout_s,
        http_client=telnyx.DefaultAsyncHttpxClient(
            # A redirected dial would be a second one.
            follow_redirects=False,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=8),
        ),
    )
    return _Package(
        client=client,
        status_error=telnyx.APIStatusError,
        connection_error=telnyx.APIConnectionError,
        unsent=(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout),
    )
