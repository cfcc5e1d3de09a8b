from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.call.record import CallState, Direction
from voicecall.carriers.plivo.reasons import Ending

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, CallState.COMPLETED),
        ({"status": "completed"}, CallState.COMPLETED),
        ({"status": "busy"}, CallState.BUSY),
        ({"status": "rejected"}, CallState.BUSY),
        ({"status": "failed"}, CallState.FAILED),
        ({"status": "no-answer"}, CallState.NO_ANSWER),
        ({"status": "timeout"}, CallState.NO_ANSWER),
        ({"status": "cancel"}, CallState.HANGUP_BOT),
        ({"status": "cancel", "direction": Direction.INBOUND}, CallState.HANGUP_USER),
        ({"status": "completed", "code": "1000"}, CallState.HANGUP_BOT),
        ({"status": "completed", "code": "1010"}, CallState.FAILED),
        ({"status": "completed", "code": "2000"}, CallState.FAILED),
        ({"status": "completed", "code": "3000"}, CallState.NO_ANSWER),
        ({"status": "completed", "code": "3010"}, CallState.BUSY),
        ({"status": "completed", "code": "3020"}, CallState.BUSY),
        ({"status": "completed", "code": "3120"}, CallState.FAILED),
        ({"status": "completed", "code": "6000"}, CallState.TIMEOUT),
        ({"status": "completed", "code": "6020"}, CallState.ERROR),
        ({"status": "completed", "code": "4010", "source": "Answer XML"}, CallState.COMPLETED),
        ({"status": "completed", "code": "4000", "source": "Callee"}, CallState.HANGUP_USER),
        ({"status": "completed", "code": "4000", "source": "Caller"}, CallState.HANGUP_USER),
        ({"code": "4000", "source": "Call recipient"}, CallState.HANGUP_USER),
        ({"code": "4000", "source": "API Request"}, CallState.HANGUP_BOT),
        ({"code": "4000", "source": "Answer XML"}, CallState.HANGUP_BOT),
        ({"code": "5030"}, CallState.FAILED),
        ({"code": "7011"}, CallState.ERROR),
        ({"code": "8011"}, CallState.ERROR),
        ({"source": "Error"}, CallState.ERROR),
        ({"cause": "NO_ANSWER"}, CallState.NO_ANSWER),
        ({"cause": "USER_BUSY"}, CallState.BUSY),
        ({"cause": "Machine Detected", "code": "6999"}, CallState.VOICEMAIL),
        ({"cause": "Ring Timeout Reached"}, CallState.NO_ANSWER),
        ({"cause": "Time Limit Reached"}, CallState.TIMEOUT),
        ({"cause": "NORMAL_CLEARING", "source": "Callee"}, CallState.HANGUP_USER),
        ({"status": "completed", "machine": True}, CallState.VOICEMAIL),
    ],
)
def test_what_plivo_says_of_the_end_has_a_word_of_ours(
    said: dict[str, Any], reason: CallState
) -> None:
    assert Ending(**said).reason() is reason


@given(
    st.builds(
        Ending,
        status=st.text(),
        code=st.text(),
        cause=st.text(),
        source=st.text(),
        direction=st.sampled_from([None, *Direction]),
        machine=st.booleans(),
    )
)
def test_every_end_is_one(ending: Ending) -> None:
    assert ending.reason().terminal
