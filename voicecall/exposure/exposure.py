"""Keeping a server reachable from outside for as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

from voicecall.errors import RemoteError, VoicecallError
from voicecall.metrics import Reading

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

log = logging.getLogger("voicecall.exposure")

# Before each new attempt; the last one again and again.
PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
# What held for so long is not counted with what comes later.
STEADY_S: Final = 60.0
CLOSE_TIMEOUT_S: Final = 3.0


class Tunnel(Protocol):
    """One way to be reached from outside."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def reach(self) -> AsyncGenerator[str | None, None]:
        """Be reachable for as long as this is iterated over; closing it ends that.

        Yields:
            The public URL whenever it becomes known or changes, None whenever it stops working.

        Raises:
            ServeError, RemoteError: it does not work, or no longer; the message says what to do.
        """
        ...


class Exposure:
    """Holds a tunnel open, and opens it again whenever it breaks.

    Args:
        tunnel: how to be reached.
        on_url: told the public URL when it is first known and whenever it is another one.
        pauses_s: how long to wait before each new attempt.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        on_url: Callable[[str], None],
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._tunnel = tunnel
        self._on_url = on_url
        self._pauses_s = pauses_s
        self._up = False
        self._url: str | None = None
        self._reason: str | None = None
        self._restarts = 0
        self._keeper: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether we are reachable now, as far as the agent says."""
        return self._up

    def state(self) -> dict[str, Any]:
        """For `/readyz`: by what, whether, at which URL, and if not, why."""
        state = {
            "by": self._tunnel.name,
            "up": self._up,
            "url": self._url,
            "restarts": self._restarts,
        }
        return state if self._reason is None else {**state, "reason": self._reason}

    def readings(self) -> Iterator[Reading]:
        """For `/metrics`."""
        labels = {"by": self._tunnel.name}
        yield Reading(
            "exposure_up", "Whether the tunnel works, 1 or 0", "gauge", float(self._up), labels
        )
        yield Reading(
            "exposure_restarts", "Tunnels opened again", "counter", self._restarts, labels
        )

    async def open(self) -> str:
        """Become reachable.

        Returns:
            The public URL.

        Raises:
            ServeError, RemoteError: it does not work; nothing is tried again.
        """
        first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(first), name="exposure")
        try:
            return await first
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Be reachable no longer; within 3 s."""
        if self._keeper is None:
            return
        self._keeper.cancel()
        await asyncio.wait({self._keeper}, timeout=CLOSE_TIMEOUT_S)
        self._up = False

    async def _keep(self, first: asyncio.Future[str]) -> None:
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await self._hold(first)
            except Exception as error:  # noqa: BLE001  (told to who waits, or logged by `_lost`)
                if not first.done():
                    first.set_exception(error)
                    return
                self._lost(error)
            if loop.time() - started >= STEADY_S:
                attempt = 0
            await asyncio.sleep(self._pauses_s[min(attempt, len(self._pauses_s) - 1)])
            attempt += 1
            self._restarts += 1

    async def _hold(self, first: asyncio.Future[str]) -> None:
        """Open the tunnel and follow what becomes of it, until it breaks."""
        async with contextlib.aclosing(self._tunnel.reach()) as urls:
            async for url in urls:
                if url is None:
                    self._lost(RemoteError("the connection was lost and is being restored"))
                    continue
                self._reached(url)
                if not first.done():
                    first.set_result(url)
        raise RemoteError(f"{self._tunnel.name}: it ended", retryable=True)

    def _reached(self, url: str) -> None:
        before, self._url = self._url, url
        self._up, self._reason = True, None
        fields: Mapping[str, object] = {"by": self._tunnel.name, "public_url": url}
        if before is None:
            log.info("reachable from outside", extra=fields)
        elif before == url:
            log.info("reachable from outside again", extra=fields)
        else:
            log.warning(
                "reachable from outside at another URL, which new calls are given; "
                "calls under way were given the one before",
                extra={**fields, "before": before},
            )
        if before != url:
            self._on_url(url)

    def _lost(self, error: Exception) -> None:
        self._up = False
        self._reason = str(error)
        log.error(
            "not reachable from outside: carriers cannot report calls",
            extra={"by": self._tunnel.name, "reason": str(error)},
            # What is no error of the tunnel's is one of ours.
            exc_info=None if isinstance(error, VoicecallError) else error,
        )
