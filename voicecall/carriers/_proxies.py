"""Who a connection really comes from, when trusted proxies stand in between."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The proxies whose word about a client's address is believed.

    Args:
        entries: IP addresses and CIDR networks; an address with host bits set in a network is
            read as that network.

    Raises:
        ValueError: an entry is neither.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._networks = tuple(ipaddress.ip_network(entry, strict=False) for entry in entries)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether `address` is one of the proxies; False for what is no IP address."""
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """The address of the client behind `peer`.

        `X-Forwarded-For` is read from its right end, where the nearest proxy writes, and only as
        far as trusted proxies wrote it: everything further left may be the client's invention.

        Args:
            peer: the address of the socket's other end.
            forwarded_for: the `X-Forwarded-For` header, where there is one.
        """
        client = peer
        for entry in reversed((forwarded_for or "").split(",")):
            if not self.trusts(client):
                break
            hop = _parse(entry.strip())
            if hop is None:
                break
            client = str(hop)
        return client


def is_loopback(address: str) -> bool:
    """Whether `address` is this machine's own; False for what is no IP address."""
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


def _parse(address: str) -> _Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    # A dual-stack socket reports IPv4 peers as ::ffff:a.b.c.d; rules are written for a.b.c.d.
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
