from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.call.calls import record as make_record
from tests.manager.fakes import CALLEE, FakeCarrier, World, run, until
from voicecall.call.events import CallActive, CallAnswered, CallEnded, CallSpeech
from voicecall.call.record import CallState, Direction, Speaker, TranscriptEntry
from voicecall.carriers.mock.client import MockCarrier
from voicecall.errors import CapacityReached, CarrierError, StoreError
from voicecall.manager import restore
from voicecall.manager.manager import CallManager
from voicecall.manager.settings import CallSettings
from voicecall.ports import CarrierStatus

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord

pytestmark = pytest.mark.unit

ALIVE = CarrierStatus(alive=True)
UNKNOWN = CarrierStatus(alive=False)


class Carrier(FakeCarrier):
    """Says of calls what the test has it say."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, CarrierStatus | Exception] = {}
        self.asked: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.status_gate = asyncio.Event()
        self.status_gate.set()

    async def status(self, provider_call_id: str) -> CarrierStatus:
        self.asked.append(provider_call_id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.status_gate.wait()
        finally:
            self.at_once -= 1
        answer = self.answers.get(provider_call_id, ALIVE)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Restarted(World):
    """A world whose store holds what an earlier process left."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.carrier: Carrier = Carrier()
        self.manager = CallManager(
            CallSettings(**{"from_number": "+15550000001", **settings}),
            carrier=self.carrier,
            store=self.store,
            clock=self.clock,
            urls=self.urls,
            conversations=self.conversations,
        )

    async def left(self, state: CallState, *, age_s: float = 10, **fields: Any) -> None:
        """Have an earlier process leave a call behind that began `age_s` ago."""
        began_ms = self.clock.wall_ms() - round(age_s * 1000)
        answered = state not in {CallState.INITIATED, CallState.RINGING}
        left = make_record(
            state,
            **{
                "provider_call_id": "CA1",
                "to_number": CALLEE,
                "started_at": began_ms,
                "answered_at": began_ms if answered else None,
                **fields,
            },
        )
        await self.store.save(left.to_json(), {"type": "call.created", "timestamp": began_ms})
        self.store.stored.clear()

    async def restored(self, **more: Any) -> int:
        """Restore, and wait until the carrier was asked about everything."""
        taken_up = await self.manager.restore(**more)
        await until(lambda: len(self.manager._calls.tasks) == self.manager.live_count)
        return taken_up

    def found(self, call_id: str = "call-1") -> CallRecord:
        record = self.manager.find(call_id)
        assert record is not None
        return record

    async def stored(self, call_id: str = "call-1") -> dict[str, Any]:
        found = await self.store.get(call_id)
        assert found is not None
        return dict(found)

    async def at(self, after_s: float) -> None:
        await self.pass_ms(after_s * 1000)


def restarted(case: Any, **settings: Any) -> None:
    """Run `case` in a world after a restart, and check that nothing was dialled."""

    async def whole() -> None:
        world = Restarted(**settings)
        try:
            await case(world)
        finally:
            world.carrier.status_gate.set()
            await world.manager.close(within_s=1)
        assert world.carrier.dials == []
        assert world.manager.live_count == 0
        assert not world.urls.valid
        assert all(conversation.closed for conversation in world.conversations.opened)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


# --- when it is asked ----------------------------------------------------------------------------


def test_the_carrier_is_asked_once_its_webhooks_reach_us() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.ACTIVE)
        world.carrier.answers["CA1"] = CarrierStatus(alive=False, end_reason=CallState.COMPLETED)
        reachable = asyncio.Event()
        assert await world.manager.restore(reachable=reachable) == 1
        await asyncio.sleep(0)
        assert world.carrier.asked == []
        assert world.manager.live_count == 1
        reachable.set()
        await until(lambda: not world.manager.live_count)
        assert world.found().state is CallState.COMPLETED

    restarted(case)


# --- what the carrier says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", [CallState.COMPLETED, CallState.BUSY, CallState.NO_ANSWER, CallState.HANGUP_USER]
)
def test_a_call_that_has_ended_ends_for_the_carriers_reason(reason: CallState) -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.LISTENING)
        world.carrier.answers["CA1"] = CarrierStatus(alive=False, end_reason=reason)
        assert await world.manager.restore() == 1
        await world.until_idle()
        stored = await world.stored()
        assert (stored["state"], stored["endReason"]) == (reason.value, reason.value)
        assert stored["endedAt"] == world.clock.wall_ms()
        assert world.store.stored[-1]["type"] == "call.ended"
        assert world.carrier.hung_up == []
        assert world.manager.live_count == 0

    restarted(case)


