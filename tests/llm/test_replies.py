from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.llm.modelserver import (
    APIS,
    Api,
    ModelServer,
    events_of,
    refuses,
    run,
    sends,
)
from voicecall.call.record import Speaker
from voicecall.errors import SpeechError
from voicecall.llm.actions import end_call, send_dtmf, transfer_call
from voicecall.llm.replies import MAX_CALLS, MAX_ROUNDS, Manner, ModelResponder
from voicecall.llm.toolbox import Toolbox
from voicecall.llm.tools import Tool, ToolContext, tool
from voicecall.llm.transcript import Kept, Prompt, Said, Used
from voicecall.ports import (
    HangUp,
    PressKeys,
    ReplyRequest,
    ToolCall,
    ToolUse,
    Transfer,
    Turn,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from voicecall.ports import ReplyPart

pytestmark = pytest.mark.socket

both = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)

ASKED = ReplyRequest(
    "c-1",
    [Turn(Speaker.USER, "When is it?")],
    call={"direction": "inbound", "from": "+15550001111", "to": "+15550002222"},
)
# Fillers only where a test is about them.
QUICK = Manner(filler="")


@tool
async def clock(zone: str = "here") -> str:
    """When it is."""
    return f"noon {zone}"


def call(name: str, call_id: str = "1", **arguments: Any) -> ToolCall:
    return ToolCall(call_id, name, json.dumps(arguments))


class FakeModel:
    """Gives what it is told, round by round; functions are awaited, errors raised."""

    def __init__(self, *rounds: list[Any]) -> None:
        self.rounds = iter(rounds)
        self.prompts: list[Prompt] = []
        self.ended = 0
        self.prepared = False
        self.closed = False

    async def prepare(self) -> None:
        self.prepared = True

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | ToolCall | Kept]:
        self.prompts.append(prompt)
        try:
            for part in next(self.rounds):
                if isinstance(part, Exception):
                    raise part
                if callable(part):
                    await part()
                else:
                    yield part
        finally:
            self.ended += 1

    async def close(self) -> None:
        self.closed = True


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def reply_of(
    model: FakeModel, *tools: Tool, manner: Manner = QUICK, request: ReplyRequest = ASKED
) -> list[ReplyPart]:
    responder = ModelResponder(model, Toolbox(tools, timeout_ms=5000), manner=manner)
    try:
        return [part async for part in responder.reply(request)]
    finally:
        await responder.close()


def reply(model: FakeModel, *tools: Tool, manner: Manner = QUICK) -> list[ReplyPart]:
    return run(reply_of(model, *tools, manner=manner))


def failure(model: FakeModel, *tools: Tool, manner: Manner = QUICK) -> SpeechError:
    with pytest.raises(SpeechError) as raised:
        reply(model, *tools, manner=manner)
    return raised.value


# --- saying --------------------------------------------------------------------------------------


@both
def test_the_models_words_are_the_reply(api: Api) -> None:
    async def case() -> None:
        async with ModelServer(sends(*events_of(api, "It is", " noon."))) as server:
            responder = ModelResponder(api.model(server.base_url), Toolbox([clock]))
            await responder.prepare()
            assert [part async for part in responder.reply(ASKED)] == ["It is", " noon."]
            await responder.close()
            api.check(server.asked[0])
            assert api.texts(server.asked[0]) == [("user", "When is it?")]

    run(case())


@both
def test_tools_are_used_and_their_results_answered_from(api: Api) -> None:
    calls = [("call_1", "clock", '{"zone": "UTC"}'), ("call_2", "clock", "{}")]
    answers = (
        sends(*events_of(api, "Let me see.", calls=calls)),
        sends(*events_of(api, "It is noon.")),
    )

    async def case() -> None:
        async with ModelServer(*answers) as server:
            responder = ModelResponder(api.model(server.base_url), Toolbox([clock]))
            assert [part async for part in responder.reply(ASKED)] == [
                "Let me see.",
                "\n",
                ToolUse("clock", '{"zone": "UTC"}', "noon UTC"),
                ToolUse("clock", "{}", "noon here"),
                "It is noon.",
            ]
            await responder.close()
            second = server.asked[1]
            api.check(second)
            assert api.calls(second) == calls
            assert api.texts(second) == [
                ("user", "When is it?"),
                ("assistant", "Let me see."),
                ("tool", "noon UTC"),
                ("tool", "noon here"),
            ]

    run(case())


