"""Records in words."""

from __future__ import annotations

import pytest

from tests.cli.records import BEGAN_MS, HARMLESS, STEERING, over, record
from voicecall.call.record import CallState
from voicecall.cli.call_text import UNHELD, duration, figures, lasted, reason, remote

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (-1, "0:00"),
        (0, "0:00"),
        (999, "0:00"),
        (1_000, "0:01"),
        (59_999, "0:59"),
        (60_000, "1:00"),
        (3_599_000, "59:59"),
        (3_600_000, "1:00:00"),
        (36_061_000, "10:01:01"),
    ],
)
def test_durations_are_read_as_on_a_clock(duration_ms: int, text: str) -> None:
    assert duration(duration_ms) == text


def test_the_other_side_is_who_calls_or_who_is_called() -> None:
    assert remote(record()) == "+15550001234"
    assert remote(record(direction="inbound")) == "+15550000000"


def test_a_number_cannot_steer_the_terminal() -> None:
    assert remote(record(to=STEERING)) == HARMLESS


def test_a_call_lasts_from_its_answer_to_its_end_or_until_now() -> None:
    assert lasted(record(answeredAt=None), BEGAN_MS + 9_000) == ""
    assert lasted(record(), BEGAN_MS + 9_200) == "0:05"
    assert lasted(over("completed"), BEGAN_MS + 500_000) == "1:05"


def test_every_end_has_words_for_people() -> None:
    ends = [state.value for state in CallState if state.terminal]
    assert ends
    for end in ends:
        assert reason(over(end)) != end


def test_calls_that_were_not_held_end_for_known_reasons() -> None:
    assert {state.value for state in CallState if state.terminal} > UNHELD


def test_what_went_wrong_is_told_with_the_reason() -> None:
    failed = over("failed", metadata={"lastError": f"no credit {STEERING}"})
    assert reason(failed) == f"it could not be placed: no credit {HARMLESS}"


def test_an_error_in_a_call_that_was_held_is_not_its_end() -> None:
    held = over("hangup-user", metadata={"lastError": "a sentence was lost"})
    assert reason(held) == "the other side hung up"


def test_a_call_that_was_handed_on_is_not_simply_over() -> None:
    handed = over("completed", metadata={"transferredTo": f"+1555{STEERING}"})
    assert reason(handed) == f"handed on to +1555{HARMLESS}"


def test_a_live_call_has_its_state_for_a_reason() -> None:
    assert reason(record()) == "listening"


def test_figures_tell_what_there_is_to_tell() -> None:
    assert figures(record(answeredAt=None), BEGAN_MS) == []
    one = over("completed", metadata={"turnCount": 1})
    assert figures(one, BEGAN_MS) == ["1:05", "1 turn"]
    turns = [{"latencyMs": 300.4}, {}, {"latencyMs": 100}, {"latencyMs": 900}]
    more = over("completed", metadata={"turnCount": 4, "turns": turns})
    assert figures(more, BEGAN_MS) == ["1:05", "4 turns", "answers after 300 ms (median)"]
