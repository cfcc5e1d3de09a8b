from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.realtime import InputAudioBufferCommittedEvent, SessionUpdateEventParam
from openai.types.responses.response_create_params import ResponseCreateParams
from pydantic import ValidationError

from voicecall.simulator.models.vendor_types import Unacceptable, as_json, checked, made, written

pytestmark = pytest.mark.unit

MESSAGE = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": None}


def test_a_good_request_comes_back_whole_lists_included() -> None:
    request = {"model": "any-model", "input": [MESSAGE], "tools": [TOOL], "stream": True}
    assert checked(ResponseCreateParams, request) == request


@pytest.mark.parametrize(
    ("params", "data", "param", "code"),
    [
        (ResponseCreateParams, {"model": 3}, "model", "invalid_type"),
        (ResponseCreateParams, {"store": "yes"}, "store", "invalid_type"),
        (
            ResponseCreateParams,
            {"reasoning": {"effort": "huge"}},
            "reasoning.effort",
            "invalid_value",
        ),
        (ResponseCreateParams, {"messages": []}, "messages", "unknown_parameter"),
        (
            ResponseCreateParams,
            {"input": [{**MESSAGE, "name": "x"}]},
            "input[0].name",
            "unknown_parameter",
        ),
        (
            ResponseCreateParams,
            {"tools": [{"type": "function", "strict": True, "parameters": {}}]},
            "tools[0].name",
            "missing_required_parameter",
        ),
        (CompletionCreateParams, {"model": "m"}, "messages", "missing_required_parameter"),
        (
            CompletionCreateParams,
            {"model": "m", "messages": [MESSAGE, {"role": "tool", "content": "x"}]},
            "messages[1].tool_call_id",
            "missing_required_parameter",
        ),
        (
            SessionUpdateEventParam,
            {"type": "session.update", "session": {"type": "transcription", "voice": "marin"}},
            "session.voice",
            "unknown_parameter",
        ),
    ],
)
def test_a_bad_request_is_refused_and_told_where_it_is_bad(
    params: Any, data: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(Unacceptable) as refused:
        checked(params, data)
    assert refused.value.param == param
    assert refused.value.code == code
    assert param in refused.value.message


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(Unacceptable):
        checked(ResponseCreateParams, [1])


def test_a_model_is_made_whole_or_not_at_all() -> None:
    kind = InputAudioBufferCommittedEvent
    event = made(kind, event_id="e", item_id="i", previous_item_id=None)
    assert event.type == "input_audio_buffer.committed"
    assert '"previous_item_id":null' in as_json(event)
    assert "previous_item_id" not in as_json(made(kind, event_id="e", item_id="i"))
    with pytest.raises(ValidationError):
        made(kind, event_id="e")
    with pytest.raises(TypeError, match="itemid"):
        made(kind, event_id="e", item_id="i", itemid="i")


def test_places_are_written_as_the_vendor_writes_them() -> None:
    assert written(("input", 0, "content", 1, "text")) == "input[0].content[1].text"
