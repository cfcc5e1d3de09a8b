from __future__ import annotations

import sys

import pytest

from voicecall.isolation.interpreter import TURN_S, short_turns

pytestmark = [pytest.mark.unit, pytest.mark.timed]


def test_turns_are_short_only_meanwhile() -> None:
    usual_s = sys.getswitchinterval()
    with short_turns():
        assert sys.getswitchinterval() == pytest.approx(TURN_S)
    assert sys.getswitchinterval() == usual_s
