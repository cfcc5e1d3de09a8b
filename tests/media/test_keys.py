from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.clock import NS_PER_MS
from voicecall.media.keys import HELD_MAX, KeyOrder

pytestmark = pytest.mark.unit

HOLD_MS = 60


def test_a_key_leaves_when_nothing_earlier_is_to_be_expected() -> None:
    order = KeyOrder(HOLD_MS)
    order.put("1", 1000, 0)
    assert order.due_ns == HOLD_MS * NS_PER_MS
    assert order.take(HOLD_MS * NS_PER_MS - 1) == ""
    assert order.take(HOLD_MS * NS_PER_MS) == "1"
    assert [order.due_ns, order.take(10**12)] == [None, ""]


def test_keys_leave_in_the_order_in_which_they_were_pressed() -> None:
    order = KeyOrder(HOLD_MS)
    order.put("2", 1100, 0)
    order.put("3", 1200, 10 * NS_PER_MS)
    order.put("1", 1000, 50 * NS_PER_MS)
    # When the 2 has waited long enough the 1 goes before it, and the 3 may yet be preceded.
    assert order.take(60 * NS_PER_MS) == "12"
    assert order.due_ns == 70 * NS_PER_MS
    assert order.take(70 * NS_PER_MS) == "3"


def test_a_key_that_comes_later_than_that_is_not_lost() -> None:
    order = KeyOrder(HOLD_MS)
    order.put("2", 1100, 0)
    assert order.take(60 * NS_PER_MS) == "2"
    order.put("1", 1000, 61 * NS_PER_MS)
    assert order.take(121 * NS_PER_MS) == "1"


def test_keys_pressed_at_the_same_time_leave_as_they_came() -> None:
    order = KeyOrder(HOLD_MS)
    for key in "5#A":
        order.put(key, 1000, 0)
    assert order.take(HOLD_MS * NS_PER_MS) == "5#A"


def test_without_a_hold_keys_pass_through() -> None:
    order = KeyOrder(0)
    order.put("9", 5, 7)
    assert order.take(7) == "9"


def test_one_key_too_many_lets_the_earliest_go_at_once() -> None:
    order = KeyOrder(HOLD_MS)
    for at in range(HELD_MAX):
        order.put("0", 1000 + at, 0)
    assert order.take(0) == ""
    order.put("7", 1, 0)
    assert order.take(0) == "7"
    assert order.take(HOLD_MS * NS_PER_MS) == "0" * HELD_MAX


@given(st.permutations("0123456789"), st.integers(0, 5))
def test_any_disorder_within_the_hold_is_put_right(came: list[str], between_ms: int) -> None:
    order = KeyOrder(HOLD_MS)
    told = ""
    for at, key in enumerate(came):
        told += order.take(at * between_ms * NS_PER_MS)
        order.put(key, 1000 + int(key), at * between_ms * NS_PER_MS)
    told += order.take(10**12)
    assert told == "0123456789"
