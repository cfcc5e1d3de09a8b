"""Finding calls by our id or the carrier's."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord, CallState
    from voicecall.manager.actor import CallActor
    from voicecall.ports import Conversation


@dataclass(slots=True, eq=False)
class LiveCall:
    """A call whose actor is at work, and what belongs to it.

    Attributes:
        actor: changes the record.
        opened_ns: when the call began, on the monotonic clock.
        provider_call_id: the carrier's id, known a moment earlier than the record has it.
        conversation: its speaking side, where calls have one.
        answer: whoever waits for the caller's next words waits for this.
        ending: at work when the call is being ended.
        ending_as: the reason it is being ended for; wins over what the carrier makes of it.
        dial: at work while the carrier is asked to place the call.
        transfer: at work while the carrier is asked to hand the call on.
        ended: set once the call is over.
    """

    actor: CallActor
    opened_ns: int
    provider_call_id: str | None = None
    conversation: Conversation | None = None
    answer: asyncio.Future[str] | None = None
    ending: asyncio.Task[None] | None = None
    ending_as: CallState | None = None
    dial: asyncio.Task[None] | None = None
    transfer: asyncio.Task[None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def record(self) -> CallRecord:
        """The call's record, to be read only."""
        return self.actor.record

    @property
    def call_id(self) -> str:
        """Our id of the call."""
        return self.actor.record.call_id


class CallIndex:
    """All live calls, and the records of the calls that ended last.

    Args:
        ended_limit: how many records of ended calls are kept; the oldest is forgotten.
    """

    def __init__(self, ended_limit: int = 1000) -> None:
        self._ended_limit = ended_limit
        self._live: dict[str, LiveCall] = {}
        self._ended: OrderedDict[str, CallRecord] = OrderedDict()
        self._own_ids: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._live)

    def add(self, call: LiveCall) -> None:
        """Take in a new call."""
        self._live[call.call_id] = call
        if call.provider_call_id is not None:
            self._own_ids[call.provider_call_id] = call.call_id

    def learn(self, call: LiveCall, provider_call_id: str) -> bool:
        """Note the carrier's id of a call; False when either is known to belong to another."""
        if call.provider_call_id is None and provider_call_id not in self._own_ids:
            call.provider_call_id = provider_call_id
            self._own_ids[provider_call_id] = call.call_id
        return call.provider_call_id == provider_call_id

    def retire(self, call: LiveCall) -> None:
        """Keep only the record of a call that has ended."""
        self._live.pop(call.call_id, None)
        self._ended[call.call_id] = call.record
        while len(self._ended) > self._ended_limit:
            _, record = self._ended.popitem(last=False)
            self._own_ids.pop(record.provider_call_id or "", None)

    def calls(self) -> list[LiveCall]:
        """All calls whose actors are at work; some may have ended a moment ago."""
        return list(self._live.values())

    def live(self, any_id: str) -> LiveCall | None:
        """A call whose actor is at work, by our id or the carrier's."""
        return self._live.get(self._own_ids.get(any_id, any_id))

    def record(self, any_id: str) -> CallRecord | None:
        """A record by our id or the carrier's, as far as memory reaches."""
        if (call := self.live(any_id)) is not None:
            return call.record
        return self._ended.get(self._own_ids.get(any_id, any_id))
