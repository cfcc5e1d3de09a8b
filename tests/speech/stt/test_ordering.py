from __future__ import annotations

import pytest

from voicecall.clock import NS_PER_S
from voicecall.ports import FinalTranscript
from voicecall.speech.stt.ordering import TranscriptOrder

pytestmark = pytest.mark.unit


def told(order: TranscriptOrder, now_s: float = 0) -> list[str]:
    return [final.text for final in order.release(round(now_s * NS_PER_S))]


def test_what_is_finished_in_order_is_told_at_once() -> None:
    order = TranscriptOrder()
    order.begin("a", None)
    order.begin("b", "a")
    order.finish("a", FinalTranscript("A"))
    assert told(order) == ["A"]
    order.finish("b", FinalTranscript("B"))
    assert told(order) == ["B"]
    assert order.deadline_ns is None


def test_what_is_finished_early_waits_for_what_was_said_before() -> None:
    order = TranscriptOrder()
    for item, previous in (("a", None), ("b", "a"), ("c", "b")):
        order.begin(item, previous)
    order.finish("c", FinalTranscript("C"))
    order.finish("b", FinalTranscript("B"))
    assert told(order) == []
    order.finish("a", FinalTranscript("A"))
    assert told(order) == ["A", "B", "C"]


def test_the_order_is_that_of_previous_items_not_of_arrival() -> None:
    order = TranscriptOrder()
    order.begin("a", None)
    order.begin("c", "a")
    order.begin("b", "a")
    order.begin("d", "unknown")
    for item in "dcba":
        order.finish(item, FinalTranscript(item))
    assert told(order) == ["a", "b", "c", "d"]


def test_an_item_that_is_finished_before_it_has_a_place_gets_one() -> None:
    order = TranscriptOrder()
    order.begin("a", None)
    order.finish("c", FinalTranscript("C"))
    order.begin("b", "a")
    order.begin("c", "b")
    order.finish("b", FinalTranscript("B"))
    assert told(order) == []
    order.finish("a", FinalTranscript("A"))
    assert told(order) == ["A", "B", "C"]


def test_nobody_waits_for_an_item_longer_than_three_seconds() -> None:
    order = TranscriptOrder()
    order.begin("a", None)
    order.begin("b", "a")
    order.finish("b", FinalTranscript("B"))
    assert told(order, 10) == []
    deadlines = [order.deadline_ns]
    assert told(order, 12.9) == []
    assert told(order, 13) == ["B"]
    assert [*deadlines, order.deadline_ns] == [13 * NS_PER_S, None]
    order.finish("a", FinalTranscript("A, late"))
    assert told(order, 14) == ["A, late"]


def test_after_one_item_was_given_up_the_next_is_waited_for_anew() -> None:
    order = TranscriptOrder()
    for item, previous in (("a", None), ("b", "a"), ("c", "b")):
        order.begin(item, previous)
    order.finish("c", FinalTranscript("C"))
    assert told(order, 0) == []
    assert told(order, 3) == []
    assert order.deadline_ns == 6 * NS_PER_S
    assert told(order, 6) == ["C"]


def test_partial_text_grows_and_is_kept_back_while_another_item_comes_first() -> None:
    order = TranscriptOrder()
    assert order.add("a", "I ") == "I "
    assert order.add("a", "am") == "I am"
    order.begin("a", None)
    assert order.add("b", "You") == ""
    order.finish("a", FinalTranscript("I am"))
    assert told(order) == ["I am"]
    assert order.add("b", " are") == "You are"


def test_an_item_that_was_told_does_not_come_back() -> None:
    order = TranscriptOrder()
    order.finish("a", FinalTranscript("A"))
    assert told(order) == ["A"]
    assert order.add("a", "more") == ""
    order.begin("a", None)
    order.begin("b", "a")
    order.finish("b", FinalTranscript("B"))
    assert told(order) == ["B"]


def test_of_too_many_items_the_oldest_is_forgotten() -> None:
    order = TranscriptOrder()
    for index in range(40):
        order.begin(str(index), str(index - 1))
    assert len(order._items) == len(order._order) == 32
    for index in range(8, 40):
        order.finish(str(index), FinalTranscript(str(index)))
    assert told(order) == [str(index) for index in range(8, 40)]