@pytest.mark.parametrize(
    "answer",
    [ALIVE, UNKNOWN, CarrierError("gone"), RuntimeError("a bug")],
    ids=["alive", "unknown", "error", "bug"],
)
def test_any_other_call_is_kept_and_told_of(answer: CarrierStatus | Exception) -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.LISTENING)
        world.carrier.answers["CA1"] = answer
        assert await world.restored() == 1
        assert [record.call_id for record in world.manager.live()] == ["call-1"]
        assert world.found("CA1").state is CallState.LISTENING
        assert world.carrier.asked == ["CA1"]
        if not isinstance(answer, RuntimeError):
            (told,) = world.store.stored
            assert (told["type"], told["state"]) == ("call.restored", "listening")

    restarted(case)


def test_a_call_taken_up_goes_on_as_if_nothing_had_happened() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.LISTENING)
        await world.restored()
        record = world.found()
        await world.tell(CallActive, record)
        asking = asyncio.create_task(world.manager.ask("call-1", "Still there?"))
        await until(lambda: world.conversations.opened[0].said)
        await world.hear(record, "Yes.")
        assert await asking == "Yes."
        assert [entry["text"] for entry in (await world.stored())["transcript"]] == ["Yes."]
        await world.manager.end("call-1")
        assert world.carrier.hung_up == ["CA1"]
        assert (await world.stored())["endReason"] == "hangup-bot"

    restarted(case)


# --- what the record says ------------------------------------------------------------------------


def test_a_call_that_was_never_named_is_closed_and_hung_up_should_it_turn_up() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.INITIATED, provider_call_id=None)
        assert await world.restored() == 0
        stored = await world.stored()
        assert stored["endReason"] == "error"
        assert "had not named it" in stored["metadata"]["lastError"]
        assert world.carrier.asked == []
        assert world.conversations.opened == []
        await world.tell(CallAnswered, make_record(), provider_call_id="CA9")
        await until(lambda: world.carrier.hung_up == ["CA9"])
        assert world.manager.live_count == 0

    restarted(case)


@pytest.mark.parametrize("state", [CallState.RINGING, CallState.SPEAKING])
def test_a_call_older_than_calls_may_be_is_closed_and_hung_up(state: CallState) -> None:
    async def case(world: Restarted) -> None:
        subscription = world.manager.subscribe()
        await world.left(state, age_s=301)
        assert await world.restored() == 0
        assert (await world.stored())["endReason"] == "error"
        await until(lambda: world.carrier.hung_up == ["CA1"])
        assert world.carrier.asked == []
        told = await anext(subscription)
        assert (told["type"], told["reason"]) == ("call.ended", "error")

    restarted(case, max_duration_ms=300_000)


def test_age_counts_from_the_answer_where_there_was_one() -> None:
    async def case(world: Restarted) -> None:
        await world.left(
            CallState.LISTENING, age_s=310, answered_at=world.clock.wall_ms() - 290_000
        )
        assert await world.restored() == 1
        await world.tell(CallActive, world.found())
        await world.at(9.9)
        assert world.manager.live_count == 1
        await world.at(0.2)
        await world.until_over(world.found(), CallState.TIMEOUT)

    restarted(case, max_duration_ms=300_000)


def test_another_carriers_call_is_closed_and_this_carrier_not_bothered() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.ACTIVE, provider="twilio")
        assert await world.restored() == 0
        assert (await world.stored())["endReason"] == "error"
        assert world.carrier.asked == world.carrier.hung_up == []

    restarted(case)


def test_a_record_that_makes_no_sense_is_left_alone_and_keeps_no_other_from_coming_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.ACTIVE)
        odd = {**make_record(call_id="odd").to_json(), "direction": "sideways"}
        await world.store.save(odd, {"type": "x", "timestamp": 1})
        assert await world.restored() == 1
        assert await world.store.get("odd") == odd
        assert "makes no sense" in caplog.text

    restarted(case)


def test_a_store_that_cannot_be_written_is_told() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.INITIATED, provider_call_id=None)
        world.store.broken = True
        with pytest.raises(StoreError):
            await world.manager.restore()
        world.store.broken = False

    restarted(case)


# --- time ----------------------------------------------------------------------------------------


def test_ringing_goes_on_for_what_is_left_of_it() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.RINGING, age_s=20)
        await world.restored()
        await world.at(9.9)
        assert world.found().state is CallState.RINGING
        await world.at(0.2)
        await world.until_over(world.found(), CallState.NO_ANSWER)
        assert world.carrier.hung_up == ["CA1"]

    restarted(case, ring_timeout_ms=30_000)


