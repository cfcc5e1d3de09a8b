"""A whole server is killed under calls; and what a crash run is to notice, it notices."""

from __future__ import annotations

import argparse
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from benchmarks.soak.crash import Plan, Stage, plans
from benchmarks.soak.ledger import Ledger, Stored, read_store
from benchmarks.soak.people import CARRIERS, Simulated
from benchmarks.soak.victim import PORTS, fixed_ports
from tests.store.stores import stored
from voicecall.call.record import CallState
from voicecall.clock import ManualClock, SystemClock
from voicecall.simulator.exchange import Delivery, Line
from voicecall.store.sqlite import SqliteCallStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.socket, pytest.mark.timed]

THEM = "15551000001"
CALL = "CA1"


# --- the run -------------------------------------------------------------------------------------


def test_nothing_acknowledged_is_lost_when_a_server_is_killed(tmp_path: Path) -> None:
    stage = Stage(Plan("twilio", media=False, kills=2, calls=6), tmp_path)
    uvloop.run(stage.perform())
    assert stage.problems == []
    assert sum(stage.result["kills"].values()) == 2
    assert stage.result["facts"]["known"] > stage.result["records"] > 0


def test_the_kills_are_shared_among_carriers_and_between_words_and_media() -> None:
    options = argparse.Namespace(carrier=None, kills=100, calls=50, seed=1)
    found = plans(options)
    assert sum(plan.kills for plan in found) == 100
    assert [(plan.carrier, plan.media) for plan in found] == [
        (carrier, media) for carrier in CARRIERS for media in (False, True)
    ]
    options = argparse.Namespace(carrier="telnyx", kills=1, calls=50, seed=1)
    assert [(plan.carrier, plan.kills) for plan in plans(options)] == [("telnyx", 1)]


def test_ports_stay_free_while_the_server_is_down() -> None:
    ports = fixed_ports(2)
    assert len(set(ports)) == 2
    assert all(port in PORTS for port in ports)


# --- what it notices -----------------------------------------------------------------------------


class Carrier:
    """A carrier with calls that nobody holds."""

    def __init__(self, *lines: Line) -> None:
        self.calls = {line.provider_call_id: line for line in lines}
        self.clock = ManualClock()
        self.webhooks = self
        self.deliveries: deque[Delivery] = deque()

    def deliver(self, status: int | None = 200, **fields: str) -> None:
        self.deliveries.append(Delivery(CALL, "voice", "", fields, status, 1, self.clock.now_ns()))


def line(name: str = CALL, to: str = THEM) -> Line:
    return Line(name, direction="outbound", from_number="+15550000000", to_number=f"+{to}")


def ledger(carrier: Simulated) -> Ledger:
    made = Ledger("twilio", carrier, media=False)
    made.asked.add(THEM)
    return made


def record(**fields: Any) -> dict[str, Any]:
    known = {"call_id": str(uuid.uuid4()), "to_number": f"+{THEM}", "provider_call_id": CALL}
    return stored(**{**known, **fields})


def noticed(made: Ledger, *records: dict[str, Any], keys: str = "") -> str:
    found = Stored({each["to"].removeprefix("+"): each for each in records}, {THEM: keys})
    made.check(made.facts, found)
    return "\n".join(made.problems)


def test_what_is_there_is_no_problem() -> None:
    made = ledger(Carrier(line()))
    made.acknowledge(THEM, "words", "hello")
    made.acknowledge(THEM, "keys", "12")
    heard = {"timestamp": 1, "speaker": "user", "text": "hello", "isFinal": True}
    assert noticed(made, record() | {"transcript": [heard]}, keys="2310") == ""


@pytest.mark.parametrize(
    ("kind", "detail", "what"),
    [
        ("known", "another id", "known 'another id' was acknowledged"),
        ("answered", "", "answered '' was acknowledged"),
        ("words", "hello", "words 'hello' was acknowledged"),
        ("keys", "55", "keys 5 were acknowledged"),
        ("ended", "", "ended '' was acknowledged"),
    ],
)
def test_what_is_lost_is_a_problem(kind: Any, detail: str, what: str) -> None:
    made = ledger(Carrier(line()))
    made.acknowledge(THEM, kind, detail)
    left = record(state=CallState.RINGING, answered_at=None)
    assert what in noticed(made, left, keys="15")


def test_a_lost_record_is_a_problem_but_for_a_call_of_which_only_the_end_was_told() -> None:
    carrier = Carrier(line())
    made = ledger(carrier)
    carrier.deliver(CallStatus="completed")
    made.take_deliveries()
    assert noticed(made) == ""
    carrier.deliver(CallStatus="in-progress")
    made.take_deliveries()
    assert "has no record" in noticed(made)


def test_what_was_not_acknowledged_may_be_lost() -> None:
    carrier = Carrier(line())
    made = ledger(carrier)
    carrier.deliver(None, CallStatus="in-progress")
    carrier.deliver(503, CallStatus="in-progress")
    made.take_deliveries()
    assert noticed(made) == ""
    assert made.statuses == {503: 1}


def test_phantoms_are_a_problem() -> None:
    assert "nobody has called" in noticed(ledger(Carrier()), record(to_number="+15559999999"))
    assert "of another call" in noticed(ledger(Carrier(line())), record(provider_call_id="CA2"))


def test_who_is_called_twice_is_a_problem() -> None:
    made = ledger(Carrier(line("CA1"), line("CA2")))
    made.check_dials()
    assert "was called 2 times" in made.problems[0]


def test_calls_that_live_on_one_side_only_are_a_problem() -> None:
    over = ledger(Carrier(line()))
    over.check_reconciled({THEM}, Stored({THEM: record()}))
    assert "the server thinks it lives" in over.problems[0]
    alive = ledger(Carrier(line()))
    alive.check_live({THEM}, Stored({THEM: record(state=CallState.ERROR)}))
    assert "is over for the server" in alive.problems[0]


def test_a_store_is_read_beside_the_server_that_writes_it(tmp_path: Path) -> None:
    async def case() -> Stored:
        store = SqliteCallStore(tmp_path / "calls", clock=SystemClock())
        await store.open()
        try:
            for digits in ("1", "23"):
                await store.save(record(call_id="call-1"), {"type": "dtmf", "digits": digits})
            assert read_store(tmp_path / "calls", {THEM}).keys == {THEM: "123"}
            await store.save(record(call_id="call-2"), {"type": "call.created"})
            return read_store(tmp_path / "calls", {THEM})
        finally:
            await store.close()

    found = uvloop.run(case())
    assert found.doubles == [THEM]
    assert found.lives(THEM)
