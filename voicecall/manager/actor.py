"""One call's actor: the only one that changes the call's record."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voicecall.call import machine
from voicecall.errors import CallHasEnded, CapacityReached, StoreError, VoicecallError
from voicecall.manager.dedupe import SeenKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.call.events import CallEvent
    from voicecall.call.record import CallRecord
    from voicecall.ports import CallStore

_log = logging.getLogger("voicecall.manager")

MAILBOX_EVENTS = 256
"""How many events of one call wait at most; more are refused, and the carrier sends them again."""

DEDUPE_KEYS = 500
"""How many facts one call remembers."""

_UNSAVED_CHANGES = 64
_STORE_TIMEOUT_S = 5.0

REPEATED_KEY = machine.Applied(None, ignored=machine.NoOp.REPEATED)
"""What applying a fact a second time does."""


@dataclass(frozen=True, slots=True)
class _Letter:
    event: CallEvent | None
    answer: asyncio.Future[machine.Applied]


class CallActor:
    """Applies events to one call in the order they arrive, and stores what they change.

    A change that could not be stored is kept and tried again with the next event, so that the
    call goes on; of more than 64 such changes the oldest are given up, while the record still
    holds what they did.

    Args:
        record: the call; from now on the actor's.
        created: the change that made the record, not stored yet.
        store: where changes go.
        on_applied: told of every event once its change is stored or could not be; must not raise.
    """

    def __init__(
        self,
        record: CallRecord,
        created: dict[str, Any],
        *,
        store: CallStore,
        on_applied: Callable[[CallRecord, machine.Applied], None],
    ) -> None:
        self.record = record
        self._store = store
        self._on_applied = on_applied
        self._seen: SeenKeys[str] = SeenKeys(DEDUPE_KEYS)
        self._unsaved: deque[dict[str, Any]] = deque([created], maxlen=_UNSAVED_CHANGES)
        self._mailbox: asyncio.Queue[_Letter | None] = asyncio.Queue()
        self._closed = False

    async def run(self) -> None:
        """Work until closed and the mailbox is empty."""
        try:
            while (letter := await self._mailbox.get()) is not None:
                await self._answer(letter)
        finally:
            self._closed = True
            self._refuse_rest()

    async def apply(self, event: CallEvent, *, urgent: bool = False) -> machine.Applied:
        """Apply the event; returns once what it changed is stored.

        Args:
            event: what happened.
            urgent: goes into a full mailbox, too; for the few events that end a call.

        Raises:
            CapacityReached: the mailbox is full.
            CallHasEnded: the call is over and its actor gone.
            IllegalTransition: the event is impossible; nothing was changed.
            StoreError: it was applied, but could not be stored yet.
        """
        if not urgent and self._mailbox.qsize() >= MAILBOX_EVENTS:
            raise CapacityReached(
                f"{MAILBOX_EVENTS} events of this call wait already", call_id=self.record.call_id
            )
        return await self._post(event)

    async def flush(self) -> None:
        """Store what is not stored yet. Raises StoreError."""
        await self._post(None)

    def close(self) -> None:
        """Take no more events; `run` returns once those waiting are done."""
        if not self._closed:
            self._closed = True
            self._mailbox.put_nowait(None)

    async def _post(self, event: CallEvent | None) -> machine.Applied:
        if self._closed:
            raise CallHasEnded("the call has ended", call_id=self.record.call_id)
        letter = _Letter(event, asyncio.get_running_loop().create_future())
        self._mailbox.put_nowait(letter)
        return await letter.answer

    async def _answer(self, letter: _Letter) -> None:
        try:
            applied = await self._handle(letter.event)
        except asyncio.CancelledError:
            letter.answer.cancel()
            raise
        except VoicecallError as error:
            self._fail(letter, error)
        except Exception as error:  # noqa: BLE001  (one bad event must not wedge the call)
            _log.exception("event broke", extra={"call_id": self.record.call_id})
            self._fail(letter, error)
        else:
            if not letter.answer.done():
                letter.answer.set_result(applied)

    def _refuse_rest(self) -> None:
        while not self._mailbox.empty():
            if (letter := self._mailbox.get_nowait()) is not None:
                self._fail(letter, CallHasEnded("the call has ended", call_id=self.record.call_id))

    async def _handle(self, event: CallEvent | None) -> machine.Applied:
        applied = REPEATED_KEY if event is None else self._apply(event)
        if applied.change is not None:
            self._unsaved.append(applied.change)
        try:
            await self._save()
        finally:
            if event is not None:
                self._on_applied(self.record, applied)
        return applied

    def _apply(self, event: CallEvent) -> machine.Applied:
        if event.dedupe_key in self._seen:
            return REPEATED_KEY
        applied = machine.apply(self.record, event)
        self._seen.add(event.dedupe_key)
        return applied

    async def _save(self) -> None:
        while self._unsaved:
            change = self._unsaved[0]
            try:
                async with asyncio.timeout(_STORE_TIMEOUT_S):
                    await self._store.save(self.record.to_json(), change)
            except TimeoutError as error:
                raise StoreError("the store did not answer in time") from error
            self._unsaved.popleft()

    def _fail(self, letter: _Letter, error: Exception) -> None:
        if not letter.answer.done():
            letter.answer.set_exception(error)
