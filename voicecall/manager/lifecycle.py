"""Opening, placing and ending calls: everything a call holds is taken and given back here."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from voicecall.call import policy
from voicecall.call.events import CallActive, CallEnded, CallInitiated
from voicecall.call.machine import (
    TRANSFERRED_TO,
    Heard,
    NoOp,
    Pressed,
    Release,
    StartMaxDuration,
    StopRing,
)
from voicecall.call.record import CallRecord, CallState, Direction, Speaker
from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.errors import CallHasEnded, CarrierError, InvalidRequest, StoreError
from voicecall.manager.actor import CallActor
from voicecall.manager.changes import ChangeFeed
from voicecall.manager.dedupe import SeenKeys
from voicecall.manager.hangups import HangUps
from voicecall.manager.index import CallIndex, LiveCall
from voicecall.manager.slots import Slots
from voicecall.manager.tasks import Tasks
from voicecall.manager.timers import Timers

if TYPE_CHECKING:
    from voicecall.call.events import CallEvent
    from voicecall.call.machine import Applied, Effect
    from voicecall.clock import Clock
    from voicecall.manager.settings import CallSettings
    from voicecall.ports import (
        CallStore,
        Carrier,
        CarrierTransfer,
        Conversations,
        DialRequest,
        StreamUrls,
    )

_log = logging.getLogger("voicecall.manager")

REAPER_PERIOD_NS = 30 * NS_PER_S
PROCESS_DEDUPE_KEYS = 10_000

# A dial whose answer comes later than this is given up on: no carrier holds a request for so long.
_LATE_DIAL_S = 60.0
_CONVERSATION_CLOSE_S = 5.0
# As long as a media socket may be silent before it counts as lost.
_MEDIA_RETURN_MS = 30_000
_STORE_RETRY_DELAYS_S = (1.0, 5.0, 30.0)


class CallMetrics(Protocol):
    """What is counted about calls. Calls are quick and never raise."""

    def call_started(self, direction: Direction) -> None:
        """A call was taken on or is being placed."""
        ...

    def call_ended(self, direction: Direction, reason: CallState) -> None:
        """A call is over."""
        ...

    def call_refused(self, reason: str) -> None:
        """A call was not taken: `policy` or `capacity`."""
        ...


class EventHead(TypedDict):
    """The fields that events of our own have in common."""

    id: str
    dedupe_key: str
    timestamp: int
    call_id: str


class Lifecycle:
    """Holds the live calls.

    Args:
        settings: limits and times.
        carrier: places and ends calls.
        store: keeps what changes.
        clock: dates events and measures limits.
        urls: where carriers connect media; None without media streaming.
        conversations: the speaking side of calls; None for calls nobody speaks on.
        metrics: counts calls.

    Attributes:
        index: the calls.
        slots: admission.
        timers: the calls' deadlines.
        tasks: background work.
        hang_ups: ends calls at the carrier.
        changes: told of everything that changes.
        ignored: how many events changed nothing, by reason.
    """

    def __init__(
        self,
        settings: CallSettings,
        *,
        carrier: Carrier,
        store: CallStore,
        clock: Clock,
        urls: StreamUrls | None,
        conversations: Conversations | None,
        metrics: CallMetrics | None,
    ) -> None:
        self._settings = settings
        self._carrier = carrier
        self._store = store
        self._clock = clock
        self._urls = urls
        self._conversations = conversations
        self._metrics = metrics
        self._seen: SeenKeys[tuple[str, str]] = SeenKeys(PROCESS_DEDUPE_KEYS)
        self.index = CallIndex()
        self.slots = Slots(settings.max_concurrent_calls)
        self.timers = Timers(clock)
        self.tasks = Tasks()
        self.hang_ups = HangUps(carrier, self.tasks, timeout_s=settings.carrier_timeout_ms / 1000)
        self.changes = ChangeFeed(clock)
        self.ignored: Counter[str] = Counter()
        self._reaper_due_ns: int | None = None

    # --- beginning ----------------------------------------------------------------------------

    def open(
        self,
        *,
        direction: Direction,
        from_number: str,
        to_number: str,
        opening: str | None,
        metadata: dict[str, Any],
        provider_call_id: str | None = None,
    ) -> LiveCall:
        """Take a call on: reserve its slot, start its actor and open its conversation.

        Raises:
            CapacityReached: there is no slot. Nothing was changed.
        """
        call_id = str(uuid.uuid4())
        remote = from_number if direction is Direction.INBOUND else to_number
        scope = self._settings.session_scope
        record = CallRecord(
            call_id=call_id,
            provider=self._carrier.name,
            direction=direction,
            state=CallState.INITIATED,
            from_number=from_number,
            to_number=to_number,
            session_key=policy.session_key(scope, call_id=call_id, remote=remote),
            started_at=self._clock.wall_ms(),
            # Kept until it was heard, should the process end before.
            metadata={**metadata, "initialMessage": opening} if opening else metadata,
        )
        self.slots.reserve(call_id)
        return self._enter(record, opening, provider_call_id, "call.created")

    def resume(self, record: CallRecord) -> LiveCall:
        """Take up a call of an earlier process: it has a slot and a conversation again.

        Its limits do not count until `resume_timers`, but for media, which it waits for from now
        on if it was answered.
        """
        self.slots.hold(record.call_id)
        said = any(entry.speaker is Speaker.BOT for entry in record.transcript)
        opening = None if said else record.metadata.get("initialMessage")
        call = self._enter(record, opening, record.provider_call_id, "call.restored")
        if record.answered_at is not None:
            if self._urls is not None:
                self._limit(call, "media", _MEDIA_RETURN_MS, CallState.ERROR)
            if call.conversation is not None:
                call.conversation.answered()
        return call

    def resume_timers(self, call: LiveCall) -> None:
        """Let the limits of a call taken up count, less the time that has passed already."""
        record, settings = call.record, self._settings
        if record.state.terminal:
            return
        if record.answered_at is None:
            left_ms = settings.ring_timeout_ms - self._passed_ms(record.started_at)
            self._limit(call, "ring", left_ms, CallState.NO_ANSWER)
        else:
            left_ms = settings.max_duration_ms - self._passed_ms(record.answered_at)
            self._limit(call, "duration", left_ms, CallState.TIMEOUT)

    def _passed_ms(self, since_ms: int) -> int:
        # Across a restart only the wall clock counts, and somebody may have set it back.
        return max(0, self._clock.wall_ms() - since_ms)

    def _enter(
        self, record: CallRecord, opening: str | None, provider_call_id: str | None, how: str
    ) -> LiveCall:
        """Make a call that has its slot one of the live ones."""
        try:
            call = self._begin(record, opening, how)
        except BaseException:
            self.slots.release(record.call_id)
            raise
        self.index.add(call)
        if provider_call_id is not None:
            self.index.learn(call, provider_call_id)
        if self._metrics is not None:
            self._metrics.call_started(record.direction)
        self._start_reaper()
        return call

    def _begin(self, record: CallRecord, opening: str | None, how: str) -> LiveCall:
        begun = {
            "type": how,
            "timestamp": self._clock.wall_ms(),
            "callId": record.call_id,
            "state": record.state.value,
            "direction": record.direction.value,
        }
        actor = CallActor(record, begun, store=self._store, on_applied=self._on_applied)
        age_ns = self._passed_ms(record.started_at) * NS_PER_MS
        call = LiveCall(actor, self._clock.now_ns() - age_ns)
        if self._conversations is not None:
            call.conversation = self._conversations.open(record, opening)
        self.tasks.spawn(actor.run(), "call")
        return call

    def expect_answer(self, call: LiveCall) -> None:
        """Begin to count how long the call goes unanswered."""
        record = call.record
        if record.answered_at is None and not record.state.terminal:
            self._limit(call, "ring", self._settings.ring_timeout_ms, CallState.NO_ANSWER)

    async def place(self, call: LiveCall, request: DialRequest) -> None:
        """Ask the carrier to place the call, once.

        A call that is ended meanwhile is hung up as soon as its id is known, however late. One
        that is answered meanwhile goes on, whatever the carrier's own answer.

        Raises:
            CarrierError: it was refused, or did not answer in time.
        """
        call.dial = self.tasks.start(self._dial(call, request), "dial")
        try:
            await self._accepted(call.dial)
        except CarrierError as error:
            if call.record.answered_at is None:
                raise
            fields = {"call_id": call.call_id}
            _log.warning("answered, though its dial failed", extra=fields, exc_info=error)
        self.expect_answer(call)

    async def _accepted(self, dial: asyncio.Task[None]) -> None:
        done, _ = await asyncio.wait({dial}, timeout=self._settings.dial_timeout_ms / 1000)
        if not done:
            raise CarrierError("the carrier did not say in time whether it places the call")
        await dial

    async def note_provider_id(self, call: LiveCall, provider_call_id: str) -> None:
        """Write the carrier's id into the record; if it cannot be stored yet, it soon will be."""
        event = CallInitiated(**self.stamp(call), provider_call_id=provider_call_id)
        try:
            await call.actor.apply(event, urgent=True)
        except StoreError as error:
            fields = {"call_id": call.call_id}
            _log.warning("the carrier's id is not stored yet", extra=fields, exc_info=error)

    async def _dial(self, call: LiveCall, request: DialRequest) -> None:
        async with asyncio.timeout(_LATE_DIAL_S):
            provider_call_id = await self._carrier.dial(request)
        if not self.index.learn(call, provider_call_id):
            self._count("two ids", call.call_id)
        # One that was handed on meanwhile is over only here.
        over = call.record.state.terminal and TRANSFERRED_TO not in call.record.metadata
        if over or call.ending is not None:
            _ = self.hang_ups.request(provider_call_id)
        await self.note_provider_id(call, provider_call_id)

    # --- events -------------------------------------------------------------------------------

    def stamp(self, call: LiveCall) -> EventHead:
        """What is common to events of our own about `call` that happen now."""
        event_id = str(uuid.uuid4())
        return {
            "id": event_id,
            "dedupe_key": event_id,
            "timestamp": self._clock.wall_ms(),
            "call_id": call.call_id,
        }

    async def apply(self, call: LiveCall, event: CallEvent) -> None:
        """Apply an event to the call.

        Raises:
            CapacityReached: too many events of the call wait.
            IllegalTransition: the event is impossible.
            StoreError: it was applied, but could not be stored yet.
        """
        unnamed = call.provider_call_id is None
        if event.provider_call_id and not self.index.learn(call, event.provider_call_id):
            self._count("two ids", call.call_id)
            return
        if unnamed and call.record.state.terminal:
            self._hang_up_open_line(event)
        if isinstance(event, CallEnded) and call.ending_as is not None:
            # The carrier reports the hang-up we asked for; only we know what it was for.
            event = replace(event, reason=call.ending_as)
        try:
            await call.actor.apply(event)
        except CallHasEnded:
            self.ignore(call.record, event)
            return
        if isinstance(event, CallActive):
            self.timers.cancel((call.call_id, "media"))
        self._seen.add((call.call_id, event.dedupe_key))

    def ignore(self, record: CallRecord, event: CallEvent) -> None:
        """Take note of an event of a call that is over."""
        if record.provider_call_id is None:
            self._hang_up_open_line(event)
        repeated = (record.call_id, event.dedupe_key) in self._seen
        self._count("repeated" if repeated else "over", record.call_id)

    def _hang_up_open_line(self, event: CallEvent) -> None:
        """End a call that was given up on before its id was known, now that it is."""
        if event.provider_call_id is not None and not isinstance(event, CallEnded):
            _ = self.hang_ups.request(event.provider_call_id)

    def _count(self, reason: str, call_id: str) -> None:
        self.ignored[reason] += 1
        _log.debug("event ignored", extra={"call_id": call_id, "reason": reason})

    def _on_applied(self, record: CallRecord, applied: Applied) -> None:
        if applied.change is not None:
            self.changes.publish(applied.change)
        elif applied.ignored is not None:
            self._count(applied.ignored.value, record.call_id)
        call = self.index.live(record.call_id)
        if call is not None:
            for effect in applied.effects:
                self._run(call, effect)

    def _run(self, call: LiveCall, effect: Effect) -> None:
        match effect:
            case StopRing():
                self.timers.cancel((call.call_id, "ring"))
            case StartMaxDuration():
                limit_ms = self._settings.max_duration_ms
                self._limit(call, "duration", limit_ms, CallState.TIMEOUT)
                if call.conversation is not None:
                    call.conversation.answered()
            case Heard():
                self._hear(call, effect.text)
            case Pressed():
                if call.conversation is not None:
                    call.conversation.pressed(effect.digits)
            case Release():
                self._release(call, effect.reason)

    def _hear(self, call: LiveCall, text: str) -> None:
        """Hand the caller's words to whoever waits for them, and to the conversation anyway."""
        awaited = call.answer is not None and not call.answer.done()
        if call.answer is not None and awaited:
            call.answer.set_result(text)
        if call.conversation is not None:
            call.conversation.heard(text, awaited=awaited)

    # --- time ---------------------------------------------------------------------------------

    def _limit(self, call: LiveCall, name: str, after_ms: int, reason: CallState) -> None:
        due_ns = self._clock.now_ns() + after_ms * NS_PER_MS
        self.timers.start((call.call_id, name), due_ns, partial(self._expire, call, reason))

    def _expire(self, call: LiveCall, reason: CallState) -> None:
        _log.info("call exceeds a limit", extra={"call_id": call.call_id, "reason": reason.value})
        _ = self.ending(call, reason)

    def _start_reaper(self) -> None:
        if self._settings.stale_after_ms and self._reaper_due_ns is None:
            self._reaper_due_ns = self._clock.now_ns() + REAPER_PERIOD_NS
            self.timers.start(("reaper",), self._reaper_due_ns, self._reap)

    def _reap(self) -> None:
        """End calls whose last event was lost."""
        now_ns = self._clock.now_ns()
        stale_ns = self._settings.stale_after_ms * NS_PER_MS
        for call in self.index.calls():
            spared = self._settings.reaper_spares_answered and call.record.answered_at is not None
            if now_ns - call.opened_ns > stale_ns and not spared and not call.ended.is_set():
                self._expire(call, CallState.TIMEOUT)
        self._reaper_due_ns = None
        if len(self.index):
            self._start_reaper()

    # --- handing on ---------------------------------------------------------------------------

    def handing_on(self, call: LiveCall, carrier: CarrierTransfer, to: str) -> asyncio.Task[None]:
        """Begin to ask the carrier, once, to connect the other side of the call with `to`.

        Once it has done so the call ends here, and only here: it is not hung up. Should this
        process die between the two, the call is taken up again at the next start, since to the
        carrier it is alive, and ends for want of media.

        Returns:
            the work. It raises CarrierError when the carrier did not do it, and then nothing has
            changed, CallHasEnded when the call was over first, and StoreError.

        Raises:
            InvalidRequest: that is going on already.
        """
        if call.transfer is not None:
            raise InvalidRequest("the call is being handed on already", call_id=call.call_id)
        call.transfer = self.tasks.start(self._hand_on(call, carrier, to), "transfer")
        return call.transfer

    async def handed_on(self, call: LiveCall) -> None:
        """Wait until the carrier has said whether it hands the call on, if it was asked to."""
        if call.transfer is not None:
            _ = await asyncio.wait({call.transfer})

    async def _hand_on(self, call: LiveCall, carrier: CarrierTransfer, to: str) -> None:
        try:
            async with asyncio.timeout(self._settings.carrier_timeout_ms / 1000):
                await carrier.transfer(call.provider_call_id or "", to)
            if call.ending is not None:
                # Somebody wants it hung up, and that was asked for after the transfer.
                raise CallHasEnded("the call has ended", call_id=call.call_id)
            ended = CallEnded(**self.stamp(call), reason=CallState.COMPLETED, transferred_to=to)
            applied = await call.actor.apply(ended, urgent=True)
        except TimeoutError as error:
            raise CarrierError(
                "the carrier did not say in time whether it has handed the call on"
            ) from error
        finally:
            # A task keeps what it raised, and that would keep the call.
            call.transfer = None
        if applied.ignored is NoOp.OVER:
            raise CallHasEnded("the call has ended", call_id=call.call_id)

    # --- end ----------------------------------------------------------------------------------

    def ending(self, call: LiveCall, reason: CallState) -> asyncio.Task[None] | None:
        """Begin to end the call for `reason`, unless that is going on or done.

        Returns:
            the work, or None when the call is over already.
        """
        idle = call.ending is None or call.ending.done()
        if idle and not call.record.state.terminal:
            call.ending_as = reason
            call.ending = self.tasks.start(self._end(call, reason), "end")
        return None if call.ending is None or call.ending.done() else call.ending

    async def _end(self, call: LiveCall, reason: CallState) -> None:
        # A call whose id is not known yet is hung up by its dial.
        if call.provider_call_id is not None:
            await self.hang_ups.request(call.provider_call_id).wait()
        await call.actor.apply(CallEnded(**self.stamp(call), reason=reason), urgent=True)

    def _release(self, call: LiveCall, reason: CallState) -> None:
        self.slots.release(call.call_id)
        for name in ("ring", "duration", "media"):
            self.timers.cancel((call.call_id, name))
        call.ended.set()
        ended_here = reason is CallState.ERROR or call.ending is not None
        if ended_here and call.provider_call_id is not None:
            # Whatever broke, it was not the carrier that ended the call. And one that we end may
            # have been named after its hang-up was due: by an event, or a media socket.
            _ = self.hang_ups.request(call.provider_call_id)
        if self._metrics is not None:
            self._metrics.call_ended(call.record.direction, reason)
        self.tasks.spawn(self._retire(call), "retire")

    async def _retire(self, call: LiveCall) -> None:
        if self._urls is not None:
            self._urls.revoke(call.call_id)
        await self._close_conversation(call)
        pending = {task for task in (call.ending, call.dial) if task is not None}
        if pending:
            _ = await asyncio.wait(pending)
        try:
            await self._store_end(call)
        finally:
            call.actor.close()
            self.index.retire(call)
            self.changes.over(call.call_id)

    async def _store_end(self, call: LiveCall) -> None:
        """Store what is left to store, stubbornly: nothing comes after it."""
        for delay_s in (*_STORE_RETRY_DELAYS_S, None):
            try:
                await call.actor.flush()
            except StoreError as error:
                fields = {"call_id": call.call_id}
                _log.warning("the end of a call is not stored", extra=fields, exc_info=error)
                if delay_s is not None:
                    await asyncio.sleep(delay_s)
            else:
                return

    async def _close_conversation(self, call: LiveCall) -> None:
        if call.conversation is None:
            return
        try:
            async with asyncio.timeout(_CONVERSATION_CLOSE_S):
                await call.conversation.close()
        except Exception:  # noqa: BLE001  (whatever it holds on to, the call is let go)
            _log.exception("conversation did not close", extra={"call_id": call.call_id})

    async def close(self, within_s: float) -> None:
        """Hang up all calls and stop; what is not done after `within_s` seconds is cancelled."""
        self.slots.close()
        for call in self.index.calls():
            _ = self.ending(call, CallState.HANGUP_BOT)
        await self.tasks.close(within_s)
        self.timers.close()
        self.changes.close()
