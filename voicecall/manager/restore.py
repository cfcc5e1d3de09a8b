"""What becomes of the calls that were live when an earlier process ended.

First all of them are taken up or closed, from what the store says: from then on events find them
and their slots are taken. Then the carrier is asked about each that was taken up, a few at a time:

============================================ ====================================================
the record, or the carrier's word of it      what becomes of the call
============================================ ====================================================
has no carrier's id                          closed as an error: if its dial succeeded after all,
                                             its first event has it hung up
is another carrier's                         closed as an error: nobody can be asked about it
is older than the limit on its duration      closed as an error, and hung up
has ended, for a reason                      ends for that reason
is alive                                     kept; limits count on, media may come back
unknown, or the carrier does not say         kept; limits count on and decide
============================================ ====================================================

No row dials. A call that was handed on, when the process ended before it could write that down,
is alive to the carrier: it is kept, and ends for want of media.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from voicecall.call import machine
from voicecall.call.events import CallEnded
from voicecall.call.record import CallRecord, CallState
from voicecall.errors import CarrierError
from voicecall.ports import CarrierStatus

if TYPE_CHECKING:
    from voicecall.clock import Clock
    from voicecall.manager.index import LiveCall
    from voicecall.manager.lifecycle import Lifecycle
    from voicecall.manager.settings import CallSettings
    from voicecall.ports import CallStore, Carrier, StreamUrls

ConnectMedia: TypeAlias = Callable[[CallRecord, str], Awaitable[None]]
"""Has the carrier connect the media of a live call to a URL. Raises `CarrierError`."""

_log = logging.getLogger("voicecall.manager")

_ASKED_AT_ONCE: Final = 8
# Calls that the carrier was not asked about by then are left to their limits.
_WITHIN_S: Final = 30.0

_UNKNOWN: Final = CarrierStatus(alive=False)


class Restore:
    """Takes calls up again after a restart, once.

    Args:
        calls: where they live from now on.
        settings: limits.
        carrier: asked what became of them.
        store: knows them.
        clock: tells how old they are.
        urls: where carriers connect media; None without media streaming.
        connect_media: has the carrier connect media; None for carriers that ask for it.
    """

    def __init__(
        self,
        calls: Lifecycle,
        *,
        settings: CallSettings,
        carrier: Carrier,
        store: CallStore,
        clock: Clock,
        urls: StreamUrls | None = None,
        connect_media: ConnectMedia | None = None,
    ) -> None:
        self._calls = calls
        self._settings = settings
        self._carrier = carrier
        self._store = store
        self._clock = clock
        self._urls = urls
        self._connect_media = connect_media
        self._taken_up: list[LiveCall] = []
        self._free = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def take_up(self) -> int:
        """Take up every call that can be, close the others; how many were taken up.

        Raises:
            StoreError: they could not be read, or closed.
        """
        found = [_readable(stored) for stored in await self._store.live()]
        verdicts = [(record, self._lost(record)) for record in found if record is not None]
        lost = [(record, why) for record, why in verdicts if why is not None]
        await asyncio.gather(*(self._close(record, why) for record, why in lost))
        kept = [record for record, why in verdicts if why is None]
        self._taken_up = [self._calls.resume(record) for record in kept]
        if verdicts:
            counts = {"taken_up": len(self._taken_up), "closed": len(lost)}
            _log.info("calls of an earlier process", extra=counts)
        return len(self._taken_up)

    async def reconcile(self) -> None:
        """Ask the carrier about the calls taken up, and let their limits count.

        Takes 30 s at most.
        """
        deadline = asyncio.get_running_loop().time() + _WITHIN_S
        await asyncio.gather(*(self._settle(call, deadline) for call in self._taken_up))
        self._taken_up.clear()

    # --- calls that cannot be taken up --------------------------------------------------------

    def _lost(self, record: CallRecord) -> str | None:
        """Why the call cannot be taken up, if so."""
        if record.provider_call_id is None:
            return "the carrier had not named it"
        if record.provider != self._carrier.name:
            return "it is another carrier's"
        since_ms = record.started_at if record.answered_at is None else record.answered_at
        if self._clock.wall_ms() - since_ms > self._settings.max_duration_ms:
            return "it is older than calls may be"
        return None

    async def _close(self, record: CallRecord, why: str) -> None:
        event_id = str(uuid.uuid4())
        ended = CallEnded(
            id=event_id,
            dedupe_key=event_id,
            timestamp=self._clock.wall_ms(),
            call_id=record.call_id,
            reason=CallState.ERROR,
        )
        record.metadata["lastError"] = f"the call could not be taken up after a restart: {why}"
        change = machine.apply(record, ended).change
        if change is not None:
            await self._store.save(record.to_json(), change)
            self._calls.changes.publish(change)
        if record.provider_call_id is not None and record.provider == self._carrier.name:
            _ = self._calls.hang_ups.request(record.provider_call_id)
        _log.warning("call closed after a restart", extra={"call_id": record.call_id, "why": why})

    # --- calls that can -----------------------------------------------------------------------

    async def _settle(self, call: LiveCall, deadline: float) -> None:
        try:
            status = await self._ask(call, deadline)
            if status.end_reason is not None:
                ended = CallEnded(**self._calls.stamp(call), reason=status.end_reason)
                await self._calls.apply(call, ended)
                return
            if status.alive:
                await self._reconnect(call, deadline)
            await call.actor.flush()
        except Exception:  # noqa: BLE001  (one call's trouble must not keep the others)
            _log.exception("call not reconciled", extra={"call_id": call.call_id})
        finally:
            self._calls.resume_timers(call)

    async def _ask(self, call: LiveCall, deadline: float) -> CarrierStatus:
        fields = {"call_id": call.call_id, "carrier": self._carrier.name}
        try:
            async with (
                asyncio.timeout_at(deadline),
                self._free,
                asyncio.timeout(self._settings.carrier_timeout_ms / 1000),
            ):
                return await self._carrier.status(call.provider_call_id or "")
        except TimeoutError:
            _log.warning("the carrier did not say in time what became of a call", extra=fields)
        except CarrierError as error:
            _log.warning(
                "the carrier cannot say what became of a call", exc_info=error, extra=fields
            )
        return _UNKNOWN

    async def _reconnect(self, call: LiveCall, deadline: float) -> None:
        """Have a call's media connected again; if that fails, it ends for want of media."""
        record = call.record
        if self._connect_media is None or self._urls is None or record.answered_at is None:
            return
        try:
            async with (
                asyncio.timeout_at(deadline),
                self._free,
                asyncio.timeout(self._settings.carrier_timeout_ms / 1000),
            ):
                await self._connect_media(record, self._urls.issue(call.call_id))
        except (TimeoutError, CarrierError) as error:
            fields = {"call_id": call.call_id}
            _log.warning("media could not be connected again", exc_info=error, extra=fields)


def _readable(stored: Mapping[str, Any]) -> CallRecord | None:
    try:
        return CallRecord.from_json(stored)
    except (KeyError, TypeError, ValueError) as error:
        # Left as it is: whoever wrote it can still read it.
        fields = {"call_id": stored.get("callId"), "error": repr(error)}
        _log.error("a live call's record makes no sense", extra=fields)
        return None
