"""The URL a carrier signed, rebuilt from what arrived here.

A signature covers the URL the carrier was told to call, while the server sees whatever its tunnel
or proxy made of it. Everything here is pure: headers and addresses in, a URL out.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from voicecall.carriers._proxies import TrustedProxies
from voicecall.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORWARDED_HOST_HEADERS = ("x-forwarded-host", "x-original-host", "ngrok-forwarded-host")

# RFC 3986, section 3.2 without user info, and without the percent-encoding that no carrier uses.
_AUTHORITY = re.compile(
    r"(?P<host>\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class ForwardingPolicy:
    """What the signed URL may be built from.

    Attributes:
        public_url: the URL carriers were given, when it is known; wins over everything.
        allowed_hosts: hosts, with or without a port, that forwarding headers may name; empty
            means any.
        trust_headers: whether forwarding headers count although `allowed_hosts` is empty.
        proxies: peers whose forwarding headers count; empty means every peer's.
    """

    public_url: str | None = None
    allowed_hosts: frozenset[str] = frozenset()
    trust_headers: bool = False
    proxies: TrustedProxies = field(default_factory=TrustedProxies)

    def trusts_headers_of(self, peer: str) -> bool:
        """Whether forwarding headers sent by `peer` count."""
        wanted = self.trust_headers or bool(self.allowed_hosts)
        return wanted and (not self.proxies or self.proxies.trusts(peer))

    def allows_host(self, authority: str) -> bool:
        """Whether a forwarding header may name `authority` (a host, perhaps with a port)."""
        if not self.allowed_hosts:
            return True
        allowed = {host.lower().rstrip(".") for host in self.allowed_hosts}
        name = authority.lower()
        return name in allowed or _host_of(name) in allowed


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """Where a request was sent to and by whom, as the server saw it.

    Attributes:
        path: the path as sent, still percent-encoded.
        query: the query as sent, without its `?`; empty when there is none.
        headers: lower-case names.
        peer: the address of the socket's other end.
    """

    path: str
    query: str
    headers: Mapping[str, str]
    peer: str


def signed_url(policy: ForwardingPolicy, target: RequestTarget, *, trust_peer: bool = False) -> str:
    """The URL the carrier signed.

    Args:
        policy: what to believe.
        target: the request.
        trust_peer: believe this request's forwarding headers whatever `policy` says.

    Raises:
        VerificationError: nothing in the request names a usable host.
    """
    query = f"?{target.query}" if target.query else ""
    if policy.public_url is not None:
        public = urlsplit(policy.public_url)
        # A public URL without a path stands for the path that is served.
        path = target.path if public.path in {"", "/"} else public.path
        return f"{public.scheme}://{public.netloc}{path}{query}"
    if trust_peer or policy.trusts_headers_of(target.peer):
        host = _forwarded_host(policy, target.headers)
        if host is not None:
            return f"{_forwarded_scheme(target.headers)}://{host}{target.path}{query}"
    host = valid_authority(target.headers.get("host", ""))
    if host is None:
        raise VerificationError("the request names no usable host")
    return f"https://{host}{target.path}{query}"


def valid_authority(value: str) -> str | None:
    """`value` when it is a host with an optional port, else None.

    User info, characters that belong in no host name, broken IPv6 literals and ports above 65535
    are all refused.
    """
    match = _AUTHORITY.fullmatch(value)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        return None
    if match["ipv6"] is not None and not _is_ipv6(match["ipv6"]):
        return None
    return value


def _forwarded_host(policy: ForwardingPolicy, headers: Mapping[str, str]) -> str | None:
    for name in FORWARDED_HOST_HEADERS:
        host = valid_authority(_first(headers.get(name, "")))
        if host is not None and policy.allows_host(host):
            return host
    return None


def _forwarded_scheme(headers: Mapping[str, str]) -> str:
    scheme = _first(headers.get("x-forwarded-proto", "")).lower()
    return scheme if scheme in {"http", "https"} else "https"


def _first(value: str) -> str:
    # Each proxy of a chain appends its own view; the first one met the carrier.
    return value.partition(",")[0].strip()


def _host_of(authority: str) -> str:
    match = _AUTHORITY.fullmatch(authority)
    return match["host"].rstrip(".") if match else authority


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