def test_the_carriers_word_comes_before_a_limit_that_ran_out_meanwhile() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.RINGING, age_s=100)
        world.carrier.answers["CA1"] = CarrierStatus(alive=False, end_reason=CallState.BUSY)
        world.carrier.status_gate.clear()
        await world.manager.restore()
        await until(lambda: world.carrier.asked)
        await world.at(1)
        assert world.found().state is CallState.RINGING
        world.carrier.status_gate.set()
        await world.until_over(world.found(), CallState.BUSY)

    restarted(case)


def test_a_clock_that_was_set_back_prolongs_no_limit() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.RINGING, age_s=-3600)
        await world.restored()
        await world.at(30.1)
        await world.until_over(world.found(), CallState.NO_ANSWER)

    restarted(case, ring_timeout_ms=30_000)


def test_the_reaper_knows_how_old_a_call_is() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.RINGING, age_s=100)
        world.carrier.status_gate.clear()
        await world.manager.restore()
        await world.at(31)
        await world.until_over(world.found(), CallState.TIMEOUT)

    restarted(case, stale_after_ms=120_000, max_duration_ms=119_000)


def test_a_call_answered_meanwhile_is_limited_from_its_answer() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.RINGING, age_s=29)
        world.carrier.status_gate.clear()
        await world.manager.restore()
        await world.tell(CallAnswered, world.found(), timestamp=world.clock.wall_ms())
        world.carrier.status_gate.set()
        await until(lambda: len(world.manager._calls.tasks) == 1)
        await world.at(59.9)
        assert world.found().state is CallState.ANSWERED
        await world.at(0.2)
        await world.until_over(world.found(), CallState.TIMEOUT)

    restarted(case, max_duration_ms=60_000)


# --- media ---------------------------------------------------------------------------------------


def test_media_that_does_not_come_back_ends_the_call() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.LISTENING)
        await world.restored()
        await world.at(29.9)
        assert world.manager.live_count == 1
        await world.at(0.2)
        await world.until_over(world.found(), CallState.ERROR)
        assert world.carrier.hung_up == ["CA1"]

    restarted(case)


def test_media_that_comes_back_keeps_the_call() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.LISTENING)
        await world.restored()
        await world.tell(CallActive, world.found())
        await world.at(60)
        assert world.found().state is CallState.LISTENING

    restarted(case)


def test_a_carrier_that_has_to_be_told_gets_a_new_url_for_calls_that_are_alive() -> None:
    async def case(world: Restarted) -> None:
        for n, state in enumerate((CallState.ACTIVE, CallState.RINGING, CallState.ACTIVE)):
            await world.left(state, call_id=f"c{n}", provider_call_id=f"CA{n}")
        world.carrier.answers["CA2"] = UNKNOWN
        told: list[tuple[str, str]] = []

        async def connect(record: CallRecord, url: str) -> None:
            told.append((record.call_id, url))

        await world.restored(connect_media=connect)
        # A ringing call has its URL since it was dialled, of the third nobody knows if it is.
        assert told == [("c0", "wss://example.com/c0")]
        assert world.urls.valid == {"c0"}

    restarted(case)


@pytest.mark.parametrize("trouble", [CarrierError("refused"), TimeoutError()])
def test_media_that_cannot_be_connected_is_left_to_its_limit(trouble: Exception) -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.ACTIVE)

        async def connect(record: CallRecord, url: str) -> None:
            del record, url
            raise trouble

        await world.restored(connect_media=connect)
        assert world.manager.live_count == 1
        await world.at(30.1)
        await world.until_over(world.found(), CallState.ERROR)

    restarted(case)


# --- what was to be said -------------------------------------------------------------------------


def test_a_message_that_was_not_heard_yet_is_still_to_be_said() -> None:
    async def placing(world: World) -> None:
        record = await world.dialled(mode="notify")
        assert (await world.store.get(record.call_id) or {})["metadata"] == {
            "mode": "notify",
            "initialMessage": "Good day.",
        }

    async def case(world: Restarted) -> None:
        notes = {"mode": "notify", "initialMessage": "Good day."}
        heard = [TranscriptEntry(1, Speaker.BOT, "Good day.")]
        await world.left(CallState.RINGING, call_id="c1", metadata=notes)
        await world.left(
            CallState.ACTIVE,
            call_id="c2",
            provider_call_id="CA2",
            metadata=notes,
            transcript=heard,
        )
        await world.restored()
        openings = {each.record.call_id: each.opening for each in world.conversations.opened}
        assert openings == {"c1": "Good day.", "c2": None}

    run(placing)
    restarted(case)


# --- many ----------------------------------------------------------------------------------------


