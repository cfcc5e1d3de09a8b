"""Twilio's REST API through the vendor's SDK: every request once, within a deadline.

The SDK's asynchronous client has no time-out that works and raises whatever its HTTP library does;
both end here. Nothing is ever sent twice: whoever may repeat a request does so knowingly.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from voicecall.carriers.twilio.faults import MAY_RING, TOO_MANY, Refused
from voicecall.clock import NS_PER_S
from voicecall.errors import CarrierError, DependencyMissing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from voicecall.clock import Clock

Region: TypeAlias = Literal["us1", "ie1", "au1"]

PUBLIC_API: Final = "https://api.twilio.com"

# A region is reached through an edge; us1 is where requests go that name none.
_EDGES: Mapping[str, str] = {"ie1": "dublin", "au1": "sydney"}
_HTTP_SERVER_ERROR = 500
# Twilio names no time of its own for most refusals; what is named beyond a minute is a mistake.
_DEFAULT_PAUSE_S = 1
_MAX_PAUSE_S = 60

logger = logging.getLogger("voicecall.carriers.twilio")


@dataclass(frozen=True, slots=True)
class Account:
    """Whose calls they are.

    Attributes:
        account_sid: names the account.
        auth_token: its secret.
        region: where Twilio keeps them; the token has to be of that region.
        api_base_url: scheme, host and port of another API, such as a simulator's; then there is no
            region.
    """

    account_sid: str
    auth_token: str = field(repr=False)
    region: Region | None = None
    api_base_url: str | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long requests may take, in seconds.

    Attributes:
        dial_s: placing a call. Longer than anybody waits for it, since an answer that comes late
            still names the call that has to be hung up.
        request_s: everything else.
    """

    dial_s: float = 30.0
    request_s: float = 9.0


