"""Whole courses of one call: what the carrier does, what it reports and when, and what we ask."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tests.manager.fakes import CALLEE, FakeConversations, FakeUrls
from tests.manager.virtual_time import loop
from voicecall.call.events import (
    CallActive,
    CallAnswered,
    CallDtmf,
    CallEnded,
    CallErrored,
    CallEvent,
    CallInitiated,
    CallRinging,
    CallSpeech,
)
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.errors import CarrierError, StoreError, VoicecallError
from voicecall.manager.manager import CallManager
from voicecall.manager.settings import CallSettings
from voicecall.ports import CarrierStatus, DialRequest
from voicecall.store.memory import MemoryCallStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voicecall.ports import CallStore

NAME = "CA1"
RING_MS = 30_000
DURATION_MS = 60_000
STALE_MS = 150_000
DIAL_TIMEOUT_MS = 15_000
# When carriers send a webhook again that was answered with an error.
RETRIES_S = (1.0, 5.0, 30.0)
# By then every limit has expired, and everything that is repeated was.
HORIZON_S = 300.0

Dialled = Literal["placed", "lost", "refused", "broken", "silent"]
HungUp = Literal["done", "flaky", "refused", "silent"]
HandedOn = Literal["done", "refused", "silent"]

FACTS: Mapping[str, tuple[type[CallEvent], dict[str, Any]]] = {
    "initiated": (CallInitiated, {}),
    "ringing": (CallRinging, {}),
    "answered": (CallAnswered, {}),
    "active": (CallActive, {}),
    "speech": (CallSpeech, {"text": "Hello."}),
    "dtmf": (CallDtmf, {"digits": "1"}),
    "machine": (CallErrored, {"message": "a machine took the call"}),
    "broken": (CallErrored, {"message": "no media", "retryable": False}),
    **{
        reason.value: (CallEnded, {"reason": reason})
        for reason in (
            CallState.COMPLETED,
            CallState.HANGUP_USER,
            CallState.BUSY,
            CallState.NO_ANSWER,
            CallState.VOICEMAIL,
        )
    },
}
ENDS = frozenset(name for name, (kind, _) in FACTS.items() if kind is CallEnded)
PROVES_ANSWER = frozenset({"answered", "active", "speech", "dtmf"})

DESK = "+15550000009"

Wish = Literal["end", "speak", "ask", "press", "stream", "transfer", "media lost"]


@dataclass(frozen=True)
class Delivery:
    """One arrival of one webhook.

    Attributes:
        at_ms: after the dial was asked for.
        fact: what it reports; the same fact is the same event, however often it arrives.
        named: whether it has the carrier's id of the call.
        ours: whether it has our id of it.
    """

    at_ms: int
    fact: str
    named: bool = True
    ours: bool = True


@dataclass(frozen=True)
class Asked:
    """One thing that somebody wants of the call."""

    at_ms: int
    wish: Wish


@dataclass(frozen=True)
class Course:
    """What happens to one call.

    Attributes:
        dialled: how the carrier takes the dial. A `lost` one was placed, but its answer is an
            error; a `silent` one was placed and is never answered.
        dial_ms: until it answers.
        hung_up: how it takes a hang-up.
        hang_up_ms: until it answers that.
        handed_on: how it takes a transfer.
        transfer_ms: until it answers that.
        arrivals: of webhooks.
        wishes: of whoever uses the call.
        store_ms: how long the store takes for each change.
        outage_ms: from when until when it fails.
        direction: who calls.
    """

    dialled: Dialled = "placed"
    dial_ms: int = 100
    hung_up: HungUp = "done"
    hang_up_ms: int = 100
    handed_on: HandedOn = "done"
    transfer_ms: int = 100
    arrivals: tuple[Delivery, ...] = ()
    wishes: tuple[Asked, ...] = ()
    store_ms: int = 0
    outage_ms: tuple[int, int] | None = None
    direction: Direction = Direction.OUTBOUND


class CourseCarrier:
    """Does as the course says.

    Attributes:
        dials: what it was asked to place.
        asked: the calls it was asked to hang up, as often as it was.
        handed_on: the calls it has handed on.
        asked_to_dial: set with the first dial.
    """

    name = "mock"

    def __init__(self, course: Course) -> None:
        self._course = course
        self.dials: list[DialRequest] = []
        self.asked: list[str] = []
        self.handed_on: list[str] = []
        self.answered = False
        self.asked_to_dial = asyncio.Event()

    async def dial(self, request: DialRequest) -> str:
        self.dials.append(request)
        self.asked_to_dial.set()
        if self._course.dialled == "silent":
            await asyncio.Event().wait()
        await asyncio.sleep(self._course.dial_ms / 1000)
        if self._course.dialled == "broken":
            raise RuntimeError("a bug in an adapter")
        if self._course.dialled == "lost":
            raise CarrierError("the connection was reset", retryable=False)
        if self._course.dialled == "refused":
            raise CarrierError("no credit", status=402)
        self.answered = True
        return NAME

    async def hang_up(self, provider_call_id: str) -> None:
        self.asked.append(provider_call_id)
        if self._course.hung_up == "silent":
            await asyncio.Event().wait()
        await asyncio.sleep(self._course.hang_up_ms / 1000)
        if self._course.hung_up == "refused":
            raise CarrierError("not yours", status=403)
        if self._course.hung_up == "flaky" and len(self.asked) < 3:
            raise CarrierError("come again", status=503, retryable=True)

    async def send_dtmf(self, provider_call_id: str, digits: str) -> None:
        del provider_call_id, digits

    async def transfer(self, provider_call_id: str, to: str) -> None:
        assert to == DESK
        if self._course.handed_on == "silent":
            await asyncio.Event().wait()
        await asyncio.sleep(self._course.transfer_ms / 1000)
        if self._course.handed_on == "refused":
            raise CarrierError("not now", status=400)
        self.handed_on.append(provider_call_id)

    async def status(self, provider_call_id: str) -> CarrierStatus:
        del provider_call_id
        return CarrierStatus(alive=True)

    async def close(self) -> None:
        pass


class OutsideStore:
    """A store that may work in other threads, and fails for a while.

    Args:
        inner: keeps the records.
        store_ms: how much longer each change takes.

    Attributes:
        fails_between_s: when nothing can be stored.
    """

    def __init__(self, inner: CallStore, store_ms: int) -> None:
        self._inner = inner
        self._store_ms = store_ms
        self.fails_between_s: tuple[float, float] | None = None

    async def save(self, record: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        if self.fails_between_s is not None:
            begin_s, end_s = self.fails_between_s
            if begin_s <= loop().time() < end_s:
                raise StoreError("the disk is full")
        await asyncio.sleep(self._store_ms / 1000)
        with loop().outside():
            await self._inner.save(record, change)

    async def get(self, call_id: str) -> Mapping[str, Any] | None:
        with loop().outside():
            return await self._inner.get(call_id)

    async def live(self) -> Sequence[Mapping[str, Any]]:
        with loop().outside():
            return await self._inner.live()

    async def recent(self, limit: int) -> Sequence[Mapping[str, Any]]:
        with loop().outside():
            return await self._inner.recent(limit)

    async def changes(
        self, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        with loop().outside():
            return await self._inner.changes(after, limit)

    async def newest_change(self) -> int:
        with loop().outside():
            return await self._inner.newest_change()

    async def close(self) -> None:
        with loop().outside():
            await self._inner.close()


@dataclass
class Outcome:
    """What has come of a course.

    Attributes:
        manager: that held the call.
        carrier: that carried it.
        conversations: that it was given.
        told: every change, in order.
        stored: the call's record in the store.
        failed: what asking for the call raised.
    """

    manager: CallManager
    carrier: CourseCarrier
    conversations: FakeConversations
    told: list[Mapping[str, Any]] = field(default_factory=list)
    stored: Mapping[str, Any] | None = None
    failed: Exception | None = None

    @property
    def record(self) -> CallRecord | None:
        """The call's record; None when there was no call."""
        opened = self.conversations.opened
        return opened[0].record if opened else None


