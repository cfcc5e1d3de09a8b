from __future__ import annotations

import pytest

from voicecall.clock import ManualClock
from voicecall.simulator.exchange import telnyx_gate
from voicecall.simulator.exchange.telnyx_gate import RateLimit, Repeats
from voicecall.simulator.exchange.telnyx_refusals import Refused

pytestmark = pytest.mark.unit


def test_without_a_limit_nothing_is_refused() -> None:
    limit = RateLimit(None, ManualClock())
    for _ in range(1000):
        limit.count()


def test_each_second_has_room_for_as_many_requests() -> None:
    clock = ManualClock()
    limit = RateLimit(2, clock)
    for _ in range(3):
        limit.count()
        limit.count()
        with pytest.raises(Refused) as caught:
            limit.count()
        assert caught.value.status == 429
        assert caught.value.code == "10011"
        clock.advance_ms(1000)


def test_a_limit_says_how_long_it_lasts() -> None:
    clock = ManualClock()
    limit = RateLimit(1, clock)
    limit.count()
    clock.advance_ms(999)
    with pytest.raises(Refused) as caught:
        limit.count()
    assert caught.value.answer().headers["x-ratelimit-reset"] == "1"


def test_a_command_is_remembered_for_a_minute() -> None:
    clock = ManualClock()
    repeats = Repeats(clock)
    repeats.note("call", "a", "call")
    clock.advance_ms(59_999)
    assert repeats.earlier("call", "a") == "call"
    clock.advance_ms(1)
    assert repeats.earlier("call", "a") is None


def test_a_command_is_a_repeat_only_within_its_call() -> None:
    repeats = Repeats(ManualClock())
    repeats.note("one", "a", "one")
    assert repeats.earlier("other", "a") is None
    assert repeats.earlier("one", "b") is None


def test_a_command_without_an_id_is_never_a_repeat() -> None:
    repeats = Repeats(ManualClock())
    repeats.note("call", None, "call")
    assert repeats.earlier("call", None) is None


def test_the_oldest_command_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telnyx_gate, "_MAX_REMEMBERED", 2)
    repeats = Repeats(ManualClock())
    for name in ("a", "b", "a", "c"):
        repeats.note("call", name, "call")
    assert repeats.earlier("call", "b") is None
    assert repeats.earlier("call", "a") == "call"
    assert repeats.earlier("call", "c") == "call"