class Rest:
    """The three requests about calls. To be used in one event loop.

    To be made before calls are handled: loading the SDK takes a few hundred milliseconds.
    Overflow: the HTTP library keeps at most 100 connections; further requests wait for one, within
    their deadline.

    Args:
        account: whose calls they are.
        clock: measures how long Twilio wants to be left alone.
        timeouts: deadlines.

    Raises:
        DependencyMissing: the SDK is not installed.
    """

    def __init__(self, account: Account, clock: Clock, timeouts: Timeouts | None = None) -> None:
        self._sdk = _Sdk()
        self._account = account
        self._clock = clock
        self._timeouts = timeouts or Timeouts()
        self._http: _Transport | None = None
        self._client: Any = None
        self._quiet_until_ns = 0
        self._closed = False

    async def create(self, parameters: Mapping[str, Any]) -> str:
        """Place a call; Twilio's id of it.

        Raises:
            CarrierError: it was refused, or it is not known whether it was placed. It is
                `retryable` only when it surely was not.
        """
        if (pause_s := self._pause_s()) > 0:
            raise CarrierError(
                f"Twilio wants no requests for {pause_s:.1f} s; place the call later",
                retryable=True,
                status=429,
            )
        call = await self._ask(
            "place the call",
            lambda calls: calls.create_async(**parameters),
            timeout_s=self._timeouts.dial_s,
            doubt=MAY_RING,
        )
        if not isinstance(call.sid, str) or not call.sid:
            raise _unreadable("place the call", MAY_RING)
        return call.sid

    async def update(
        self, what: str, call_sid: str, parameters: Mapping[str, Any], *, doubt: str = ""
    ) -> None:
        """Change a call.

        Args:
            what: is being done, for errors.
            call_sid: the call.
            parameters: what changes, as the SDK names it.
            doubt: what to say when it may have been done, of a change that must not be repeated
                then; empty where repeating does no harm.

        Raises:
            CarrierError: it was refused, or it is not known whether it was done.
        """
        await self._patiently(
            what, lambda calls: calls(call_sid).update_async(**parameters), doubt=doubt
        )

    async def fetch(self, call_sid: str) -> tuple[str, str]:
        """A call's status and direction, as Twilio words them. Raises CarrierError."""
        what = "look the call up"
        call = await self._patiently(what, lambda calls: calls(call_sid).fetch_async())
        if not isinstance(call.status, str):
            raise _unreadable(what)
        return call.status, str(call.direction or "")

    async def account(self) -> tuple[str, str]:
        """The account's status and type, as Twilio words them. Raises CarrierError."""
        what = "look the account up"
        account = await self._patiently(what, lambda _: self._client.api.account.fetch_async())
        return str(account.status), str(account.type)

    async def voice_url(self, number: str) -> str | None:
        """Where calls to a number of this account are reported; None if it has no such number.

        Raises:
            CarrierError: it was refused, or there was no answer.
        """
        found = await self._patiently(
            "look fromNumber up",
            lambda _: self._client.api.account.incoming_phone_numbers.list_async(
                phone_number=number, limit=1
            ),
        )
        return str(found[0].voice_url or "") if found else None

    async def has_verified(self, number: str) -> bool:
        """Whether a number that is not the account's is verified for it. Raises CarrierError."""
        found = await self._patiently(
            "look fromNumber up",
            lambda _: self._client.api.account.outgoing_caller_ids.list_async(
                phone_number=number, limit=1
            ),
        )
        return bool(found)

    async def close(self) -> None:
        """Free the connections; what is asked for afterwards is refused."""
        self._closed = True
        if self._http is not None:
            await self._http.close()

    async def _patiently(
        self, what: str, request: Callable[[Any], Awaitable[Any]], *, doubt: str = ""
    ) -> Any:  # noqa: ANN401  (the SDK has no types)
        """Ask when Twilio wants to be asked, if that is soon enough."""
        timeout_s = self._timeouts.request_s
        pause_s = self._pause_s()
        if pause_s >= timeout_s:
            raise CarrierError(
                f"Twilio wants no requests for {pause_s:.0f} s", retryable=True, status=429
            )
        await asyncio.sleep(pause_s)
        return await self._ask(what, request, timeout_s=timeout_s - pause_s, doubt=doubt)

    async def _ask(
        self,
        what: str,
        request: Callable[[Any], Awaitable[Any]],
        *,
        timeout_s: float,
        doubt: str,
    ) -> Any:  # noqa: ANN401  (the SDK has no types)
        """Send one request.

        Args:
            what: is being done, for errors.
            request: sends it, given the SDK's calls.
            timeout_s: until when it has to be answered.
            doubt: what to say when it may have been done; empty for what may be repeated.
        """
        if self._closed:
            raise CarrierError(f"Twilio did not {what}: the carrier is closed")
        sdk = self._sdk
        # Nothing of the SDK's errors is chained: they repeat numbers and ids.
        try:
            async with asyncio.timeout(timeout_s):
                return await request(self._calls())
        except TimeoutError:
            raise CarrierError(
                f"Twilio did not answer within {timeout_s:.0f} s when asked to {what}"
                f"{_afterwards(doubt)}",
                retryable=not doubt,
            ) from None
        except sdk.not_connected as error:
            raise CarrierError(
                f"Twilio was not asked to {what}: no connection to {self._address()} "
                f"({type(error).__name__}); check the network and twilio.apiBaseUrl",
                retryable=True,
            ) from None
        except (sdk.broken, OSError) as error:
            raise CarrierError(
                f"the connection to {self._address()} broke when Twilio was asked to {what} "
                f"({type(error).__name__}){_afterwards(doubt)}",
                retryable=not doubt,
            ) from None
        except sdk.refusal as error:
            raise _refused(what, error, doubt) from None
        except Exception as error:  # noqa: BLE001  (a request's boundary: the SDK trusts answers)
            # Where it failed says enough; the error itself may repeat the answer.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            fields = {"error": type(error).__name__, "at": f"{frame.name}:{frame.lineno}"}
            logger.warning("Twilio's answer is unreadable", extra=fields)
            raise _unreadable(what, doubt) from None

    def _calls(self) -> Any:  # noqa: ANN401  (the SDK has no types)
        """The SDK's calls; its HTTP client can only be made in an event loop."""
        if self._client is None:
            self._http = _Transport(self._sdk.http(), self._on_too_many)
            self._client = self._sdk.client(self._account, self._http)
        return self._client.calls

    def _address(self) -> str:
        region = self._account.region
        edge = _EDGES.get(region or "")
        if self._account.api_base_url is None and edge is not None:
            return f"https://api.{edge}.{region}.twilio.com"
        return self._account.api_base_url or PUBLIC_API

    def _pause_s(self) -> float:
        return max(0.0, (self._quiet_until_ns - self._clock.now_ns()) / NS_PER_S)

    def _on_too_many(self, retry_after: str | None) -> None:
        named = retry_after is not None and retry_after.isascii() and retry_after.isdigit()
        pause_s = min(int(retry_after or 0), _MAX_PAUSE_S) if named else _DEFAULT_PAUSE_S
        logger.warning("Twilio wants fewer requests", extra={"pause_s": pause_s})
        until_ns = self._clock.now_ns() + pause_s * NS_PER_S
        self._quiet_until_ns = max(self._quiet_until_ns, until_ns)


