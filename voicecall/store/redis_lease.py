"""Whose the live calls are, where several servers share a store.

Each server has a name and holds a lease on it for as long as its process renews it. Live calls
belong to a server *and* its process. Whoever starts goes on with the calls of its own name, and
with those of names that nobody holds: of servers that were killed and have not come back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from typing import TYPE_CHECKING, Final

from voicecall.errors import StoreError
from voicecall.store.redis_scripts import CLAIM, RELEASE, RENEW, SCHEMA_VERSION

if TYPE_CHECKING:
    from voicecall.store.redis_address import RedisAddress
    from voicecall.store.redis_link import RedisLink

_log = logging.getLogger("voicecall.store")

LEASE_MS: Final = 5000
"""How long a server's calls stay its own without a word from it. A server that was killed and is
started again waits for it, if nobody gave the lease back; a stop does."""

_RENEWALS: Final = 4
_LOOK_S: Final = 0.1


class RedisLease:
    """One process's hold on the live calls of one server.

    Args:
        link: the way to the store.
        address: which keys, and the server's name.
        lease_ms: how long the lease lasts without being renewed.
    """

    def __init__(self, link: RedisLink, address: RedisAddress, lease_ms: int = LEASE_MS) -> None:
        self.process = uuid.uuid4().hex
        """Tells this process from all others of the same server."""
        self.lease_ms = lease_ms
        self._link = link
        self._prefix = address.prefix
        self._server = address.server
        self._place = address.place
        self._renewing: asyncio.Task[None] | None = None

    @property
    def owner(self) -> str:
        """What the calls of this process are marked with."""
        return f"{self._server}#{self.process}"

    async def claim(self) -> int:
        """Take the lease and the live calls that come with it, and keep it.

        Waits for a lease that is running out: that of a process that was killed.

        Returns:
            how many live calls there are to go on with.

        Raises:
            StoreError: a server of this name is running, or the store cannot be used.
        """
        loop = asyncio.get_running_loop()
        # It has either run out by then, or somebody renews it.
        until_s = loop.time() + 2 * self.lease_ms / 1000
        left_ms = math.inf
        while True:
            answer = await self._link.ask(
                CLAIM.call(self._prefix, SCHEMA_VERSION, self._server, self.process, self.lease_ms)
            )
            if (taken := claimed(answer, self._place)) is not None:
                self._renewing = asyncio.create_task(self._renew(), name="keep the store's lease")
                return taken
            before_ms, left_ms = left_ms, int(answer[1])
            if left_ms > before_ms or loop.time() > until_s:
                raise StoreError(
                    f"store: {self._place} is used by another voicecall server named "
                    f"{self._server}; stop it, or give this one a name of its own: ?server=NAME"
                )
            if before_ms == math.inf:
                _log.info("waiting for an earlier process to be gone", extra={"ms": left_ms})
            await asyncio.sleep(_LOOK_S)

    async def release(self) -> None:
        """Give the lease back, so that nobody has to wait for it. Raises StoreError."""
        if self._renewing is None:
            return
        renewing, self._renewing = self._renewing, None
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await self._link.ask(RELEASE.call(self._prefix, self._server, self.process))

    async def _renew(self) -> None:
        renew = RENEW.call(self._prefix, self._server, self.process, self.lease_ms)
        while True:
            await asyncio.sleep(self.lease_ms / _RENEWALS / 1000)
            try:
                answer = await self._link.ask(renew)
            except StoreError:
                # The link says that the store is away; the next renewal finds out.
                _log.debug("the lease was not renewed", exc_info=True)
                continue
            if answer == b"lost":
                _log.error("another process took this server's calls", extra={"store": self._place})
                return


def claimed(answer: list[bytes], place: str) -> int | None:
    """How many calls `CLAIM` took; None while another process holds the lease.

    Raises:
        StoreError: the keys belong to a newer version, or to another program.
    """
    verdict = answer[0]
    if verdict == b"foreign":
        raise StoreError(f"store: {place} has keys of another program; choose another ?prefix=")
    if verdict == b"newer":
        raise StoreError(
            f"store: {place} was written by a newer voicecall (schema {answer[1].decode()}, this "
            f"one knows {SCHEMA_VERSION}); upgrade voicecall, or choose another ?prefix="
        )
    return int(answer[1]) if verdict == b"claimed" else None