async def take(course: Course, inner: CallStore | None = None) -> Outcome:
    """Let a course happen, and wait until it is over for good.

    Raises:
        TimeoutError: it never is.
    """
    carrier, conversations = CourseCarrier(course), FakeConversations()
    store = OutsideStore(MemoryCallStore() if inner is None else inner, course.store_ms)
    manager = CallManager(
        CallSettings(
            from_number="+15550000001",
            inbound_policy="open",
            ring_timeout_ms=RING_MS,
            max_duration_ms=DURATION_MS,
            stale_after_ms=STALE_MS,
            dial_timeout_ms=DIAL_TIMEOUT_MS,
        ),
        carrier=carrier,
        store=store,
        clock=loop(),
        urls=FakeUrls(),
        conversations=conversations,
        transfer=carrier,
    )
    outcome = Outcome(manager, carrier, conversations)
    feed = manager.subscribe()
    if course.outage_ms is not None:
        begin_ms, end_ms = course.outage_ms
        store.fails_between_s = loop().time() + begin_ms / 1000, loop().time() + end_ms / 1000
    try:
        await _Happening(course, outcome).whole()
        await asyncio.sleep(HORIZON_S)
        if outcome.record is not None:
            outcome.stored = await store.get(outcome.record.call_id)
    finally:
        await manager.close()
    outcome.told = [change async for change in feed]
    return outcome


