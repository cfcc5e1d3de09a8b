"""Changes in words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.records import HARMLESS, STEERING, change
from voicecall.cli.change_text import detail, teller

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("kind", "fields", "told", "of"),
    [
        ("call.created", {"direction": "inbound"}, "inbound", "call"),
        ("call.restored", {"direction": "outbound"}, "outbound", "call"),
        ("call.ringing", {}, "", "call"),
        ("call.speaking", {"text": "Hello there."}, "Hello there.", "bot"),
        ("call.spoken", {"heard": "Hello there.", "interrupted": False}, "Hello there.", "bot"),
        ("call.spoken", {"heard": "Hello", "interrupted": True}, "Hello …", "bot"),
        ("call.speech", {"transcript": "Hi"}, "Hi", "caller"),
        ("call.dtmf", {"digits": "12#"}, "12#", "caller"),
        ("call.silence", {"durationMs": 5000}, "5000 ms", "caller"),
        ("call.error", {"message": "no voice"}, "no voice", "call"),
        ("call.ended", {"reason": "completed"}, "", "call"),
        ("call.ended", {"transferredTo": "+15550001"}, "handed on to +15550001", "call"),
        ("gap", {}, "changes are missing here", "call"),
        ("call.of a later version", {"x": 1}, "", "call"),
    ],
)
def test_each_kind_of_change_is_told_by_what_matters_in_it(
    kind: str, fields: dict[str, Any], told: str, of: str
) -> None:
    assert detail(change(kind, **fields)) == told
    assert teller(change(kind, **fields)) == of


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("call.speech", "transcript"),
        ("call.dtmf", "digits"),
        ("call.error", "message"),
        ("call.ended", "transferredTo"),
    ],
)
def test_nothing_from_outside_steers_the_terminal(kind: str, field: str) -> None:
    told = detail({**change(kind), field: STEERING})
    assert told.endswith(HARMLESS)
    assert "\x1b" not in told