@both
def test_tools_of_earlier_turns_are_remembered(api: Api) -> None:
    history = [
        Turn(Speaker.USER, "When is it?"),
        Turn(Speaker.BOT, "", ToolUse("clock", "{}", "noon")),
        Turn(Speaker.BOT, "It is noon."),
        Turn(Speaker.USER, "Thanks."),
    ]

    async def case() -> None:
        async with ModelServer(sends(*events_of(api, "You are welcome."))) as server:
            responder = ModelResponder(api.model(server.base_url), Toolbox([clock]))
            request = ReplyRequest("c-1", history, digits="12")
            _ = [part async for part in responder.reply(request)]
            await responder.close()
            api.check(server.asked[0])
            assert [name for _, name, _ in api.calls(server.asked[0])] == ["clock"]
            said = api.texts(server.asked[0])
            assert said[1:3] == [("tool", "noon"), ("assistant", "It is noon.")]
            assert said[-1][1].endswith("[The caller pressed 12 on the keypad.]")

    run(case())


def test_the_request_says_who_the_bot_is_before_the_configuration_does() -> None:
    async def case() -> list[str]:
        model = FakeModel(["Hi."], ["Hi."], ["Hi."])
        for instructions, request in (
            (None, ReplyRequest("c-1", ())),
            ("You sell bread.", ReplyRequest("c-1", ())),
            ("You sell bread.", ReplyRequest("c-1", (), instructions="You sell tea.")),
        ):
            responder = ModelResponder(model, Toolbox(), instructions=instructions)
            _ = [part async for part in responder.reply(request)]
        return [prompt.instructions for prompt in model.prompts]

    unsaid, configured, requested = run(case())
    assert "assistant" in unsaid
    assert configured.startswith("You sell bread.")
    assert requested.startswith("You sell tea.")


def test_the_model_is_told_of_its_tools_and_the_direction_of_the_call() -> None:
    model = FakeModel(["Hi."])
    reply(model, end_call, clock)
    (prompt,) = model.prompts
    assert [spec.name for spec in prompt.tools] == ["end_call", "clock"]
    assert "say goodbye and call end_call" in prompt.instructions
    assert "called you" in prompt.instructions
    # Whom it talks to is for tools to know.
    assert "+1555" not in repr(prompt)


@pytest.mark.parametrize("pieces", [[], ["", " ", "\n"]])
def test_a_model_that_has_nothing_to_say_has_failed(pieces: list[str]) -> None:
    error = failure(FakeModel(pieces))
    assert str(error) == "the model had nothing to say"
    assert error.retryable


def test_a_model_that_only_looked_something_up_has_failed() -> None:
    assert "nothing to say" in str(failure(FakeModel([call("clock")], []), clock))


def test_a_model_that_has_spoken_before_it_used_a_tool_need_not_speak_again() -> None:
    parts = reply(FakeModel(["I have noted that.", call("clock")], []), clock)
    assert parts == ["I have noted that.", "\n", ToolUse("clock", "{}", "noon here")]


# --- using tools ---------------------------------------------------------------------------------


def test_tools_know_the_call() -> None:
    contexts = []

    @tool
    async def who(context: ToolContext) -> None:
        contexts.append(context)

    reply(FakeModel([call("who")], ["Hi."]), who)
    assert contexts == [ToolContext("c-1", "inbound", "+15550001111", "+15550002222")]


def test_tools_wanted_at_once_are_used_at_once() -> None:
    async def case() -> list[ReplyPart]:
        together = asyncio.Barrier(3)

        @tool
        async def meet(who: str) -> str:
            await together.wait()
            return who

        calls = [call("meet", who, who=who) for who in "abc"]
        return await reply_of(FakeModel(calls, ["All there."]), meet)

    parts = run(case())
    assert [part.result for part in parts if isinstance(part, ToolUse)] == ["a", "b", "c"]


