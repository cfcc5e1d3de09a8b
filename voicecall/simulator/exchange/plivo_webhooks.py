"""How the simulated Plivo calls its customer back: how it signs, and how patient it is.

Source: Plivo, "Validating requests" and "Callback configurations".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import parse_qs, parse_qsl, urlsplit

from voicecall.simulator.exchange.webhooks import Habits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from voicecall.simulator.exchange.webhooks import Content

Version: TypeAlias = Literal["v3", "v2"]

RETRY_DELAY_S: Final = 0.25

_MS_PER_S = 1000
_HTTP_BAD_REQUEST = 400
_HTTP_SERVER_ERROR = 500
# Lowest, highest and usual value.
_CONNECT_MS = (100, 10_000, 2_000)
_READ_MS = (100, 40_000, 40_000)
_TOTAL_MS = (100, 55_000, 55_000)
_RETRIES = (0, 5, 1)
_POLICY = "ct,rt"

Fields: TypeAlias = Mapping[str, str]


class Signer:
    """Signs webhooks; see `webhooks.Sign`.

    Args:
        auth_token: of the account, or subaccount, whose call it is.
        main_auth_token: of the main account; the same when None.
        versions: which signatures are sent.
    """

    def __init__(
        self,
        auth_token: str,
        *,
        main_auth_token: str | None = None,
        versions: Collection[Version] = ("v3", "v2"),
    ) -> None:
        self._auth_token = auth_token
        self._main_auth_token = main_auth_token or auth_token
        self._versions = frozenset(versions)

    def __call__(self, method: str, url: str, content: Content) -> dict[str, str]:
        """The headers that prove a request, each time with a fresh nonce."""
        fields = content if isinstance(content, Mapping) else {}
        headers: dict[str, str] = {}
        for version in sorted(self._versions):
            nonce = str(secrets.randbelow(10**20))
            signed = f"{v3_base(method, url, fields)}." if version == "v3" else _address(url)
            name = version.upper()
            headers |= {
                f"X-Plivo-Signature-{name}": _mac(self._auth_token, signed + nonce),
                f"X-Plivo-Signature-Ma-{name}": _mac(self._main_auth_token, signed + nonce),
                f"X-Plivo-Signature-{name}-Nonce": nonce,
            }
        return headers


def v3_base(method: str, url: str, fields: Fields) -> str:
    """What a V3 signature covers before the dot and the nonce.

    The URL with its query sorted and decoded; after it, in a POST with a form, the form's fields,
    sorted, names and values run together.
    """
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    asked = "&".join(f"{name}={value}" for name in sorted(query) for value in sorted(query[name]))
    base = _address(url)
    if method == "GET" or not fields:
        return f"{base}?{asked}" if asked else base
    form = "".join(name + fields[name] for name in sorted(fields))
    return f"{base}?{asked}.{form}" if asked else f"{base}?{form}"


def patience(url: str) -> Habits:
    """How patient Plivo is with a URL, which may say so in its fragment.

    The keys are `ct` and `rt`, how long to connect and to read, and `tt`, how long in all, each in
    milliseconds; `rc`, how often to try again, up to 5; and `rp`, after what: `ct`, `rt`, `4xx`,
    `5xx` or `all`. What is missing or makes no sense is as usual.
    """
    wanted = dict(parse_qsl(urlsplit(url).fragment))
    longest_ms = _number(wanted, "ct", _CONNECT_MS) + _number(wanted, "rt", _READ_MS)
    policy = frozenset(wanted.get("rp", _POLICY).split(","))
    return Habits(
        timeout_s=min(longest_ms, _number(wanted, "tt", _TOTAL_MS)) / _MS_PER_S,
        attempts=1 + _number(wanted, "rc", _RETRIES),
        retry_delay_s=RETRY_DELAY_S,
        retry_on=_retry_on(policy),
    )


def _retry_on(policy: frozenset[str]) -> Callable[[int | None], bool]:
    def again(status: int | None) -> bool:
        if status is None:
            return bool(policy & {"ct", "rt", "all"})
        if status >= _HTTP_SERVER_ERROR:
            return bool(policy & {"5xx", "all"})
        return status >= _HTTP_BAD_REQUEST and bool(policy & {"4xx", "all"})

    return again


def _number(wanted: Mapping[str, str], name: str, limits: tuple[int, int, int]) -> int:
    low, high, usual = limits
    said = wanted.get(name, "")
    return int(said) if said.isdecimal() and low <= int(said) <= high else usual


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _mac(key: str, signed: str) -> str:
    mac = hmac.new(key.encode(), signed.encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode("ascii")
