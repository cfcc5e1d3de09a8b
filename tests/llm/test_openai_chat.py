from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from openai.types.chat.chat_completion_chunk import (
    ChoiceDelta,
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)

from tests.llm.modelserver import ChatApi, ModelServer, answered, chunk, events_of, run, sends
from voicecall.call.record import Speaker
from voicecall.errors import SpeechError
from voicecall.llm.transcript import Kept, Prompt, Said, Used
from voicecall.ports import ToolCall, ToolSpec, ToolUse

if TYPE_CHECKING:
    from tests.llm.modelserver import Exchange
    from voicecall.llm.transcript import Item

pytestmark = pytest.mark.socket

API = ChatApi()
CLOCK = ToolSpec("clock", "When it is.", {"type": "object", "properties": {}})
ITEMS: list[Item] = [
    Said(Speaker.USER, "When is it?"),
    Said(Speaker.BOT, "Let me see."),
    Used("past00001", ToolUse("clock", "{}", "noon")),
    Used("past00002", ToolUse("clock", '{"zone": "UTC"}', "one")),
    Said(Speaker.BOT, "Noon."),
    Said(Speaker.USER, "And now?"),
    Said(Speaker.USER, "[The caller pressed 5 on the keypad.]"),
]
PROMPT = Prompt("c-1", "Be kind.", ITEMS, [CLOCK])


def answer_to(*events: Any, end: bool = True) -> list[Any]:
    return run(answered(API, PROMPT, sends(*events, end=end)))[0]


def failure_of(*events: Any, end: bool = True) -> SpeechError:
    with pytest.raises(SpeechError) as raised:
        answer_to(*events, end=end)
    return raised.value


def called(index: Any, call_id: str | None, name: str | None, arguments: str | None) -> str:
    """A chunk of a tool call, as servers send it that leave something out."""
    function = {"name": name, "arguments": arguments}
    call = {"index": index, "id": call_id, "function": function}
    return json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})


def test_text_comes_as_it_is_made() -> None:
    async def case() -> None:
        heard = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await exchange.send(chunk(ChoiceDelta(content="It is")))
            await heard.wait()
            await exchange.send(*events_of(API, " noon."))
            await exchange.end()

        async with ModelServer(answer) as server:
            model = API.model(server.base_url)
            parts = model.stream(PROMPT)
            assert await anext(parts) == "It is"
            heard.set()
            assert [part async for part in parts] == [" noon."]
            await model.close()

    run(case())


def test_a_request_holds_the_whole_conversation_in_turns() -> None:
    _, (asked,) = run(answered(API, PROMPT, sends(*events_of(API, "Noon."))))
    assert asked.path == API.path
    body = API.check(asked)
    assert body["model"] == "m-1"
    assert body["stream"] is True
    # Nothing that only OpenAI knows.
    assert body.keys() == {"model", "messages", "stream", "tools"}
    first, *messages = body["messages"]
    assert first == {"role": "system", "content": "Be kind."}
    assert [message["role"] for message in messages] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "user",
    ]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["past00001", "past00002"]
    assert messages[1]["content"] == "Let me see."
    assert messages[2] == {"role": "tool", "tool_call_id": "past00001", "content": "noon"}
    assert messages[-1]["content"] == "And now?\n[The caller pressed 5 on the keypad.]"
    assert body["tools"][0]["function"]["name"] == "clock"


def test_a_tool_that_was_used_without_a_word_has_a_message_of_its_own() -> None:
    used = Used("past00001", ToolUse("clock", "{}", "noon"))
    items: list[Item] = [Said(Speaker.USER, "Hm."), used, Said(Speaker.USER, "Well?")]
    prompt = Prompt("c-1", "", items)
    _, (asked,) = run(answered(API, prompt, sends(*events_of(API, "Noon."))))
    message = API.check(asked)["messages"][2]
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "clock", "arguments": "{}"}


def test_thoughts_of_another_api_are_left_out() -> None:
    prompt = Prompt("c-1", "", [Said(Speaker.USER, "Hm."), Kept({"type": "reasoning"})])
    _, (asked,) = run(answered(API, prompt, sends(*events_of(API, "Noon."))))
    assert len(API.check(asked)["messages"]) == 2


def test_a_model_can_be_kept_from_its_tools_and_may_have_none() -> None:
    kept = API.model(None)._parameters(Prompt("c-1", "", ITEMS, [CLOCK], may_use_tools=False))
    assert kept["tool_choice"] == "none"
    assert not API.model(None)._parameters(Prompt("c-1", "", ITEMS)).keys() & {
        "tools",
        "tool_choice",
    }


def test_openai_is_told_what_other_servers_refuse() -> None:
    settings = {"reasoning_effort": "low", "service_tier": "priority"}
    ours = API.model(None, **settings)._parameters(PROMPT)
    theirs = API.model("http://127.0.0.1:1/v1", **settings)._parameters(PROMPT)
    assert {name: ours[name] for name in ours.keys() - theirs.keys()} == {
        "store": False,
        "reasoning_effort": "low",
        "service_tier": "priority",
        "prompt_cache_key": "c-1",
    }


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    calls = [("call_1", "clock", '{"zone": "UTC"}'), ("call_2", "weather", "{}")]
    parts = answer_to(*events_of(API, "Let me see.", calls=calls))
    assert parts == ["Let me see.", *(ToolCall(*call) for call in calls)]


