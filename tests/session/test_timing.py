from __future__ import annotations

import pytest

from voicecall.clock import NS_PER_MS
from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.unit


def test_each_step_is_counted_from_the_one_before() -> None:
    times = [at * NS_PER_MS for at in (100, 600, 650, 700, 720)]
    assert TurnTiming(*times).to_json() == {
        "finalMs": 500,
        "firstTokenMs": 50,
        "firstAudioMs": 50,
        "firstFrameMs": 20,
        "latencyMs": 620,
    }


def test_steps_that_are_not_known_are_left_out() -> None:
    assert TurnTiming(final_ns=0, first_token_ns=5 * NS_PER_MS).to_json() == {"firstTokenMs": 5}
    assert TurnTiming().latency_ms is None