class _Happening:
    def __init__(self, course: Course, outcome: Outcome) -> None:
        self._course = course
        self._outcome = outcome
        self._manager = outcome.manager
        self._call_id: str | None = None

    async def whole(self) -> None:
        async with asyncio.TaskGroup() as group:
            if self._course.direction is Direction.OUTBOUND:
                group.create_task(self._dial())
                await self._dialled()
            for arrival in self._course.arrivals:
                group.create_task(self._arrive(arrival))
            for asked in self._course.wishes:
                group.create_task(self._wish(asked))

    async def _dial(self) -> None:
        try:
            await self._manager.initiate("Good day.", CALLEE, "conversation")
        except (VoicecallError, RuntimeError) as error:
            self._outcome.failed = error

    async def _dialled(self) -> None:
        """Wait until the call is asked for at the carrier, or has failed before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._outcome.carrier.asked_to_dial.wait()
        record = self._outcome.record
        assert record is not None
        self._call_id = record.call_id

    async def _arrive(self, arrival: Delivery) -> None:
        await asyncio.sleep(arrival.at_ms / 1000)
        kind, fields = FACTS[arrival.fact]
        event = kind(
            id=arrival.fact,
            dedupe_key=f"{NAME}:{arrival.fact}",
            timestamp=loop().wall_ms(),
            call_id=self._call_id if arrival.ours else None,
            provider_call_id=NAME if arrival.named else None,
            direction=self._course.direction,
            from_number="+15550009999",
            to_number="+15550000001",
            **fields,
        )
        for pause_s in RETRIES_S:
            try:
                await self._manager.apply(event)
            except StoreError:
                await asyncio.sleep(pause_s)
            else:
                return

    async def _wish(self, asked: Asked) -> None:
        await asyncio.sleep(asked.at_ms / 1000)
        call_id = self._call_id or NAME
        with suppress(VoicecallError):
            match asked.wish:
                case "end":
                    await self._manager.end(call_id)
                case "speak":
                    await self._manager.speak(call_id, "Hello?")
                case "ask":
                    await self._manager.ask(call_id, "How are you?")
                case "press":
                    await self._manager.send_dtmf(call_id, "1")
                case "transfer":
                    await self._manager.transfer(call_id, DESK)
                case "media lost":
                    await self._manager.end(call_id, CallState.HANGUP_USER)
                case "stream":
                    self._manager.learn_provider_id(call_id, NAME)
