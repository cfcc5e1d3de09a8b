"""Routes through Tailscale: `serve` within the tailnet, `funnel` from the whole internet.

Routes are set in the background (`--bg`) and kept by tailscaled, since a foreground `tailscale
serve` holds a whole port and two paths are needed: webhook and media. What was set is taken away
again, and nothing else: what was there before stays, be it from `voicecall expose` or from a server
that was killed, until `voicecall expose --mode off`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from voicecall.errors import RemoteError, ServeError
from voicecall.exposure.process import NOT_FOUND, run
from voicecall.exposure.published import Door, Published, Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from voicecall.exposure.process import Outcome
    from voicecall.exposure.published import Mode

log = logging.getLogger("voicecall.exposure")

# Setting a route may wait for a certificate, or for an admin's consent in a browser.
COMMAND_TIMEOUT_S: Final = 20.0
# What a server that stops has for it.
CLOSE_TIMEOUT_S: Final = 2.5
CHECK_INTERVAL_S: Final = 30.0
# So many checks in a row may fail before that is taken for an answer.
MAX_FAILED_CHECKS: Final = 3
MAX_REASON_CHARS: Final = 400

NOT_INSTALLED: Final = (
    "tailscale: is not installed, or not in PATH; install it from https://tailscale.com/download, "
    "or set publicUrl to a URL that leads here"
)
# What the states that are not `Running` want.
_REMEDIES: Final = {
    "NeedsLogin": "this machine is not logged in; run: sudo tailscale up",
    "Stopped": "it is switched off; run: sudo tailscale up",
    "NeedsMachineAuth": "an admin of the tailnet has to approve this machine first",
}
_ADVICE: Final = {
    "doesn't appear to be running": "run: sudo systemctl start tailscaled",
    "denied": "allow this user to serve: sudo tailscale set --operator=$USER",
}


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of routes that were to be taken away.

    Attributes:
        removed: those that were.
        kept: what is served at the same paths and leads elsewhere, so is somebody else's.
    """

    removed: tuple[Route, ...]
    kept: tuple[Route, ...]


