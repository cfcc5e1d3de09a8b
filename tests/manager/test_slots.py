from __future__ import annotations

import pytest

from voicecall.errors import CapacityReached
from voicecall.manager.slots import Slots

pytestmark = pytest.mark.unit


def test_a_slot_is_free_again_once_released_however_often() -> None:
    slots = Slots(2)
    slots.reserve("a")
    slots.reserve("b")
    with pytest.raises(CapacityReached, match="limit of 2"):
        slots.reserve("c")
    slots.release("a")
    slots.release("a")
    assert slots.held == 1
    slots.reserve("c")
    with pytest.raises(CapacityReached):
        slots.reserve("d")


def test_a_closed_house_admits_nobody() -> None:
    slots = Slots(2)
    slots.reserve("a")
    slots.close()
    assert slots.closed
    with pytest.raises(CapacityReached, match="shutting down"):
        slots.reserve("b")
    assert slots.held == 1


def test_a_call_that_there_is_counts_even_beyond_the_limit() -> None:
    slots = Slots(1)
    slots.hold("a")
    slots.hold("b")
    assert slots.held == 2
    slots.release("a")
    with pytest.raises(CapacityReached):
        slots.reserve("c")
    slots.release("b")
    slots.reserve("c")