def test_slots_are_taken_at_once_even_beyond_the_limit() -> None:
    async def case(world: Restarted) -> None:
        for n in range(3):
            await world.left(CallState.ACTIVE, call_id=f"c{n}", provider_call_id=f"CA{n}")
        world.carrier.status_gate.clear()
        await world.manager.restore()
        assert world.manager.live_count == 3
        with pytest.raises(CapacityReached):
            await world.dialled()
        await world.tell(CallEnded, world.found("c0"), reason=CallState.HANGUP_USER)
        assert world.manager.live_count == 2

    restarted(case, max_concurrent_calls=2)


def test_the_carrier_is_asked_about_a_few_calls_at_a_time() -> None:
    async def case(world: Restarted) -> None:
        for n in range(50):
            await world.left(CallState.ACTIVE, call_id=f"c{n}", provider_call_id=f"CA{n}")
        world.carrier.status_gate.clear()
        await world.manager.restore()
        await until(lambda: world.carrier.at_once == 8)
        world.carrier.status_gate.set()
        await until(lambda: len(world.manager._calls.tasks) == 50)
        assert len(set(world.carrier.asked)) == 50
        assert world.carrier.most_at_once == 8

    restarted(case)


def test_a_carrier_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "_WITHIN_S", 0.05)

    async def case(world: Restarted) -> None:
        for n in range(20):
            await world.left(CallState.RINGING, call_id=f"c{n}", provider_call_id=f"CA{n}")
        world.carrier.status_gate.clear()
        await world.manager.restore()
        await until(lambda: len(world.manager._calls.tasks) == 20)
        assert len(world.carrier.asked) == 8
        # All are kept, and their limits count.
        await world.at(30.1)
        await until(lambda: world.manager.live_count == 0)

    restarted(case)


def test_what_happens_to_a_call_while_the_carrier_is_asked_is_not_lost() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.LISTENING)
        world.carrier.answers["CA1"] = CarrierStatus(alive=False, end_reason=CallState.COMPLETED)
        world.carrier.status_gate.clear()
        await world.manager.restore()
        record = world.found()
        await world.tell(CallSpeech, record, text="Bye.")
        await world.tell(CallEnded, record, reason=CallState.HANGUP_USER)
        world.carrier.status_gate.set()
        await world.until_idle()
        assert record.state is CallState.HANGUP_USER
        assert [entry.text for entry in record.transcript] == ["Bye."]

    restarted(case)


def test_closing_while_the_carrier_is_asked_ends_everything() -> None:
    async def case(world: Restarted) -> None:
        await world.left(CallState.LISTENING)
        world.carrier.status_gate.clear()
        await world.manager.restore()
        await until(lambda: world.carrier.asked)

    restarted(case)


# --- with the mock carrier -----------------------------------------------------------------------


def test_a_second_manager_on_the_same_carrier_and_store_takes_the_calls_up() -> None:
    """As a restart is for a carrier that does not restart with us."""

    async def case() -> None:
        world = World()
        emitted: list[Any] = []

        async def emit(event: Any) -> None:
            emitted.append(event)

        carrier = MockCarrier("off", clock=world.clock, emit=emit)

        def manager() -> CallManager:
            settings = CallSettings(from_number="+15550000001")
            return CallManager(settings, carrier=carrier, store=world.store, clock=world.clock)

        first = manager()
        kept = await first.initiate("One.", to=CALLEE)
        over = await first.initiate("Two.", to=CALLEE)
        assert over.provider_call_id is not None
        await carrier.hang_up(over.provider_call_id)
        second = manager()
        assert await second.restore() == 2
        await until(lambda: second.live_count == 1)
        assert [record.call_id for record in second.live()] == [kept.call_id]
        assert (await world.store.get(over.call_id) or {})["endReason"] == "completed"
        await second.end(kept.call_id)
        status = await carrier.status(kept.provider_call_id or "")
        assert not status.alive
        assert len(carrier._calls) == 2
        for each in (first, second):
            await each.close(within_s=1)

    asyncio.run(case())


def test_inbound_calls_are_counted_as_such() -> None:
    counted: list[tuple[str, str]] = []

    class Metrics:
        def call_started(self, direction: Direction) -> None:
            counted.append(("started", direction.value))

        def call_ended(self, direction: Direction, reason: CallState) -> None:
            counted.append((reason.value, direction.value))

        def call_refused(self, reason: str) -> None:
            raise AssertionError(reason)

    async def case(world: Restarted) -> None:
        await world.left(CallState.ACTIVE, direction=Direction.INBOUND)
        manager = CallManager(
            CallSettings(),
            carrier=world.carrier,
            store=world.store,
            clock=world.clock,
            metrics=Metrics(),
        )
        await manager.restore()
        await manager.close(within_s=1)

    restarted(case)
    assert counted == [("started", "inbound"), ("hangup-bot", "inbound")]