class Tailscale:
    """Routes of this machine's name in its tailnet.

    Args:
        mode: who may come.
        port: the public port.
        routes: what to serve; the first is the webhook's, which the public URL names.
        check_interval_s: how often to look whether all is still served.
    """

    def __init__(
        self,
        mode: Mode,
        port: int,
        routes: Sequence[Route],
        check_interval_s: float = CHECK_INTERVAL_S,
    ) -> None:
        self.name = f"tailscale {mode}"
        self._mode: Mode = mode
        self._port = port
        self._routes = tuple(routes)
        self._check_interval_s = check_interval_s
        self._set: list[Route] = []

    async def reach(self) -> AsyncGenerator[str | None, None]:
        """Be reachable for as long as this is iterated over; closing it takes the routes away.

        Yields:
            The public URL of the webhook, once.

        Raises:
            ServeError, RemoteError: as `open`; or the routes are no longer there.
        """
        try:
            door = await self.open()
            yield f"{door.url}{self._routes[0].path}"
            await self._watch(door)
        finally:
            await self.close()

    async def open(self) -> Door:
        """Set the routes; those that are there already are left as they are, now and later.

        Returns:
            Where they are.

        Raises:
            ServeError: tailscale is not installed, or a route of somebody else's is in the way.
            RemoteError: it is not logged in, refuses, or waits for an admin's consent.
        """
        door = Door(self._mode, await self._host(), self._port)
        published = await self._published()
        obstacle = published.obstacle(door, self._routes)
        if obstacle is not None:
            raise ServeError(f"{self.name}: {obstacle}")
        said = ""
        for route in self._routes:
            if published.has(door, route):
                log.info("route is there already and will be left there", extra=_fields(route))
                continue
            said = await self._command(
                self._mode, "--bg", "--yes", *self._place(route), route.target
            )
            self._set.append(route)
        published = await self._published()
        for route in self._routes:
            # It also says yes when the tailnet does not allow it yet, and how to allow it.
            if not published.has(door, route):
                raise RemoteError(f"{self.name}: {route.path} is not served: {_shortened(said)}")
        return door

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Take away what `open` set, and is still as it was set. Failing is logged only."""
        routes, self._set = self._set, []
        if not routes:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self.remove(routes)
        except (TimeoutError, RemoteError, ServeError) as error:
            log.warning(
                "routes are left in tailscale; take them away with: voicecall expose --mode off",
                extra={"reason": str(error) or f"it took more than {timeout_s:g} s"},
            )

    async def remove(self, routes: Sequence[Route] | None = None) -> Removal:
        """Take away those of `routes` that are served as they say; all of ours when None.

        Returns:
            What was taken away, and what stayed because it leads elsewhere.

        Raises:
            ServeError, RemoteError: as `open`.
        """
        door = Door(self._mode, await self._host(), self._port)
        published = await self._published()
        removed, kept = [], []
        for route in self._routes if routes is None else routes:
            target = published.target(door, route.path)
            if published.leads_to(door, route):
                # The same for both modes: with a port's last path its being public ends too.
                await self._command(self._mode, "--yes", *self._place(route), "off")
                removed.append(route)
            elif target is not None:
                kept.append(Route(route.path, target))
        return Removal(tuple(removed), tuple(kept))

    async def _watch(self, door: Door) -> None:
        """Return never; raise when the routes no longer are what they were."""
        failed = 0
        while True:
            await asyncio.sleep(self._check_interval_s)
            try:
                host, published = await self._host(), await self._published()
            except RemoteError:
                failed += 1
                if failed >= MAX_FAILED_CHECKS:
                    raise
                continue
            failed = 0
            if host != door.host:
                raise RemoteError(f"{self.name}: this machine has another name now", retryable=True)
            for route in self._routes:
                if not published.has(door, route):
                    raise RemoteError(
                        f"{self.name}: {route.path} is no longer served", retryable=True
                    )

    async def _host(self) -> str:
        """This machine's name in the tailnet."""
        status = _parsed(await self._command("status", "--json", "--peers=false"))
        state = status.get("BackendState")
        if state != "Running":
            remedy = _REMEDIES.get(str(state), "see: tailscale status")
            raise RemoteError(f"tailscale: {remedy}", retryable=True, status=str(state))
        own = status.get("Self")
        name = str(own.get("DNSName") or "").rstrip(".") if isinstance(own, dict) else ""
        if not name:
            raise RemoteError(
                "tailscale: this machine has no name; switch on MagicDNS and HTTPS certificates at "
                "https://login.tailscale.com/admin/dns"
            )
        return name

    async def _published(self) -> Published:
        return Published(_parsed(await self._command("serve", "status", "--json")))

    def _place(self, route: Route) -> list[str]:
        return [f"--https={self._port}", f"--set-path={route.path}"]

    async def _command(self, *arguments: str) -> str:
        """What `tailscale` with these arguments writes."""
        done = await run(("tailscale", *arguments), COMMAND_TIMEOUT_S)
        if done.status == NOT_FOUND and not done.err:
            raise ServeError(NOT_INSTALLED)
        if done.timed_out:
            said = _shortened(done.out + done.err) or "it said nothing"
            raise RemoteError(
                f"tailscale {arguments[0]}: not done within {COMMAND_TIMEOUT_S:g} s: {said}",
                retryable=True,
            )
        # Who is not logged in gets an answer and a status that is not 0.
        if done.status and not (arguments[0] == "status" and done.out.lstrip().startswith("{")):
            raise RemoteError(f"tailscale {arguments[0]}: {_refusal(done)}", status=done.status)
        return done.out


def _refusal(done: Outcome) -> str:
    said = _shortened(done.err or done.out) or f"it ended with status {done.status}"
    advice = [text for sign, text in _ADVICE.items() if sign in said]
    return " - ".join([said, *advice])


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(text or "null")
    except ValueError as error:
        raise RemoteError(f"tailscale: its answer is no JSON: {_shortened(text)}") from error
    return parsed if isinstance(parsed, dict) else {}


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MAX_REASON_CHARS else f"{words[:MAX_REASON_CHARS]}…"


def _fields(route: Route) -> dict[str, str]:
    return {"path": route.path, "target": route.target}
