"""What Tailscale serves on this machine, and what of that is in our way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

_HTTPS_PORT: Final = 443

Mode: TypeAlias = Literal["serve", "funnel"]


@dataclass(frozen=True, slots=True)
class Route:
    """One path of the machine's name that leads to a local server.

    Attributes:
        path: where it is mounted; everything below it goes there too.
        target: the URL that takes its place.
    """

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Door:
    """Where routes are mounted.

    Attributes:
        mode: `serve` within the tailnet, `funnel` for everybody.
        host: the machine's name in the tailnet.
        port: the port of that name, HTTPS.
    """

    mode: Mode
    host: str
    port: int

    @property
    def url(self) -> str:
        """Its URL, without a path."""
        port = "" if self.port == _HTTPS_PORT else f":{self.port}"
        return f"https://{self.host}{port}"

    @property
    def key(self) -> str:
        """What Tailscale calls it."""
        return f"{self.host}:{self.port}"


class Published:
    """What is served now.

    Args:
        status: what `tailscale serve status --json` says, parsed; None when nothing ever was.
    """

    def __init__(self, status: object) -> None:
        self._status = _mapping(status)

    def has(self, door: Door, route: Route) -> bool:
        """Whether exactly this is served, to exactly those it is meant for."""
        return self._is_public(door) == (door.mode == "funnel") and self.leads_to(door, route)

    def leads_to(self, door: Door, route: Route) -> bool:
        """Whether this is served, to whomever."""
        return self.target(door, route.path) == _comparable(route.target)

    def target(self, door: Door, path: str) -> str | None:
        """Where a path leads; None when nothing is mounted there."""
        handlers = self._handlers(door)
        handler = handlers.get(path, handlers.get(f"{path}/"))
        if handler is None:
            return None
        known = _mapping(handler)
        return _comparable(str(known.get("Proxy") or known.get("Path") or "a text"))

    def obstacle(self, door: Door, routes: Sequence[Route]) -> str | None:
        """Why `routes` must not be set: what of somebody else's would suffer; None if nothing."""
        port, command = door.port, f"tailscale serve --https={door.port}"
        for session in _mapping(self._status.get("Foreground")).values():
            if str(port) in _mapping(_mapping(session).get("TCP")):
                return (
                    f"port {port} is taken by a `tailscale serve` or `funnel` in a terminal; end "
                    "that, or set another tailscale.port"
                )
        listener = _mapping(self._status.get("TCP")).get(str(port))
        if listener is not None and not _mapping(listener).get("HTTPS"):
            return f"port {port} serves something other than HTTPS; set another tailscale.port"
        for route in routes:
            target = self.target(door, route.path)
            if target is not None and not self.leads_to(door, route):
                return (
                    f"{route.path} on port {port} leads to {target} already; if that is of no use "
                    f"any more: {command} --set-path={route.path} off, else set another "
                    "tailscale.port"
                )
        return self._side_effect(door, routes)

    def _side_effect(self, door: Door, routes: Sequence[Route]) -> str | None:
        """Whom a port is open to is one setting for all of its paths."""
        others = sorted(set(self._handlers(door)) - {route.path for route in routes})
        if not others or self._is_public(door) == (door.mode == "funnel"):
            return None
        if door.mode == "funnel":
            consequence = "would be open to the whole internet too"
        else:
            consequence = "would no longer be reached from the internet"
        return (
            f"port {door.port} also serves {', '.join(others)}, which {consequence}; set another "
            "tailscale.port (funnel: 443, 8443 or 10000)"
        )

    def _is_public(self, door: Door) -> bool:
        return _mapping(self._status.get("AllowFunnel")).get(door.key) is True

    def _handlers(self, door: Door) -> Mapping[str, Any]:
        web = _mapping(_mapping(self._status.get("Web")).get(door.key))
        return _mapping(web.get("Handlers"))


def _comparable(target: str) -> str:
    return target.rstrip("/")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
