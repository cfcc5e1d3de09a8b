"""Whether a public URL is one: its form, and whether its address is reached from everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from voicecall.diagnosis.check import fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.network import Resolve

Address: TypeAlias = IPv4Address | IPv6Address

_PORTS: Final = {"http": 80, "https": 443}
# RFC 6761, RFC 6762, RFC 8375, RFC 9476; and what routers and clouds make up.
_LOCAL_SUFFIXES: Final = (
    "localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "home.arpa",
    "corp", "private", "test", "example", "invalid", "onion", "alt",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads.

    Attributes:
        key: of the setting that has the URL.
        url: as configured.
        rehearsal: whether the carrier is a simulated one on this machine, for which an address that
            nobody else can reach will do.
    """

    key: str
    url: str
    rehearsal: bool = False

    @property
    def host(self) -> str:
        """Name or address, lower case."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """TCP port."""
        parts = urlsplit(self.url)
        return parts.port or _PORTS[parts.scheme]

    @property
    def encrypted(self) -> bool:
        """Whether it begins with https."""
        return urlsplit(self.url).scheme == "https"


def look_at_form(place: Place, *, streams: bool) -> Finding:
    """What the URL itself says, without asking anybody.

    Args:
        place: the URL.
        streams: whether media come by it, too, which carriers send through TLS only.
    """
    parts = urlsplit(place.url)
    remedy = f'set {place.key} to what leads here from outside, such as "https://calls.example.com"'
    if parts.query or parts.fragment:
        return fail(f"{place.url} has a query or a fragment", remedy)
    if (why := _unreachable_name(place.host)) is not None:
        return _nobodys(place, f"{place.host} is {why}", remedy)
    if place.encrypted:
        return ok(place.url)
    unencrypted = f"{place.url} is not encrypted"
    remedy = f'set {place.key} to "https://{parts.netloc}", with a certificate there'
    if streams:
        return fail(f"{unencrypted}, and carriers send media to wss:// only", remedy)
    return warn(unencrypted, remedy)


async def look_at_name(place: Place, resolve: Resolve) -> Finding:
    """Whether the name has an address that carriers reach.

    Raises:
        RemoteError: it has none.
    """
    if _address(place.host) is not None:
        return ok(f"{place.host} is an address itself")
    addresses = await resolve(place.host, place.port)
    shown = ", ".join(addresses)
    local = [why for each in addresses if (why := _unreachable_address(each)) is not None]
    if len(local) == len(addresses):
        remedy = f"point the DNS record of {place.host} to the public address of this machine"
        if _is_tailnet(addresses):
            remedy = 'set tunnel.provider to "tailscale-funnel": "serve" is for the tailnet alone'
        return _nobodys(place, f"{place.host} is {shown}, {local[0]}", remedy)
    if local:
        return warn(
            f"{place.host} is {shown}, of which some are {local[0]}",
            f"remove them from the DNS records of {place.host}",
        )
    if all(":" in each for each in addresses):
        return warn(
            f"{place.host} is {shown}, and carriers come over IPv4",
            f"give {place.host} a DNS record of type A",
        )
    return ok(f"{place.host} is {shown}")


def is_here(url: str | None) -> bool:
    """Whether a URL names this machine's loopback interface."""
    host = urlsplit(url or "").hostname or ""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _nobodys(place: Place, found: str, remedy: str) -> Finding:
    """A place that no carrier reaches; one that is simulated on this machine does."""
    if place.rehearsal:
        return warn(f"{found}: only the simulated carrier on this machine reaches it", remedy)
    return fail(f"{found}: no carrier reaches it", remedy)


def _unreachable_name(host: str) -> str | None:
    if _address(host) is not None:
        return _unreachable_address(host)
    name = host.rstrip(".")
    if name in _LOCAL_SUFFIXES or name.endswith(tuple(f".{each}" for each in _LOCAL_SUFFIXES)):
        return "a name for private use"
    return "no full name" if "." not in name else None


def _unreachable_address(text: str) -> str | None:
    address = _address(text)
    if address is None or (address.is_global and not address.is_multicast):
        return None
    kinds = {
        "a loopback address": address.is_loopback,
        "a link-local address": address.is_link_local,
        "an address that stands for any": address.is_unspecified,
        "a multicast address": address.is_multicast,
        "a private address": address.is_private,
    }
    return next((kind for kind, is_it in kinds.items() if is_it), "a reserved address")


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_tailnet(addresses: Sequence[str]) -> bool:
    return all(each.startswith(("100.", "fd7a:115c:a1e0:")) for each in addresses)
