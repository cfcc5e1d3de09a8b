from __future__ import annotations

from typing import Any

import pytest

from voicecall.simulator.exchange import faults as module
from voicecall.simulator.exchange.faults import Fault, Faults

pytestmark = pytest.mark.unit


def test_nothing_goes_wrong_unless_told() -> None:
    assert Faults().take("dial") is None
    assert Faults().take("webhook:completed") is None
    assert Faults().take("socket") is None


def test_a_fault_happens_where_and_as_often_as_told() -> None:
    faults = Faults()
    fault = Fault("reset", times=2)
    faults.add("dial", fault)
    assert faults.take("hang-up") is None
    assert [faults.take("dial") for _ in range(3)] == [fault, fault, None]


def test_a_fault_without_number_happens_always_until_cleared() -> None:
    faults = Faults()
    fault = Fault("hang", times=None)
    faults.add("look-up", fault)
    assert [faults.take("look-up") for _ in range(50)] == [fault] * 50
    faults.clear()
    assert faults.take("look-up") is None


def test_faults_of_one_place_happen_one_after_the_other() -> None:
    faults = Faults()
    first, second = Fault("status", status=503), Fault("status-after", code=20429)
    faults.add("dial", first)
    faults.add("dial", second)
    assert [faults.take("dial"), faults.take("dial")] == [first, second]


def test_a_fault_of_any_webhook_comes_after_those_of_the_named_one() -> None:
    faults = Faults()
    named, any_one = Fault("lose"), Fault("repeat")
    faults.add("webhook:*", any_one)
    faults.add("webhook:answered", named)
    assert [faults.take("webhook:answered") for _ in range(3)] == [named, any_one, None]


@pytest.mark.parametrize(
    ("where", "kind"),
    [("dial", "lose"), ("dial", "drop"), ("webhook:ringing", "reset"), ("socket", "slow")],
)
def test_what_cannot_happen_at_a_place_is_refused(where: str, kind: module.FaultKind) -> None:
    with pytest.raises(ValueError, match="no fault of"):
        Faults().add(where, Fault(kind))


@pytest.mark.parametrize("wrong", [{"times": 0}, {"delay_s": -1.0}, {"status": 200}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fault("status", **wrong)


def test_no_place_takes_faults_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_FAULTS_A_PLACE", 2)
    faults = Faults()
    faults.add("dial", Fault("hang"))
    faults.add("dial", Fault("hang"))
    with pytest.raises(ValueError, match="too many"):
        faults.add("dial", Fault("hang"))
