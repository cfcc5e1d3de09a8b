"""A carrier, a store and conversations in memory, under the tests' control."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from tests.call.calls import event
from voicecall.call.events import CallAnswered, CallEvent, CallInitiated, CallSpeech
from voicecall.call.record import CallState, Direction
from voicecall.clock import ManualClock
from voicecall.errors import StoreError
from voicecall.manager.manager import CallManager
from voicecall.manager.settings import CallSettings
from voicecall.ports import CarrierStatus, Playback
from voicecall.store.memory import MemoryCallStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from voicecall.call.record import CallRecord
    from voicecall.ports import DialRequest

CALLEE = "+15550000002"


class FakeCarrier:
    name = "mock"

    def __init__(self) -> None:
        self.dials: list[DialRequest] = []
        self.hung_up: list[str] = []
        self.keys: list[tuple[str, str]] = []
        self.handed_on: list[tuple[str, str]] = []
        self.transfer_error: Exception | None = None
        self.transfer_gate = asyncio.Event()
        self.transfer_gate.set()
        self.dial_error: Exception | None = None
        self.hang_up_error: Exception | None = None
        self.dial_gate = asyncio.Event()
        self.hang_up_gate = asyncio.Event()
        self.dial_gate.set()
        self.hang_up_gate.set()

    async def dial(self, request: DialRequest) -> str:
        self.dials.append(request)
        name = f"CA{len(self.dials)}"
        await self.dial_gate.wait()
        if self.dial_error is not None:
            raise self.dial_error
        return name

    async def hang_up(self, provider_call_id: str) -> None:
        self.hung_up.append(provider_call_id)
        await self.hang_up_gate.wait()
        if self.hang_up_error is not None:
            raise self.hang_up_error

    async def send_dtmf(self, provider_call_id: str, digits: str) -> None:
        self.keys.append((provider_call_id, digits))

    async def transfer(self, provider_call_id: str, to: str) -> None:
        self.handed_on.append((provider_call_id, to))
        await self.transfer_gate.wait()
        if self.transfer_error is not None:
            raise self.transfer_error

    async def status(self, provider_call_id: str) -> CarrierStatus:
        return CarrierStatus(alive=provider_call_id not in self.hung_up)

    async def close(self) -> None:
        pass


class FakeStore(MemoryCallStore):
    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.stored: list[Mapping[str, Any]] = []

    async def save(self, record: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise StoreError("the disk is full")
        self.stored.append(change)
        await super().save(record, change)


class FakeConversation:
    def __init__(self, record: CallRecord, opening: str | None) -> None:
        self.record = record
        self.opening = opening
        self.said: list[str] = []
        self.closed = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.on_close: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.told: list[tuple[Any, ...]] = []
        self.sounds_keys = False

    def answered(self) -> None:
        self.told.append(("answered",))

    def heard(self, text: str, *, awaited: bool) -> None:
        self.told.append(("heard", text, awaited))

    def pressed(self, digits: str) -> None:
        self.told.append(("pressed", digits))

    async def press(self, digits: str) -> bool:
        await self.gate.wait()
        if self.sounds_keys:
            self.told.append(("press", digits))
        return self.sounds_keys

    async def say(self, text: str) -> Playback:
        self.said.append(text)
        await self.gate.wait()
        return Playback(1000, 1000, interrupted=False)

    async def close(self) -> None:
        self.closed = True
        if self.on_close is not None:
            await self.on_close()


class FakeConversations:
    def __init__(self) -> None:
        self.opened: list[FakeConversation] = []
        self.error: Exception | None = None

    def open(self, record: CallRecord, opening: str | None) -> FakeConversation:
        if self.error is not None:
            raise self.error
        self.opened.append(FakeConversation(record, opening))
        return self.opened[-1]


class FakeUrls:
    def __init__(self) -> None:
        self.valid: set[str] = set()

    def issue(self, call_id: str) -> str:
        self.valid.add(call_id)
        return f"wss://example.com/{call_id}"

    def revoke(self, call_id: str) -> None:
        self.valid.discard(call_id)


class World:
    """A call manager and everything around it."""

    def __init__(self, **settings: Any) -> None:
        self.carrier = FakeCarrier()
        self.store = FakeStore()
        self.clock = ManualClock()
        self.conversations = FakeConversations()
        self.urls = FakeUrls()
        self._serial = itertools.count()
        self.manager = CallManager(
            CallSettings(**{"from_number": "+15550000001", **settings}),
            carrier=self.carrier,
            store=self.store,
            clock=self.clock,
            urls=self.urls,
            conversations=self.conversations,
            transfer=self.carrier,
        )

    async def dialled(self, **asked: Any) -> CallRecord:
        return await self.manager.initiate("Good day.", **{"to": CALLEE, **asked})

    async def answered(self, **asked: Any) -> CallRecord:
        record = await self.dialled(**asked)
        await self.tell(CallAnswered, record)
        return record

    async def tell(self, kind: type[CallEvent], record: CallRecord, **fields: Any) -> None:
        await self.manager.apply(event(kind, **{"call_id": record.call_id, **fields}))

    async def hear(self, record: CallRecord, text: str, **fields: Any) -> None:
        await self.tell(CallSpeech, record, text=text, **fields)

    async def incoming(self, provider_call_id: str, **fields: Any) -> None:
        told = {
            "provider_call_id": provider_call_id,
            "direction": Direction.INBOUND,
            "from_number": "+15550009999",
            "to_number": "+15550000001",
        }
        await self.manager.apply(event(CallInitiated, **{**told, **fields}))

    async def pass_ms(self, ms: float) -> None:
        self.manager.timers.fire_due(self.clock.advance_ms(ms))
        await asyncio.sleep(0)

    async def until_over(self, record: CallRecord, state: CallState) -> None:
        await until(lambda: record.state.terminal)
        assert record.state is state

    async def until_idle(self) -> None:
        """Until nothing is left of any call but its record."""
        await until(lambda: len(self.manager._calls.index) == 0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (any condition, no waiting for time to pass)
            await asyncio.sleep(0)


def run(case: Callable[[World], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """Run `case` in a world of its own, and check that nothing survives the end of that world."""

    async def whole() -> None:
        world = World(**settings)
        try:
            await case(world)
        finally:
            world.carrier.dial_gate.set()
            world.carrier.hang_up_gate.set()
            world.carrier.transfer_gate.set()
            await world.manager.close(within_s=1)
        assert world.manager.live_count == 0
        assert world.manager.live() == []
        assert not world.urls.valid
        assert all(conversation.closed for conversation in world.conversations.opened)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())
