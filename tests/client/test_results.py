"""The types of results are those of what is told."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from tests.control.fakes import record
from voicecall.call.record import CallState, Speaker, TranscriptEntry
from voicecall.client import results

pytestmark = pytest.mark.unit


def test_a_record_has_exactly_the_fields_that_it_is_said_to_have() -> None:
    told = record(transcript=[TranscriptEntry(1, Speaker.BOT, "Hello.", is_final=True)]).to_json()
    assert set(told) == results.Record.__required_keys__ | results.Record.__optional_keys__
    assert set(told["transcript"][0]) == set(get_type_hints(results.Utterance))


def test_every_state_and_every_reason_to_end_is_known() -> None:
    states = set(get_args(get_type_hints(results.Record)["state"]))
    assert states == {state.value for state in CallState}
    ends = {state.value for state in CallState if state.terminal}
    assert set(get_args(results.EndReason)) == ends