class _Transport:
    """The SDK's HTTP client, overheard: its errors do not tell how long to wait.

    Args:
        http: the SDK's client.
        on_too_many: told the `Retry-After` of each answer that there were too many requests.
    """

    is_async = True

    def __init__(self, http: Any, on_too_many: Callable[[str | None], None]) -> None:  # noqa: ANN401  (the SDK has no types)
        self._http = http
        self._on_too_many = on_too_many

    async def request(
        self,
        *arguments: Any,  # noqa: ANN401  (handed on)
        headers: Mapping[str, str],
        auth: tuple[str, str] | None = None,
        **named: Any,  # noqa: ANN401  (handed on)
    ) -> Any:  # noqa: ANN401  (handed on)
        """Send a request."""
        if auth is not None:
            # The SDK 9.13 leaves this to a class that aiohttp 3.14 warns of and 4 lacks.
            credentials = base64.b64encode(":".join(auth).encode()).decode("ascii")
            headers = {**headers, "Authorization": f"Basic {credentials}"}
        response = await self._http.request(*arguments, headers=headers, **named)
        if response.status_code in TOO_MANY:
            self._on_too_many(response.headers.get("Retry-After"))
        return response

    async def close(self) -> None:
        """Free the connections."""
        await self._http.close()


class _Sdk:
    """What is used of the vendor's package, an optional one that takes a while to load.

    Attributes:
        not_connected: raised when nothing has been sent.
        broken: raised when something may have been.
        refusal: raised for answers other than success.
    """

    def __init__(self) -> None:
        try:
            import aiohttp  # noqa: PLC0415
            from twilio.base.exceptions import TwilioException  # noqa: PLC0415
            from twilio.http.async_http_client import AsyncTwilioHttpClient  # noqa: PLC0415
            from twilio.rest import Client  # noqa: PLC0415

            # The SDK loads this on first use, which would be during a call.
            from twilio.rest.api.v2010.account import call  # noqa: F401, PLC0415
        except ImportError as error:
            raise DependencyMissing(
                "provider twilio needs the package twilio; install voicecall[twilio]"
            ) from error
        self.not_connected: type[Exception] = aiohttp.ClientConnectorError
        self.broken: type[Exception] = aiohttp.ClientError
        self.refusal: type[Exception] = TwilioException
        self._make_http = AsyncTwilioHttpClient
        self._make_client = Client

    def http(self) -> Any:  # noqa: ANN401  (the SDK has no types)
        """An HTTP client without retries, which logs nothing: it would log ids and numbers."""
        silent = logging.Logger("twilio", logging.CRITICAL + 1)  # noqa: LOG001  (nobody's child)
        return self._make_http(logger=silent, max_retries=None)

    def client(self, account: Account, http: _Transport) -> Any:  # noqa: ANN401  (the SDK has no types)
        """A client that takes nothing from the environment."""
        # With another API's address a region would rewrite the host, even an IP address.
        region = account.region if account.api_base_url is None else None
        edge = _EDGES.get(region or "")
        client = self._make_client(
            account.account_sid,
            account.auth_token,
            http_client=http,
            region=region if edge else None,
            edge=edge,
            # An empty mapping would stand for the process's own.
            environment={"TWILIO_EDGE": ""},
        )
        if account.api_base_url is not None:
            client.api.base_url = account.api_base_url
        return client


def _refused(what: str, error: Any, doubt: str) -> Refused:  # noqa: ANN401  (the SDK has no types)
    http_status = error.status if isinstance(error.status, int) else _HTTP_SERVER_ERROR
    code = error.code if isinstance(error.code, int) else None
    # What is said is prefixed by the SDK, or split in title and detail.
    said = str(getattr(error, "msg", None) or getattr(error, "detail", None) or "")
    too_many = http_status in TOO_MANY or code in TOO_MANY
    broken = http_status >= _HTTP_SERVER_ERROR
    return Refused(
        f"{what}{_afterwards(doubt)}" if broken else what,
        http_status=http_status,
        twilio_code=code,
        said=said.removeprefix("Unable to create record: ").removeprefix(
            "Unable to update record: "
        ),
        retryable=too_many or (broken and not doubt),
    )


def _unreadable(what: str, doubt: str = "") -> CarrierError:
    return CarrierError(
        f"Twilio was asked to {what} and gave an unreadable answer{_afterwards(doubt)}",
        retryable=not doubt,
        status="unreadable",
    )


def _afterwards(doubt: str) -> str:
    return f"; {doubt}" if doubt else ""