def test_pieces_of_calls_may_be_mixed() -> None:
    events = [
        called(0, "a", "clock", '{"x"'),
        called(1, "b", "weather", "{"),
        called(0, None, None, ": 1}"),
        called(1, None, None, "}"),
        chunk(ChoiceDelta(), "tool_calls"),
    ]
    assert answer_to(*events) == [
        ToolCall("a", "clock", '{"x": 1}'),
        ToolCall("b", "weather", "{}"),
    ]


@pytest.mark.parametrize("index", [0, None])
def test_calls_that_a_server_numbers_alike_are_told_apart_by_their_ids(index: int | None) -> None:
    events = [
        called(index, "a", "clock", "{}"),
        called(index, "b", "clock", '{"x": 1}'),
        chunk(ChoiceDelta(), "stop"),
    ]
    assert answer_to(*events) == [ToolCall("a", "clock", "{}"), ToolCall("b", "clock", '{"x": 1}')]


def test_a_call_without_an_id_gets_one() -> None:
    events = [called(0, None, "clock", None), chunk(ChoiceDelta(), "tool_calls")]
    assert answer_to(*events) == [ToolCall("call00000", "clock", "")]


def test_a_call_of_nothing_is_none() -> None:
    events = [chunk(ChoiceDelta(content="Hm.")), called(0, "a", None, "{}")]
    assert answer_to(*events, chunk(ChoiceDelta(), "stop")) == ["Hm."]


def test_arguments_that_are_on_their_way_are_a_sign_of_life() -> None:
    async def case() -> list[Any]:
        function = ChoiceDeltaToolCallFunction(name="clock", arguments="{}")
        piece = ChoiceDeltaToolCall(index=0, id="a", type="function", function=function)
        events = [chunk(ChoiceDelta(tool_calls=[piece])), chunk(ChoiceDelta(), "tool_calls")]
        async with ModelServer(sends(*events)) as server:
            model = API.model(server.base_url)
            parts = [part async for part in model.stream(PROMPT)]
            await model.close()
            return parts

    assert run(case()) == ["", ToolCall("a", "clock", "{}")]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_what_a_model_thinks_is_not_said(size: int) -> None:
    text = "\n<think>\nThe clock, or <b>not</b>?</th\n</think>\n\nIt is <noon>."
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert "".join(answer_to(*events_of(API, *pieces))).strip() == "It is <noon>."


@pytest.mark.parametrize("text", ["<thin", " <b>Noon.</b>", "<thinking", "I <think>"])
def test_what_only_looks_like_thinking_is_said(text: str) -> None:
    assert "".join(answer_to(*events_of(API, *text))) == text


def test_a_model_that_only_thinks_says_nothing() -> None:
    assert answer_to(*events_of(API, "<think>", "Hm.")) == []


def test_a_refusal_is_something_to_say() -> None:
    events = [chunk(ChoiceDelta(refusal="I would rather not.")), chunk(ChoiceDelta(), "stop")]
    assert answer_to(*events) == ["I would rather not."]


def test_a_last_chunk_that_only_counts_is_passed_over() -> None:
    usage = '{"choices": [], "usage": {"total_tokens": 5}}'
    assert answer_to(*events_of(API, "Noon.")[:-1], usage, "[DONE]") == ["Noon."]


def test_a_server_that_does_not_say_done_has_still_finished() -> None:
    assert answer_to(chunk(ChoiceDelta(content="Noon.")), chunk(ChoiceDelta(), "stop")) == ["Noon."]


@pytest.mark.parametrize("end", [True, False])
def test_a_reply_that_breaks_off_is_an_error_that_may_pass(end: bool) -> None:
    error = failure_of(chunk(ChoiceDelta(content="It is")), end=end)
    assert "broke off" in str(error)
    assert error.retryable


def test_what_was_said_of_a_reply_that_is_cut_short_is_good_enough(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = [chunk(ChoiceDelta(content="It is")), chunk(ChoiceDelta(), "length")]
    assert answer_to(*events) == ["It is"]
    assert "cut short" in caplog.text


def test_a_reply_that_is_cut_short_before_it_began_has_failed() -> None:
    error = failure_of(chunk(ChoiceDelta(), "content_filter"))
    assert (error.status, error.retryable) == ("content_filter", False)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"choices": 5},
        {"choices": [5]},
        {"choices": [{"delta": 5}]},
        {"choices": [{"delta": {"content": 5, "tool_calls": 5}}]},
        {"choices": [{"delta": {"tool_calls": [None, 5, {"index": [], "function": 5}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": {}}}]}}]},
    ],
)
def test_chunks_that_say_nothing_sensible_are_passed_over(odd: object) -> None:
    assert answer_to(json.dumps(odd), *events_of(API, "Noon.")) == ["Noon."]


def test_who_stops_listening_hangs_up_at_once() -> None:
    async def case() -> None:
        gone = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await exchange.send(chunk(ChoiceDelta(content="It is")))
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