def test_tools_that_do_not_work_are_told_to_the_model_which_goes_on() -> None:
    @tool
    async def fail() -> None:
        raise RuntimeError("secret")

    @tool
    async def flood() -> str:
        return "a" * 100_000

    calls = [call("fail"), call("fly"), call("flood"), call("clock", zone=5)]
    model = FakeModel([*calls, ToolCall("5", "clock", "{")], ["Sorry."])
    *uses, last = reply(model, fail, flood, clock)
    results = [use.result for use in uses if isinstance(use, ToolUse)]
    assert last == "Sorry."
    assert [result[:30] for result in results] == [
        "Error: it failed unexpectedly;",
        "Error: there is no tool 'fly';",
        "a" * 30,
        "Error: the arguments are not v",
        "Error: the arguments are not v",
    ]
    assert "secret" not in repr(results)
    assert len(results[2]) < 20_000
    # Arguments that are not JSON are not repeated, as servers refuse them.
    assert uses[-1] == ToolUse("clock", "{}", results[-1])
    used = [item for item in model.prompts[1].items if isinstance(item, Used)]
    assert [item.use for item in used] == uses


def test_a_tool_that_hangs_is_given_up_and_told() -> None:
    @tool
    async def hang() -> None:
        await forever()

    async def case() -> list[ReplyPart]:
        toolbox = Toolbox([hang], timeout_ms=10)
        responder = ModelResponder(FakeModel([call("hang")], ["Sorry."]), toolbox, manner=QUICK)
        return [part async for part in responder.reply(ASKED)]

    use, last = run(case())
    assert isinstance(use, ToolUse)
    assert use.result.startswith("Error: it did not answer within")
    assert last == "Sorry."


def test_only_so_many_tools_are_used_at_once() -> None:
    calls = [call("clock", str(number)) for number in range(MAX_CALLS + 2)]
    *uses, _ = reply(FakeModel(calls, ["Phew."]), clock)
    results = [use.result for use in uses if isinstance(use, ToolUse)]
    assert results[:MAX_CALLS] == ["noon here"] * MAX_CALLS
    assert len(results) == MAX_CALLS + 2
    assert all(result.startswith("Error: only 16") for result in results[MAX_CALLS:])


def test_a_model_that_uses_tools_without_end_has_to_answer_at_last() -> None:
    rounds = [[call("clock")]] * (MAX_ROUNDS - 1)
    model = FakeModel(*rounds, ["Enough."])
    parts = reply(model, clock)
    assert parts[-1] == "Enough."
    assert [prompt.may_use_tools for prompt in model.prompts] == [*[True] * 7, False]


def test_a_model_that_will_not_stop_using_tools_is_stopped() -> None:
    model = FakeModel(*[[call("clock")]] * MAX_ROUNDS)
    assert "nothing to say" in str(failure(model, clock))
    assert len(model.prompts) == MAX_ROUNDS


def test_thoughts_are_given_back_before_what_they_led_to() -> None:
    thought = Kept({"type": "reasoning"})
    model = FakeModel([thought, "Hm.", call("clock")], ["Noon."])
    reply(model, clock)
    assert list(model.prompts[1].items) == [
        Said(Speaker.USER, "When is it?"),
        thought,
        Said(Speaker.BOT, "Hm."),
        Used("1", ToolUse("clock", "{}", "noon here")),
    ]


# --- fillers -------------------------------------------------------------------------------------


def test_a_long_tool_is_covered_once_in_a_reply() -> None:
    async def case() -> list[ReplyPart]:
        goes_on = asyncio.Event()

        @tool
        async def wait() -> str:
            await goes_on.wait()
            goes_on.clear()
            return "done"

        manner = Manner(filler="One moment.", filler_after_ms=1)
        model = FakeModel([call("wait")], [call("wait")], ["There."])
        parts = []
        async for part in ModelResponder(model, Toolbox([wait]), manner=manner).reply(ASKED):
            parts.append(part)
            # The second time nobody says that it takes long.
            delay_s = 0 if part == "One moment.\n" else 0.02
            asyncio.get_running_loop().call_later(delay_s, goes_on.set)
        return parts

    use = ToolUse("wait", "{}", "done")
    assert run(case()) == ["One moment.\n", use, use, "There."]


def test_a_quick_tool_is_not_covered() -> None:
    manner = Manner(filler_after_ms=60_000)
    parts = reply(FakeModel([call("clock")], ["Noon."]), clock, manner=manner)
    assert parts == [ToolUse("clock", "{}", "noon here"), "Noon."]


def test_what_the_model_announced_itself_is_given_time_to_be_heard() -> None:
    announced = FakeModel(["Let me see. " * 1000, call("clock")], ["Noon."])

    async def case() -> list[ReplyPart]:
        @tool(name="clock")
        async def slow() -> str:
            await asyncio.sleep(0.02)
            return "noon"

        return await reply_of(announced, slow, manner=Manner(filler="Wait.", filler_after_ms=1))

    assert "Wait.\n" not in run(case())


