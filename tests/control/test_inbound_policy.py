"""Who may call, asked of each carrier's own webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.control.carriers import CARRIERS, OURS, STRANGER, Call, Office, run, until
from voicecall.call.record import CallState, Direction
from voicecall.errors import CapacityReached, CarrierError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.unit

each_carrier = pytest.mark.parametrize("carrier", CARRIERS)
FRIEND = "+442079460000"
ALLOWED = ("+44 (20) 7946-0000",)


async def arrive(office: Office, caller: str, facts: Sequence[str] = ("arriving",)) -> Call:
    call = office.arriving(caller)
    answer = await office.tell(call, *facts)
    taken = office.manager.find(call.name) is not None
    if "asking" in facts or "arriving" in facts:
        assert office.line.hangs_up(answer) in {not taken, None}
    return call


@each_carrier
@pytest.mark.parametrize(
    ("policy", "caller", "taken"),
    [
        ("disabled", FRIEND, False),
        ("disabled", "", False),
        ("open", STRANGER, True),
        ("open", "", True),
        ("open", "hidden", True),
        ("allowlist", FRIEND, True),
        ("allowlist", "442079460000", True),
        ("allowlist", STRANGER, False),
        # A number with one of ours in it is another number.
        ("allowlist", "+1442079460000", False),
        ("allowlist", "+4420794600001", False),
        ("allowlist", "+4420794600", False),
        ("allowlist", "2079460000", False),
        ("allowlist", "", False),
        ("allowlist", "hidden", False),
        ("allowlist", "sip:442079460000@example.com", False),
        ("pairing", FRIEND, True),
        ("pairing", STRANGER, False),
        ("pairing", "hidden", False),
    ],
)
def test_who_is_taken_on_and_who_is_not(
    carrier: str, policy: str, caller: str, *, taken: bool
) -> None:
    async def case(office: Office) -> None:
        said = office.line.hidden if caller == "hidden" else caller
        call = await arrive(office, said)
        assert (office.manager.find(call.name) is not None) == taken
        assert office.manager.live_count == len(office.conversations.opened) == int(taken)
        if not taken:
            await until(lambda: office.carrier.hung_up)
        assert office.carrier.hung_up == ([] if taken else [call.name])

    run(carrier, case, inbound_policy=policy, allow_from=(*ALLOWED, "", "anonymous", "+266696687"))


@each_carrier
def test_a_refused_call_is_hung_up_once_however_much_is_heard_of_it(carrier: str) -> None:
    async def case(office: Office) -> None:
        call = office.arriving(STRANGER)
        await office.tell(call, "arriving", "arriving", "ringing", "answered", "asking", "answered")
        another = office.arriving(STRANGER)
        await office.tell(another, "arriving")
        await until(lambda: len(office.carrier.hung_up) > 1)
        await office.tell(call, "ended")
        await office.tell(call, "answered")
        assert office.carrier.hung_up == [call.name, another.name]
        assert office.manager.live_count == 0
        assert await office.manager.recent() == []

    run(carrier, case, inbound_policy="allowlist", allow_from=ALLOWED)


@each_carrier
def test_a_call_that_finds_no_slot_is_hung_up_once_and_the_next_one_taken(carrier: str) -> None:
    async def case(office: Office) -> None:
        first, second = office.arriving(), office.arriving()
        await office.tell(first, "arriving")
        await office.tell(second, "arriving", "answered")
        await until(lambda: office.carrier.hung_up)
        await office.tell(first, "ended")
        third = office.arriving()
        await office.tell(third, "arriving")
        assert office.carrier.hung_up == [second.name]
        assert [record.provider_call_id for record in office.manager.live()] == [third.name]

    run(carrier, case, inbound_policy="open", max_concurrent_calls=1)


@each_carrier
@pytest.mark.parametrize("first", ["ringing", "answered"])
def test_a_call_placed_at_the_carrier_without_us_is_taken_on_whatever_the_policy(
    carrier: str, first: str
) -> None:
    async def case(office: Office) -> None:
        name, _ = office.line.names()
        call = Call(name, Direction.OUTBOUND, OURS, STRANGER)
        await office.tell(call, first)
        record = office.record(call)
        assert record.direction is Direction.OUTBOUND
        assert (record.from_number, record.to_number) == (OURS, STRANGER)
        assert record.session_key == "voice:15550009999"
        assert office.carrier.hung_up == []
        assert office.carrier.dials == []
        await office.tell(call, "ended")
        assert record.state.terminal

    run(carrier, case, inbound_policy="disabled")


@each_carrier
def test_what_differs_on_the_dialled_number_is_frozen_on_the_record(carrier: str) -> None:
    numbers: dict[str, dict[str, Any]] = {
        "+1 (555) 000-0001": {"inboundGreeting": "Sales.", "responseModel": "a/b"},
        "+15550000002": {"inboundGreeting": "Service."},
    }

    async def case(office: Office) -> None:
        sales = office.arriving(dialled="+15550000001")
        other = office.arriving(dialled="+15550000003")
        await office.tell(sales, "arriving")
        await office.tell(other, "arriving")
        numbers["+1 (555) 000-0001"]["inboundGreeting"] = "Changed."
        record = office.record(sales)
        assert record.metadata["number"] == {"inboundGreeting": "Sales.", "responseModel": "a/b"}
        assert "number" not in office.record(other).metadata
        said = [conversation.opening for conversation in office.conversations.opened]
        assert said == ["Sales.", "Hello."]
        await office.tell(sales, "answered", "ended")
        stored = await office.store.get(record.call_id)
        assert stored is not None
        assert stored["metadata"]["number"]["inboundGreeting"] == "Sales."

    run(carrier, case, inbound_policy="open", inbound_greeting="Hello.", numbers=numbers)


@each_carrier
@pytest.mark.parametrize("scope", ["per-phone", "per-call"])
def test_whose_memory_a_call_continues(carrier: str, scope: str) -> None:
    async def case(office: Office) -> None:
        calls = [office.arriving(caller) for caller in (STRANGER, STRANGER, FRIEND)]
        calls += [office.arriving(office.line.hidden) for _ in range(2)]
        for call in calls:
            await office.tell(call, "arriving")
        keys = [office.record(call).session_key for call in calls]
        # Whoever withholds the number shares with nobody, not even others who do.
        assert len(set(keys)) == (4 if scope == "per-phone" else 5)
        assert (keys[0] == keys[1]) == (scope == "per-phone")

    run(carrier, case, inbound_policy="open", session_scope=scope)


async def refused(office: Office) -> None:
    task, _ = await office.dialling()
    office.carrier.dial_error = CarrierError("no credit", status=402)
    office.carrier.dial_gate.set()
    with pytest.raises(CarrierError):
        await task
    office.carrier.dial_error = None


async def broken(office: Office) -> None:
    task, _ = await office.dialling()
    office.carrier.dial_error = RuntimeError("a bug")
    office.carrier.dial_gate.set()
    with pytest.raises(RuntimeError):
        await task
    office.carrier.dial_error = None


async def unanswered_dial(office: Office) -> None:
    task, _ = await office.dialling()
    with pytest.raises(CarrierError):
        await task


async def unstored(office: Office) -> None:
    office.store.broken = True
    with pytest.raises(StoreError):
        await office.manager.initiate("Hi.", "+15550000002")
    office.store.broken = False


async def no_conversation(office: Office) -> None:
    office.conversations.error = RuntimeError("no engine")
    with pytest.raises(RuntimeError):
        await office.manager.initiate("Hi.", "+15550000002")
    office.conversations.error = None


async def busy(office: Office) -> None:
    await office.tell(await office.placed(), "busy")


async def unanswered(office: Office) -> None:
    call = await office.placed()
    office.manager.timers.fire_due(office.clock.advance_ms(30_000))
    await until(lambda: office.manager.live_count == 0)
    assert office.record(call).state is CallState.NO_ANSWER


async def caller_gone(office: Office) -> None:
    await office.tell(office.arriving(), "arriving", "ended")


WAYS_TO_FAIL = (
    refused,
    broken,
    unanswered_dial,
    unstored,
    no_conversation,
    busy,
    unanswered,
    caller_gone,
)


@each_carrier
def test_every_way_a_call_can_fail_gives_its_slot_back(carrier: str) -> None:
    async def case(office: Office) -> None:
        for fails in WAYS_TO_FAIL:
            await fails(office)
            assert office.manager.live_count == 0, fails.__name__
        call = await office.placed()
        with pytest.raises(CapacityReached):
            await office.manager.initiate("Hi.", "+15550000002")
        await office.tell(call, "ended")

    run(carrier, case, inbound_policy="open", max_concurrent_calls=1, dial_timeout_ms=20)
