from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from openai.types.responses import (
    ResponseErrorEvent,
    ResponseFailedEvent,
    ResponseIncompleteEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseReasoningItem,
    ResponseRefusalDeltaEvent,
)

from tests.llm.modelserver import (
    ModelServer,
    ResponsesApi,
    answered,
    events_of,
    response,
    run,
    said,
    sends,
)
from voicecall.call.record import Speaker
from voicecall.errors import SpeechError
from voicecall.llm.transcript import Kept, Prompt, Said, Used
from voicecall.ports import ToolCall, ToolSpec, ToolUse

if TYPE_CHECKING:
    from tests.llm.modelserver import Exchange
    from voicecall.llm.transcript import Item

pytestmark = pytest.mark.socket

API = ResponsesApi()
CLOCK = ToolSpec("clock", "When it is.", {"type": "object", "properties": {}})
ITEMS: list[Item] = [
    Said(Speaker.USER, "When is it?"),
    Used("past00001", ToolUse("clock", "{}", "noon")),
    Used("past00002", ToolUse("clock", '{"zone": "UTC"}', "one")),
    Said(Speaker.BOT, "Noon."),
    Said(Speaker.USER, "And now?"),
]
PROMPT = Prompt("c-1", "Be kind.", ITEMS, [CLOCK])


def failure_of(*events: Any, end: bool = True) -> SpeechError:
    with pytest.raises(SpeechError) as raised:
        run(answered(API, PROMPT, sends(*events, end=end)))
    return raised.value


def test_text_comes_as_it_is_made() -> None:
    async def case() -> None:
        heard = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await exchange.send(said("It is"))
            await heard.wait()
            await exchange.send(*API.events(" noon."))
            await exchange.end()

        async with ModelServer(answer) as server:
            model = API.model(server.base_url)
            parts = model.stream(PROMPT)
            assert await anext(parts) == "It is"
            heard.set()
            assert [part async for part in parts if part] == [" noon."]
            await model.close()

    run(case())


def test_a_request_holds_the_whole_conversation_and_leaves_nothing_there() -> None:
    _, (asked,) = run(answered(API, PROMPT, sends(*events_of(API, "Noon."))))
    assert asked.path == API.path
    body = API.check(asked)
    assert body["model"] == "m-1"
    assert body["instructions"] == "Be kind."
    assert body["store"] is False
    assert body["stream"] is True
    assert "tool_choice" not in body
    assert body["input"] == [
        {"role": "user", "content": "When is it?"},
        {"type": "function_call", "call_id": "past00001", "name": "clock", "arguments": "{}"},
        {
            "type": "function_call",
            "call_id": "past00002",
            "name": "clock",
            "arguments": '{"zone": "UTC"}',
        },
        {"type": "function_call_output", "call_id": "past00001", "output": "noon"},
        {"type": "function_call_output", "call_id": "past00002", "output": "one"},
        {"role": "assistant", "content": "Noon."},
        {"role": "user", "content": "And now?"},
    ]
    (tool,) = body["tools"]
    assert (tool["name"], tool["strict"]) == ("clock", False)


def test_a_model_without_tools_is_not_told_of_any() -> None:
    prompt = Prompt("c-1", "Be kind.", ITEMS)
    _, (asked,) = run(answered(API, prompt, sends(*events_of(API, "Noon."))))
    assert not API.check(asked).keys() & {"tools", "tool_choice"}


def test_a_model_can_be_kept_from_its_tools() -> None:
    prompt = Prompt("c-1", "Be kind.", ITEMS, [CLOCK], may_use_tools=False)
    _, (asked,) = run(answered(API, prompt, sends(*events_of(API, "Noon."))))
    assert API.check(asked)["tool_choice"] == "none"


def test_openai_is_told_what_other_servers_refuse() -> None:
    settings = {"reasoning_effort": "low", "service_tier": "priority"}
    ours = API.model("https://api.openai.com/v1", **settings)._parameters(PROMPT)
    assert ours["reasoning"] == {"effort": "low"}
    assert ours["include"] == ["reasoning.encrypted_content"]
    assert ours["service_tier"] == "priority"
    assert ours["prompt_cache_key"] == "c-1"
    theirs = API.model("http://127.0.0.1:1/v1", **settings)._parameters(PROMPT)
    assert ours.keys() - theirs.keys() == {
        "reasoning",
        "include",
        "service_tier",
        "prompt_cache_key",
    }


def test_a_model_that_does_not_think_has_no_thoughts_to_give_back() -> None:
    parameters = API.model(None, reasoning_effort="none")._parameters(PROMPT)
    assert parameters["reasoning"] == {"effort": "none"}
    assert "include" not in parameters
    assert "reasoning" not in API.model(None)._parameters(PROMPT)


def test_tools_are_called_by_the_names_that_their_items_have() -> None:
    calls = [("call_1", "clock", '{"zone": "UTC"}'), ("call_2", "weather", "{}")]
    parts, _ = run(answered(API, PROMPT, sends(*events_of(API, "Let me see.", calls=calls))))
    assert parts == ["Let me see.", *(ToolCall(*call) for call in calls)]