def test_who_stops_listening_while_a_tool_runs_cancels_it() -> None:
    async def case() -> None:
        ended = asyncio.Event()

        @tool
        async def hang() -> None:
            try:
                await forever()
            finally:
                ended.set()

        manner = Manner(filler="One moment.", filler_after_ms=1)
        toolbox = Toolbox([hang])
        parts = ModelResponder(FakeModel([call("hang")]), toolbox, manner=manner).reply(ASKED)
        assert await anext(parts) == "One moment.\n"
        await parts.aclose()
        await asyncio.wait_for(ended.wait(), 30)

    run(case())


def test_who_is_cancelled_while_a_tool_runs_cancels_it() -> None:
    async def case() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        @tool
        async def hang() -> None:
            begun.set()
            try:
                await forever()
            finally:
                ended.set()

        model = FakeModel([call("hang")])
        parts = ModelResponder(model, Toolbox([hang]), manner=QUICK).reply(ASKED)
        waiting = asyncio.ensure_future(anext(parts))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(ended.wait(), 30)

    run(case())


# --- acting on the call --------------------------------------------------------------------------


def test_a_farewell_comes_before_the_call_is_ended() -> None:
    model = FakeModel(["Goodbye.", call("end_call")])
    *parts, use, last = reply(model, end_call)
    assert parts == ["Goodbye.", "\n"]
    assert isinstance(use, ToolUse)
    assert last == HangUp()
    # Nothing more is asked of the model.
    assert len(model.prompts) == 1


def test_a_model_that_ends_the_call_without_a_word_is_asked_for_a_farewell() -> None:
    model = FakeModel([call("end_call")], ["Goodbye."])
    use, farewell, last = reply(model, end_call)
    assert isinstance(use, ToolUse)
    assert (farewell, last) == ("Goodbye.", HangUp())
    assert [prompt.may_use_tools for prompt in model.prompts] == [True, False]


@pytest.mark.parametrize(
    "round_", [[], [SpeechError("no")], [call("end_call")]], ids=["silent", "failing", "tools"]
)
def test_a_call_that_is_to_end_ends_even_without_a_farewell(round_: list[Any]) -> None:
    assert reply(FakeModel([call("end_call")], round_), end_call)[-1] == HangUp()


def test_a_call_is_handed_on_after_that_was_said() -> None:
    hand_on = transfer_call({"sales": "+15550003333"})
    model = FakeModel(["I put you through.", call("transfer_call", destination="sales")])
    assert reply(model, hand_on)[-1] == Transfer("+15550003333")


def test_keys_are_pressed_in_between() -> None:
    model = FakeModel([call("send_dtmf", digits="1")], ["Next.", call("send_dtmf", digits="2")], [])
    first, one, next_, _, second, two = reply(model, send_dtmf)
    assert isinstance(first, ToolUse)
    assert isinstance(second, ToolUse)
    assert (one, next_, two) == (PressKeys("1"), "Next.", PressKeys("2"))


def test_pressing_keys_without_a_word_is_a_reply() -> None:
    assert reply(FakeModel([call("send_dtmf", digits="1")], []), send_dtmf)[-1] == PressKeys("1")


def test_nothing_is_done_after_the_end_of_the_call() -> None:
    calls = [call("end_call", "1"), call("send_dtmf", "2", digits="1")]
    parts = reply(FakeModel(["Goodbye.", *calls]), end_call, send_dtmf)
    assert [part for part in parts if not isinstance(part, (str, ToolUse))] == [HangUp()]


# --- failing -------------------------------------------------------------------------------------

PASSING = SpeechError("overloaded", retryable=True, status=503)


def test_a_request_that_failed_before_anything_came_is_repeated_once() -> None:
    assert reply(FakeModel([PASSING], ["Noon."])) == ["Noon."]
    model = FakeModel([PASSING], [PASSING], ["Noon."])
    assert failure(model) is PASSING
    assert len(model.prompts) == 2


@pytest.mark.parametrize(
    "error",
    [SpeechError("refused", status=401), SpeechError("busy", retryable=True, status=429)],
    ids=["for good", "rate limit"],
)
def test_a_request_that_would_fail_again_is_not_repeated(error: SpeechError) -> None:
    model = FakeModel([error], ["Noon."])
    assert failure(model) is error
    assert len(model.prompts) == 1


