from __future__ import annotations

import pytest

from voicecall.carriers.plivo.names import CallNames

pytestmark = pytest.mark.unit


def test_a_call_we_placed_is_known_by_its_request() -> None:
    names = CallNames()
    assert names.learn("request", "call") == "request"
    assert names.known_as("call") == "request"
    assert names.call_uuid("request") == "call"


def test_a_call_nobody_told_of_is_known_by_its_own_name() -> None:
    names = CallNames()
    assert names.known_as("call") == "call"
    assert names.call_uuid("call") == "call"


def test_learning_again_changes_nothing() -> None:
    names = CallNames()
    for _ in range(3):
        assert names.learn("request", "call") == "request"
    assert len(names) == 1


def test_equal_names_are_one_call() -> None:
    names = CallNames()
    assert names.learn("same", "same") == "same"
    assert names.call_uuid("same") == names.known_as("same") == "same"


def test_each_call_of_a_request_for_several_has_a_name_of_its_own() -> None:
    names = CallNames()
    names.learn("request", "first")
    assert names.learn("request", "second") == "second"
    assert names.learn("request", "first") == "request"
    assert names.call_uuid("second") == "second"


def test_the_oldest_pair_is_forgotten() -> None:
    names = CallNames(capacity=2)
    for number in "123":
        names.learn(f"r{number}", f"c{number}")
    assert len(names) == 2
    assert names.known_as("c1") == "c1"
    assert names.call_uuid("r1") == "r1"
    assert names.known_as("c3") == "r3"
