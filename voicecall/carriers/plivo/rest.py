"""Plivo's official SDK with its traps closed: one request is sent once, and its answer returned.

The SDK of 4.63.0 repeats a POST up to three times on any 5xx and keeps the count of it on the
client, prints, and leaves out the status from its errors. Here it makes the requests, and we send
them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from voicecall.errors import ConfigError, DependencyMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

API_URL: Final = "https://api.plivo.com"
CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 15.0
DIAL_TIMEOUT_S: Final = 25.0
REQUEST_TIMEOUT_S: Final = 9.0
MAX_ANSWER_OCTETS: Final = 1024 * 1024

# Plivo counts requests in windows of five seconds.
_RETRY_AFTER_S: Final = 5.0
_MAX_RETRY_AFTER_S: Final = 60.0
_AUTH_ID = re.compile(r"[MS]A[A-Z0-9]{18}")


@dataclass(frozen=True, slots=True)
class Account:
    """Whose calls they are.

    Attributes:
        auth_id: 20 characters, `MA` or `SA` first.
        auth_token: the secret.
        api_url: where the API is; another one is a simulator or a gateway of one's own.
    """

    auth_id: str
    auth_token: str = field(repr=False)
    api_url: str = API_URL


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a request may take, in seconds.

    Attributes:
        connect_s: until there is a connection.
        read_s: until anything comes.
        dial_s: placing a call as a whole, waiting for a thread included.
        request_s: anything else as a whole, waiting until Plivo wants to be asked included.
    """

    connect_s: float = CONNECT_TIMEOUT_S
    read_s: float = READ_TIMEOUT_S
    dial_s: float = DIAL_TIMEOUT_S
    request_s: float = REQUEST_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Answer:
    """What Plivo answered.

    Attributes:
        status: the HTTP status.
        body: the JSON object; empty when there is none, or something else.
        retry_after_s: how long to ask nothing, for status 429.
    """

    status: int
    body: Mapping[str, Any]
    retry_after_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether Plivo did what it was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004  (RFC 9110, section 15.3)


def open_client(account: Account, timeouts: Timeouts) -> Any:  # noqa: ANN401  (the SDK has no types)
    """A client of the official SDK whose methods return an `Answer`. For one thread at a time.

    Raises:
        DependencyMissing: the SDK is not installed.
        ConfigError: `auth_id` is none of Plivo's.
    """
    try:
        # Only who calls through Plivo has it installed.
        from plivo import RestClient  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing('Plivo needs its SDK: pip install "voicecall[plivo]"') from error
    if not _AUTH_ID.fullmatch(account.auth_id):
        raise ConfigError("plivo.authId: must be 20 characters that begin with MA or SA")

    class OnceOnly(RestClient):  # type: ignore[misc]  # the SDK has no types
        """Sends every request once, wherever it is told to, and follows nobody."""

        def request(
            self, method: str, path: object = None, data: object = None, **options: object
        ) -> Answer:
            del options
            request = self.create_request(method, path, data)
            with self.session.send(
                request,
                timeout=(timeouts.connect_s, timeouts.read_s),
                # A dial that is sent on to somewhere else would be a second one.
                allow_redirects=False,
                stream=True,
            ) as response:
                body = response.raw.read(MAX_ANSWER_OCTETS, decode_content=True)
                return Answer(response.status_code, _object(body), _retry_after(response))

    client = OnceOnly(account.auth_id, account.auth_token)
    client.base_uri = f"{account.api_url.rstrip('/')}/v1/Account"
    # Neither proxies nor credentials from this machine's environment.
    client.session.trust_env = False
    return client


def close_client(client: Any) -> None:  # noqa: ANN401  (the SDK has no types)
    """Close a client's connections."""
    client.session.close()
    client.multipart_session.close()


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _retry_after(response: Any) -> float:  # noqa: ANN401  (neither has the library below it)
    if response.status_code != 429:  # noqa: PLR2004  (RFC 6585, section 4)
        return 0.0
    said = response.headers.get("Retry-After", "")
    return min(float(said), _MAX_RETRY_AFTER_S) if said.isdecimal() else _RETRY_AFTER_S