def test_a_reply_that_failed_in_the_middle_is_not_begun_again() -> None:
    async def case() -> None:
        parts = ModelResponder(FakeModel(["It is", PASSING], ["Noon."]), Toolbox()).reply(ASKED)
        assert await anext(parts) == "It is"
        with pytest.raises(SpeechError):
            await anext(parts)

    run(case())


def test_repeating_can_be_switched_off() -> None:
    assert failure(FakeModel([PASSING], ["Noon."]), manner=Manner(retries=0)) is PASSING


@both
def test_a_server_that_fails_once_is_asked_again(api: Api) -> None:
    async def case() -> list[ReplyPart]:
        async with ModelServer(refuses(500), sends(*events_of(api, "Noon."))) as server:
            responder = ModelResponder(api.model(server.base_url), Toolbox())
            parts = [part async for part in responder.reply(ASKED)]
            await responder.close()
            return parts

    assert run(case()) == ["Noon."]


def test_a_model_that_does_not_begin_is_given_up() -> None:
    model = FakeModel([forever])
    error = failure(model, manner=Manner(first_token_ms=10))
    assert str(error) == "the model did not answer in time"
    assert error.retryable
    # Nor is it asked again: the time is over.
    assert (len(model.prompts), model.ended) == (1, 1)


def test_a_model_that_stops_in_the_middle_is_given_up() -> None:
    manner = Manner(first_token_ms=60_000, next_chunk_ms=10)
    model = FakeModel(["It is", forever])
    assert str(failure(model, manner=manner)) == "the model did not answer in time"
    assert model.ended == 1


def test_arguments_that_are_on_their_way_give_the_model_time() -> None:
    async def soon() -> None:
        await asyncio.sleep(0.02)

    signs = [soon, "", soon, "", soon, ""]
    manner = Manner(filler="", first_token_ms=20_000, next_chunk_ms=20_000)
    model = FakeModel([*signs, call("clock")], ["Noon."])
    assert reply(model, clock, manner=manner)[-1] == "Noon."


@both
def test_a_server_that_stalls_is_hung_up_on(api: Api) -> None:
    async def case() -> None:
        gone = asyncio.Event()

        async def stall(exchange: Any) -> None:
            # It lives, but says nothing.
            await exchange.send(events_of(api, "")[0])
            await exchange.gone()
            gone.set()

        async with ModelServer(stall) as server:
            manner = Manner(first_token_ms=300)
            responder = ModelResponder(api.model(server.base_url), Toolbox(), manner=manner)
            await responder.prepare()
            with pytest.raises(SpeechError, match="did not answer in time"):
                _ = [part async for part in responder.reply(ASKED)]
            await asyncio.wait_for(gone.wait(), 30)
            await responder.close()

    run(case())


# --- its own course ------------------------------------------------------------------------------


def test_it_prepares_and_closes_what_it_is_made_of() -> None:
    @tool
    async def far() -> None: ...

    class Source:
        closed = False

        async def prepare(self) -> list[Tool]:
            return [far]

        async def close(self) -> None:
            self.closed = True

    async def case() -> None:
        model, source = FakeModel(), Source()
        toolbox = Toolbox(sources=[source])
        responder = ModelResponder(model, toolbox)
        await responder.prepare()
        assert model.prepared
        assert toolbox.specs() == (far.spec,)
        await responder.close()
        assert model.closed
        assert source.closed

    run(case())


def test_replies_of_several_calls_do_not_meet() -> None:
    async def echo(prompt: Prompt) -> AsyncGenerator[str]:
        await asyncio.sleep(0)
        last = prompt.items[-1]
        yield last.text if isinstance(last, Said) else ""

    class Echo(FakeModel):
        stream: Callable[..., AsyncGenerator[str]] = staticmethod(echo)

    async def case() -> list[list[ReplyPart]]:
        responder = ModelResponder(Echo(), Toolbox())

        async def one(text: str) -> list[ReplyPart]:
            request = ReplyRequest(text, [Turn(Speaker.USER, text)])
            return [part async for part in responder.reply(request)]

        return await asyncio.gather(*map(one, "abc"))

    assert run(case()) == [["a"], ["b"], ["c"]]
