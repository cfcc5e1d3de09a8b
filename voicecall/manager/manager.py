"""All calls of one process: what clients ask for, and what carriers report."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from voicecall.call import policy
from voicecall.call.events import (
    CallActive,
    CallAnswered,
    CallEnded,
    CallInitiated,
    CallRinging,
    CallTurn,
)
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.clock import NS_PER_MS
from voicecall.errors import (
    CallHasEnded,
    CapacityReached,
    CarrierError,
    InvalidRequest,
    NotConnected,
    StoreError,
    TranscriptTimeout,
    TurnPending,
    UnknownCall,
)
from voicecall.manager.dedupe import SeenKeys
from voicecall.manager.lifecycle import CallMetrics, Lifecycle
from voicecall.manager.operations import AskResult, Operations
from voicecall.manager.restore import ConnectMedia, Restore
from voicecall.ports import DialRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from voicecall.call.events import CallEvent
    from voicecall.call.record import Mode
    from voicecall.clock import Clock
    from voicecall.manager.changes import Subscription
    from voicecall.manager.index import LiveCall
    from voicecall.manager.settings import CallSettings
    from voicecall.manager.timers import Timers
    from voicecall.ports import (
        CallStore,
        Carrier,
        CarrierTransfer,
        Conversation,
        Conversations,
        Playback,
        StreamUrls,
    )

_log = logging.getLogger("voicecall.manager")

T = TypeVar("T")

# Only these can be the first we hear of a call; a last word about an unknown one is no call.
_OPENING = (CallInitiated, CallRinging, CallAnswered, CallActive)
_REFUSED_CALLS = 10_000


class CallManager:
    """Places, takes, holds and ends calls. Methods that take a call id take ours or the carrier's.

    Records that it hands out belong to the calls' actors: read them, never write. It owns neither
    the carrier nor the store; it is used and closed within one event loop.

    Args:
        settings: limits, times and numbers.
        carrier: places and ends calls.
        store: keeps what changes.
        clock: dates events and measures limits.
        urls: where carriers connect media; None without media streaming.
        conversations: the speaking side of calls; None for calls nobody speaks on.
        metrics: counts calls.
        transfer: hands calls on; None where the carrier cannot.
    """

    def __init__(  # noqa: PLR0913  (each is independent of the others)
        self,
        settings: CallSettings,
        *,
        carrier: Carrier,
        store: CallStore,
        clock: Clock,
        urls: StreamUrls | None = None,
        conversations: Conversations | None = None,
        metrics: CallMetrics | None = None,
        transfer: CarrierTransfer | None = None,
    ) -> None:
        self._settings = settings
        self._carrier = carrier
        self._transfer = transfer
        self._store = store
        self._clock = clock
        self._urls = urls
        self._metrics = metrics
        self._calls = Lifecycle(
            settings,
            carrier=carrier,
            store=store,
            clock=clock,
            urls=urls,
            conversations=conversations,
            metrics=metrics,
        )
        self._operations = Operations()
        self._refused: SeenKeys[str] = SeenKeys(_REFUSED_CALLS)

    # --- looking ------------------------------------------------------------------------------

    @property
    def live_count(self) -> int:
        """How many calls have not ended."""
        return self._calls.slots.held

    @property
    def draining(self) -> bool:
        """Whether no more calls are taken."""
        return self._calls.slots.closed

    @property
    def ignored(self) -> dict[str, int]:
        """How many events changed nothing, by reason."""
        return dict(self._calls.ignored)

    @property
    def timers(self) -> Timers:
        """The calls' deadlines; simulations on a clock moved by hand fire them."""
        return self._calls.timers

    def find(self, call_id: str) -> CallRecord | None:
        """One call, live or ended not long ago."""
        return self._calls.index.record(call_id)

    async def lookup(self, call_id: str) -> CallRecord | None:
        """One call as far back as the store reaches. Raises StoreError."""
        if (record := self.find(call_id)) is not None:
            return record
        stored = await self._store.get(call_id)
        return None if stored is None else CallRecord.from_json(stored)

    def live(self) -> list[CallRecord]:
        """Calls that have not ended."""
        records = (call.record for call in self._calls.index.calls())
        return [record for record in records if not record.state.terminal]

    async def recent(self, limit: int = 100) -> list[CallRecord]:
        """The newest calls, newest first. Raises StoreError."""
        return [CallRecord.from_json(stored) for stored in await self._store.recent(limit)]

    async def changes(
        self, since: int = 0, limit: int = 100
    ) -> tuple[Sequence[tuple[int, Mapping[str, Any]]], int]:
        """What was stored after change number `since`: numbers and changes, oldest first.

        Args:
            since: a negative number looks back so many changes from the newest.
            limit: how many at most.

        Returns:
            The changes, and what to give as `since` to go on from there.

        Raises:
            StoreError: they could not be read.
        """
        newest = await self._store.newest_change()
        # What lies ahead of the newest was counted by another store than this one.
        after = max(0, newest + since) if since < 0 else min(since, newest)
        found = await self._store.changes(after, limit)
        return found, found[-1][0] if found else after

    def subscribe(self) -> Subscription:
        """All changes from now on; a slow reader loses the oldest and is told by a `gap`."""
        return self._calls.changes.subscribe()

    def follow(self, record: CallRecord) -> Subscription:
        """The changes of one call from now on; it ends with the call, at once if that is over."""
        subscription = self._calls.changes.subscribe(record.call_id)
        if self._calls.index.live(record.call_id) is None:
            self._calls.changes.over(record.call_id)
        return subscription

    # --- asking for things --------------------------------------------------------------------

    async def initiate(
        self,
        message: str,
        to: str | None = None,
        mode: Mode | None = None,
        dtmf_sequence: str | None = None,
        on_open: Callable[[CallRecord], None] = lambda _: None,
    ) -> CallRecord:
        """Place a call; returns once the carrier has accepted it.

        If this is cancelled, the call is placed all the same.

        Args:
            message: what to say first; empty for nothing.
            to: E.164, or a `sip:` address where the carrier takes them; the default is configured.
            mode: what happens after the message; the default is configured.
            dtmf_sequence: keys to send once answered, before anything is said.
            on_open: given the record before anything happens to the call.

        Raises:
            InvalidRequest: there is nobody to call, or the keys are no keys.
            CapacityReached: no more calls are taken.
            CarrierError: the carrier refused or did not answer; the call has ended as failed.
            StoreError: the call could not be stored and was not placed.
        """
        target = to or self._settings.to_number
        if not target:
            raise InvalidRequest("to required")
        policy.check_destination(target, sip=self._settings.sip)
        if dtmf_sequence:
            policy.check_digits(dtmf_sequence)
        chosen = mode or self._settings.default_mode
        call = self._calls.open(
            direction=Direction.OUTBOUND,
            from_number=self._settings.from_number,
            to_number=target,
            opening=message or None,
            metadata={"mode": chosen},
        )
        on_open(call.record)
        placing = self._calls.tasks.start(self._place(call, chosen, dtmf_sequence), "place")
        await asyncio.shield(placing)
        return call.record

    async def _place(self, call: LiveCall, mode: Mode, dtmf_sequence: str | None) -> None:
        try:
            await call.actor.flush()
            if call.record.state.terminal or call.ending is not None:
                return
            request = DialRequest(
                call_id=call.call_id,
                to=call.record.to_number,
                from_number=call.record.from_number,
                mode=mode,
                stream_url=None if self._urls is None else self._urls.issue(call.call_id),
                ring_timeout_ms=self._settings.ring_timeout_ms,
                dtmf_sequence=dtmf_sequence or None,
            )
            await self._calls.place(call, request)
        except Exception:
            # Whatever broke, nothing may stay behind; what the store lacks is stored later.
            with contextlib.suppress(StoreError):
                await self._finish(call, CallState.FAILED)
            raise

    async def speak(self, call_id: str, message: str) -> Playback:
        """Say something; returns when it was played or cut short, and how much was heard.

        Raises:
            CallError: the call is unknown, over, or not answered.
            SpeechError: it could not be synthesized.
        """
        return await self._say(*self._connected(call_id), message)

    async def ask(self, call_id: str, message: str) -> str:
        """Say something and wait for the caller's words.

        Raises:
            TurnPending: somebody else waits for them.
            TranscriptTimeout: the caller said nothing in time.
            CallHasEnded: the call ended before he did.
            CallError: the call is unknown or not answered.
            SpeechError: it could not be synthesized.
        """
        call, conversation = self._connected(call_id)
        return await self._ask(call, conversation, message, self._begin_turn(call))

    async def start_ask(self, call_id: str, message: str) -> str:
        """Begin to `ask`, not waiting; the id of the operation. Raises CallError."""
        call, conversation = self._connected(call_id)
        asking = self._ask(call, conversation, message, self._begin_turn(call))
        return self._operations.add(self._calls.tasks.start(asking, "ask"))

    def ask_result(self, operation_id: str) -> AskResult:
        """How the operation stands. Raises InvalidRequest for one that is not known."""
        return self._operations.result(operation_id)

    def awaits_transcript(self, call_id: str) -> bool:
        """Whether somebody waits for the caller's next words, so that no reply is to be made.

        To be asked before the words are applied: they end the waiting.
        """
        call = self._calls.index.live(call_id)
        return call is not None and call.answer is not None and not call.answer.done()

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        """Send keys: in the call's own audio, where the conversation does that, or by the carrier.

        Raises:
            InvalidRequest: they are no keys, or too many.
            CallError: the call is unknown, over, or not answered.
            SpeechError: too many keys wait to be heard.
            CarrierError: the carrier refused or did not answer.
        """
        policy.check_digits(digits)
        call = self._answered(call_id)
        spoken = call.conversation
        if spoken is not None and await _until_end(call, spoken.press(digits)):
            return
        try:
            async with asyncio.timeout(self._settings.carrier_timeout_ms / 1000):
                await self._carrier.send_dtmf(_named(call), digits)
        except TimeoutError as error:
            raise CarrierError("the carrier did not answer in time", retryable=True) from error

    async def transfer(self, call_id: str, to: str) -> None:
        """Have the carrier connect the other side with `to`; then the call is over for us.

        It ends as completed, with `transferredTo` in its metadata, and is not hung up. If the
        carrier refuses, it goes on. If this is cancelled, the call is handed on all the same.

        Args:
            call_id: ours or the carrier's.
            to: E.164, or a `sip:` address where the carrier takes them.

        Raises:
            InvalidRequest: `to` is nobody, the carrier cannot hand calls on, or is about to hand on
                this one.
            CallError: the call is unknown, over, or not answered.
            CarrierError: the carrier did not, or nobody knows; it was asked once.
            StoreError: it was handed on, which could not be stored yet.
        """
        policy.check_destination(to, sip=self._settings.transfer_sip)
        call = self._answered(call_id)
        if self._transfer is None:
            raise InvalidRequest("the carrier cannot hand calls on", call_id=call.call_id)
        _named(call)
        await asyncio.shield(self._calls.handing_on(call, self._transfer, to))

    async def end(self, call_id: str, reason: CallState = CallState.HANGUP_BOT) -> None:
        """Hang up; a call that is over already is a success.

        The call is over for us even when the carrier cannot be reached; it is asked again in the
        background. If this is cancelled, the call is ended all the same.

        Args:
            call_id: ours or the carrier's.
            reason: why; any but `hangup-bot` is concluded from what can be seen of the call, such
                as the end of its media, and that may be because the carrier hands it on.

        Raises:
            UnknownCall: no call has that id.
            StoreError: the end could not be stored yet.
        """
        call = self._calls.index.live(call_id)
        if call is not None:
            if reason is not CallState.HANGUP_BOT:
                await self._calls.handed_on(call)
            await self._finish(call, reason)
        elif await self.lookup(call_id) is None:
            raise UnknownCall("no call has that id", call_id=call_id)

    async def _finish(self, call: LiveCall, reason: CallState) -> None:
        ending = self._calls.ending(call, reason)
        if ending is not None:
            await asyncio.shield(ending)

    async def restore(
        self,
        connect_media: ConnectMedia | None = None,
        *,
        reachable: asyncio.Event | None = None,
    ) -> int:
        """Take up the calls that were live when an earlier process ended; how many those are.

        To be called before events arrive. The carrier is asked about them in the background; no
        call is placed again.

        Args:
            connect_media: has the carrier connect a live call's media to a URL; None for carriers
                that ask for it themselves.
            reachable: set once the carrier's webhooks reach us. It is asked after that only: what
                happened between its answer and the first webhook we take would be lost.

        Raises:
            StoreError: they could not be read or written.
        """
        restore = Restore(
            self._calls,
            settings=self._settings,
            carrier=self._carrier,
            store=self._store,
            clock=self._clock,
            urls=self._urls,
            connect_media=connect_media,
        )
        taken_up = await restore.take_up()
        if taken_up:
            self._calls.tasks.spawn(_reconcile(restore, reachable), "reconcile")
        return taken_up

    def drain(self) -> None:
        """Take no more calls; those there are go on."""
        self._calls.slots.close()

    async def close(self, within_s: float = 10.0) -> None:
        """Hang up all calls and stop, within `within_s` seconds."""
        await self._calls.close(within_s)

    # --- turns --------------------------------------------------------------------------------

    def _answered(self, call_id: str) -> LiveCall:
        record = self.find(call_id)
        if record is None:
            raise UnknownCall("no call has that id", call_id=call_id)
        call = self._calls.index.live(call_id)
        if call is None or record.state.terminal or call.ending is not None:
            raise CallHasEnded("the call has ended", call_id=record.call_id)
        if record.answered_at is None:
            raise NotConnected("the call is not answered yet", call_id=record.call_id)
        return call

    def _connected(self, call_id: str) -> tuple[LiveCall, Conversation]:
        call = self._answered(call_id)
        if call.conversation is None:
            raise NotConnected("nothing can be said on this call", call_id=call.call_id)
        return call, call.conversation

    def _begin_turn(self, call: LiveCall) -> asyncio.Future[str]:
        if call.answer is not None:
            raise TurnPending(
                "somebody already waits for what the caller says next", call_id=call.call_id
            )
        call.answer = asyncio.get_running_loop().create_future()
        return call.answer

    async def _ask(
        self,
        call: LiveCall,
        conversation: Conversation,
        message: str,
        answer: asyncio.Future[str],
    ) -> str:
        timer = (call.call_id, "transcript")
        try:
            turn = CallTurn(**self._calls.stamp(call), turn_token=uuid.uuid4().hex)
            await self._calls.apply(call, turn)
            await self._say(call, conversation, message)
            wait_ms = self._settings.transcript_timeout_ms
            due_ns = self._clock.now_ns() + wait_ms * NS_PER_MS
            self._calls.timers.start(timer, due_ns, lambda: _give_up(answer, call.call_id))
            return await _until_end(call, answer)
        finally:
            self._calls.timers.cancel(timer)
            call.answer = None

    async def _say(self, call: LiveCall, conversation: Conversation, message: str) -> Playback:
        return await _until_end(call, conversation.say(message))

    # --- what carriers and conversations report -----------------------------------------------

    async def apply(self, event: CallEvent) -> None:
        """Apply the event; returns once what it changed is stored. Repeats change nothing.

        An inbound call not heard of before is taken on if the policy admits its caller and there
        is a slot, and hung up otherwise. A call that was placed at the carrier without us is
        taken on, too.

        Raises:
            CapacityReached: too many events of the call wait.
            IllegalTransition: no carrier can cause this event now.
            StoreError: it was applied, but could not be stored yet; apply it again.
        """
        call = self._live(event) or await self._taken_on(event)
        if call is not None:
            await self._calls.apply(call, event)

    def learn_provider_id(self, call_id: str, provider_call_id: str) -> bool:
        """Note what the carrier calls a live call; False when that cannot be."""
        call = self._calls.index.live(call_id)
        if call is None or call.record.state.terminal:
            return False
        known = call.provider_call_id is not None
        if not self._calls.index.learn(call, provider_call_id):
            return False
        if not known:
            noting = self._calls.note_provider_id(call, provider_call_id)
            self._calls.tasks.spawn(noting, "note id")
        return True

    def _live(self, event: CallEvent) -> LiveCall | None:
        for any_id in (event.call_id, event.provider_call_id):
            if any_id is not None and (call := self._calls.index.live(any_id)) is not None:
                return call
        return None

    async def _taken_on(self, event: CallEvent) -> LiveCall | None:
        """The call that an event about no live call opens, if it does."""
        if (ended := await self._known(event)) is not None:
            self._calls.ignore(ended, event)
            return None
        if (call := self._live(event)) is not None:
            # Opened by another event while the store was asked.
            return call
        direction, provider_call_id = event.direction, event.provider_call_id
        if isinstance(event, CallEnded) and provider_call_id:
            # What is yet to come of it, late, must not open it.
            self._refused.add(provider_call_id)
        if direction is None or not provider_call_id or not isinstance(event, _OPENING):
            self._calls.ignored["unknown"] += 1
            return None
        if provider_call_id in self._refused:
            self._calls.ignored["refused"] += 1
            return None
        return self._admit(event, direction, provider_call_id)

    async def _known(self, event: CallEvent) -> CallRecord | None:
        for any_id in (event.call_id, event.provider_call_id):
            if any_id is not None and (record := await self.lookup(any_id)) is not None:
                return record
        return None

    def _admit(
        self, event: CallEvent, direction: Direction, provider_call_id: str
    ) -> LiveCall | None:
        caller, dialled = event.from_number or "", event.to_number or ""
        inbound = direction is Direction.INBOUND
        settings = self._settings
        if inbound and not policy.admits(settings.inbound_policy, settings.allow_from, caller):
            self._refuse(provider_call_id, "policy")
            return None
        number = self._number(dialled) if inbound else {}
        greeting = number.get("inboundGreeting", settings.inbound_greeting) if inbound else None
        metadata: dict[str, Any] = {"mode": "conversation"}
        if number:
            metadata["number"] = number
        try:
            call = self._calls.open(
                direction=direction,
                from_number=caller,
                to_number=dialled,
                opening=greeting,
                metadata=metadata,
                provider_call_id=provider_call_id,
            )
        except CapacityReached:
            self._refuse(provider_call_id, "capacity")
            return None
        self._calls.expect_answer(call)
        return call

    def _number(self, dialled: str) -> dict[str, Any]:
        digits = policy.digits_of(dialled)
        for number, differing in self._settings.numbers.items():
            if digits and policy.digits_of(number) == digits:
                return dict(differing)
        return {}

    def _refuse(self, provider_call_id: str, reason: str) -> None:
        self._refused.add(provider_call_id)
        _ = self._calls.hang_ups.request(provider_call_id)
        if self._metrics is not None:
            self._metrics.call_refused(reason)
        fields = {"provider_call_id": provider_call_id, "reason": reason}
        _log.info("call refused", extra=fields)


def _named(call: LiveCall) -> str:
    """The carrier's id of a call. Raises NotConnected while it is not known."""
    if call.provider_call_id is None:
        raise NotConnected("the carrier has not named the call yet", call_id=call.call_id)
    return call.provider_call_id


async def _reconcile(restore: Restore, reachable: asyncio.Event | None) -> None:
    if reachable is not None:
        await reachable.wait()
    await restore.reconcile()


def _give_up(answer: asyncio.Future[str], call_id: str) -> None:
    if not answer.done():
        answer.set_exception(TranscriptTimeout("the caller said nothing in time", call_id=call_id))


async def _until_end(call: LiveCall, wanted: Awaitable[T]) -> T:
    """What `wanted` gives, unless the call ends before. Raises CallHasEnded."""
    work = asyncio.ensure_future(wanted)
    ended = asyncio.ensure_future(call.ended.wait())
    try:
        await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise CallHasEnded("the call has ended", call_id=call.call_id)
        return work.result()
    finally:
        ended.cancel()
        work.cancel()
        await asyncio.gather(work, ended, return_exceptions=True)