def test_arguments_that_are_on_their_way_are_a_sign_of_life() -> None:
    async def case() -> list[Any]:
        answer = sends(*events_of(API, calls=[("call_1", "clock", '{"zone": "UTC"}')]))
        async with ModelServer(answer) as server:
            model = API.model(server.base_url)
            parts = [part async for part in model.stream(PROMPT)]
            await model.close()
            return parts

    assert run(case()) == ["", "", "", "", ToolCall("call_1", "clock", '{"zone": "UTC"}')]


def test_thoughts_are_kept_to_be_given_back() -> None:
    thought = ResponseReasoningItem(
        id="rs_1", type="reasoning", summary=[], encrypted_content="c2VjcmV0"
    )
    done = ResponseOutputItemDoneEvent(
        type="response.output_item.done", output_index=0, sequence_number=1, item=thought
    )
    call = ("call_1", "clock", "{}")
    parts, _ = run(answered(API, PROMPT, sends(done, *events_of(API, calls=[call]))))
    kept = Kept({"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "c2VjcmV0"})
    assert parts == [kept, ToolCall(*call)]

    again = Prompt("c-1", "", [*ITEMS, kept, Used("call_1", ToolUse("clock", "{}", "noon"))])
    _, (asked,) = run(answered(API, again, sends(*events_of(API, "Noon."))))
    assert API.check(asked)["input"][-3] == kept.item


def test_a_second_message_begins_another_sentence() -> None:
    message = ResponseOutputMessage(
        id="msg_2", type="message", role="assistant", status="in_progress", content=[]
    )
    added = ResponseOutputItemAddedEvent(
        type="response.output_item.added", output_index=1, sequence_number=1, item=message
    )
    events = [added, said("Let me see."), added, *events_of(API, "It is noon.")]
    parts, _ = run(answered(API, PROMPT, sends(*events)))
    assert parts == ["Let me see.", "\n", "It is noon."]


def test_a_refusal_is_something_to_say() -> None:
    refusal = ResponseRefusalDeltaEvent(
        type="response.refusal.delta",
        delta="I would rather not.",
        item_id="msg_1",
        output_index=0,
        content_index=0,
        sequence_number=1,
    )
    parts, _ = run(answered(API, PROMPT, sends(refusal, *events_of(API))))
    assert parts == ["I would rather not."]


def incomplete(reason: str) -> ResponseIncompleteEvent:
    return ResponseIncompleteEvent(
        type="response.incomplete",
        sequence_number=9,
        response=response("incomplete", incomplete_details={"reason": reason}),
    )


def test_what_was_said_of_a_reply_that_is_cut_short_is_good_enough(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = [said("It is"), incomplete("max_output_tokens")]
    parts, _ = run(answered(API, PROMPT, sends(*events)))
    assert parts == ["It is"]
    assert "cut short" in caplog.text


def test_a_reply_that_is_cut_short_before_it_began_has_failed() -> None:
    error = failure_of(incomplete("content_filter"))
    assert (error.status, error.retryable) == ("content_filter", False)


def test_a_reply_that_failed_is_told_by_its_code() -> None:
    failed = ResponseFailedEvent(
        type="response.failed",
        sequence_number=9,
        response=response("failed", error={"code": "server_error", "message": "secret"}),
    )
    error = failure_of(said("It is"), failed)
    assert str(error) == "the model failed (server_error)"


def test_an_error_event_is_an_error() -> None:
    event = ResponseErrorEvent(
        type="error", code="rate_limit_exceeded", message="secret", sequence_number=1
    )
    assert failure_of(event).status == "rate_limit_exceeded"


@pytest.mark.parametrize("end", [True, False])
def test_a_reply_that_breaks_off_is_an_error_that_may_pass(end: bool) -> None:
    error = failure_of(said("It is"), end=end)
    assert "broke off" in str(error)
    assert error.retryable


@pytest.mark.parametrize(
    "event",
    [
        '{"type": "response.output_text.delta"}',
        '{"type": "response.output_text.delta", "delta": {"a": 1}}',
        '{"type": "response.output_item.done", "item": {"type": "function_call"}}',
    ],
)
def test_an_event_that_lacks_what_matters_is_an_error(event: str) -> None:
    assert "an event of the model's server has no" in str(failure_of(event))


def test_events_of_kinds_that_came_later_are_passed_over() -> None:
    events = ['{"type": "response.novelty", "x": 1}', '{"x": 1}', *events_of(API, "Noon.")]
    parts, _ = run(answered(API, PROMPT, sends(*events)))
    assert parts == ["Noon."]


def test_who_stops_listening_hangs_up_at_once() -> None:
    async def case() -> None:
        gone = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await exchange.send(said("It is"))
            await exchange.gone()
            gone.set()

        async with ModelServer(answer) as server:
            model = API.model(server.base_url)
            parts = model.stream(PROMPT)
            assert await anext(parts) == "It is"
            await parts.aclose()
            await asyncio.wait_for(gone.wait(), 30)
            await model.close()

    run(case())


def test_who_is_cancelled_while_waiting_hangs_up_at_once() -> None:
    async def case() -> None:
        begun, gone = asyncio.Event(), asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            begun.set()
            await exchange.gone()
            gone.set()

        async with ModelServer(answer) as server:
            model = API.model(server.base_url)
            waiting = asyncio.ensure_future(anext(model.stream(PROMPT)))
            await begun.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.wait_for(gone.wait(), 30)
            await model.close()

    run(case())
