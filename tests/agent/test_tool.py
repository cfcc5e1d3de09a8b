"""`voice_call` as one function of a model."""

from __future__ import annotations

import asyncio
import json
import string
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionFunctionToolParam
from openai.types.responses import FunctionToolParam
from pydantic import ConfigDict, TypeAdapter, with_config

from tests.agent.fakes import FakeControl, record, run
from voicecall.agent import TOOL_NAME, execute, tool_schema
from voicecall.agent.actions import ACTIONS, PARAMS
from voicecall.errors import RemoteError

pytestmark = pytest.mark.unit


def forbidding_extras(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(kind))


def ask(control: FakeControl, arguments: object) -> dict[str, Any]:
    return run(execute(control, arguments))


# --- the function --------------------------------------------------------------------------------


def test_the_function_is_what_the_vendor_s_package_takes() -> None:
    responses, chat = tool_schema(), tool_schema("chat")
    assert forbidding_extras(FunctionToolParam).validate_python(responses) == responses
    assert forbidding_extras(ChatCompletionFunctionToolParam).validate_python(chat) == chat
    assert responses["name"] == chat["function"]["name"] == TOOL_NAME
    assert responses["parameters"] == chat["function"]["parameters"]


def test_its_parameters_are_strict() -> None:
    parameters = tool_schema()["parameters"]
    jsonschema.Draft202012Validator.check_schema(parameters)
    assert parameters["required"] == list(parameters["properties"])
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["action"]["enum"] == list(ACTIONS)
    for name in PARAMS:
        assert "null" in parameters["properties"][name]["type"]
    # Keywords that strict schemas refuse.
    assert not {"maxLength", "minLength", "anyOf", "oneOf"} & set(json.dumps(parameters).split('"'))


def test_its_description_tells_of_every_action_and_what_it_takes() -> None:
    description = tool_schema()["description"]
    for name in ACTIONS:
        assert f"- {name} (" in description
    assert "initiate_call (message, to?, mode?)" in description


@pytest.mark.parametrize("name", ACTIONS)
def test_what_a_strict_model_sends_is_taken(name: str) -> None:
    filled = {"callId": "c-1", "message": "Hi.", "to": "+15550002222", "digits": "1"}
    required = ACTIONS[name].required
    sent = {param: filled[param] if param in required else None for param in PARAMS}
    sent["action"] = name
    jsonschema.validate(sent, tool_schema()["parameters"])
    assert "error" not in ask(FakeControl(record()), json.dumps(sent))


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("no json", "the arguments are not valid JSON"),
        ({}, f"action must be one of {', '.join(ACTIONS)}"),
        ({"action": "dance"}, f"action must be one of {', '.join(ACTIONS)}"),
        ({"action": ["end_call"]}, f"action must be one of {', '.join(ACTIONS)}"),
        ({"action": "initiate_call", "message": "  "}, "message required"),
        ({"action": "continue_call", "callId": "c-1"}, "callId and message required"),
        ({"action": "send_dtmf", "callId": "c-1", "digits": 12}, "digits must be a string"),
        (
            {"action": "initiate_call", "message": "Hi.", "mode": "shout"},
            "mode must be notify or conversation",
        ),
    ],
)
def test_what_a_model_got_wrong_is_told_in_words(arguments: object, message: str) -> None:
    control = FakeControl(record())
    told = ask(control, arguments)["error"]
    assert (told["code"], told["message"]) == ("invalid_request", message)
    assert control.asked == []


def test_an_error_is_a_result_with_what_to_do() -> None:
    told = ask(FakeControl(), {"action": "end_call", "callId": " c-9 "})["error"]
    assert (told["code"], told["callId"]) == ("unknown_call", "c-9")
    assert told["hint"]


def test_a_dial_that_failed_is_not_tried_again() -> None:
    control = FakeControl()
    control.raises = [RemoteError("the connection broke", retryable=True)]
    told = ask(control, {"action": "initiate_call", "message": "Hi."})
    assert told["error"]["message"] == "the connection broke"
    assert len(control.asked) == 1


def test_a_bug_is_a_result_too() -> None:
    control = FakeControl(record())
    control.raises = [ZeroDivisionError("secret")]
    told = ask(control, {"action": "end_call", "callId": "c-1"})
    assert told["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(told)


def test_cancelling_is_no_error_of_the_model_s() -> None:
    async def case() -> None:
        control = FakeControl(record())
        control.silent = True
        arguments = {"action": "continue_call", "callId": "c-1", "message": "Well?"}
        asking = asyncio.create_task(execute(control, arguments))
        await control.asking.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert control.cancelled.is_set()
        assert control.asked == [("ask", "c-1", "Well?")]

    run(case())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
likely_values = st.sampled_from([None, "", " ", "c-1", "c-9", "+15550002222", "notify", "1w#"])
requests = st.builds(
    dict[str, Any],
    st.dictionaries(st.sampled_from([*PARAMS, "call_id"]), likely_values | json_values),
    action=st.sampled_from([*ACTIONS, "Initiate_call"]) | json_values,
)
anything = json_values | requests | st.text(string.printable) | requests.map(json.dumps)


@given(anything)
def test_whatever_a_model_sends_it_gets_json_back(arguments: object) -> None:
    result = ask(FakeControl(record()), arguments)
    assert json.loads(json.dumps(result, ensure_ascii=False).encode()) == result
    if "error" in result:
        assert result["error"]["code"] in {"invalid_request", "unknown_call"}
        assert len(json.dumps(result)) < 2000
