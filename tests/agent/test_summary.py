"""A call as a model reads it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.agent.fakes import NOW_MS, record
from voicecall.agent.summary import LAST_ENTRIES, summary
from voicecall.call.record import CallState, Speaker, TranscriptEntry

pytestmark = pytest.mark.unit


def told(last: int = LAST_ENTRIES, **changes: Any) -> dict[str, Any]:
    return summary(record(**changes).to_json(), last)


def test_it_tells_what_matters_and_no_more() -> None:
    assert told() == {
        "callId": "c-1",
        "direction": "outbound",
        "state": "listening",
        "ended": False,
        "from": "+15550001111",
        "to": "+15550002222",
        "mode": "conversation",
        "startedAt": "2023-11-14T22:13:20+00:00",
        "answeredAt": "2023-11-14T22:13:22+00:00",
        "transcript": [
            {"speaker": "bot", "text": "Hello."},
            {"speaker": "user", "text": "Hi."},
        ],
    }


@pytest.mark.parametrize("state", list(CallState))
def test_it_tells_whether_the_call_has_ended(state: CallState) -> None:
    assert told(state=state)["ended"] is state.terminal


def test_times_that_have_not_come_are_left_out() -> None:
    assert "answeredAt" not in told(answered_at=None)
    assert told(ended_at=NOW_MS + 60_000)["endedAt"] == "2023-11-14T22:14:20+00:00"


def test_of_a_long_transcript_the_end_is_told() -> None:
    entries = [TranscriptEntry(NOW_MS, Speaker.USER, str(number)) for number in range(45)]
    long = told(transcript=entries)
    assert long["omittedEntries"] == 5
    assert [entry["text"] for entry in long["transcript"]] == [str(n) for n in range(5, 45)]
    assert "omittedEntries" not in told(transcript=entries[:40])


def test_a_list_of_calls_does_without_transcripts() -> None:
    assert "transcript" not in told(last=0)
    assert "omittedEntries" not in told(last=0)
