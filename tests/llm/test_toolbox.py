from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from voicecall.errors import ConfigError, SpeechError
from voicecall.llm.actions import end_call
from voicecall.llm.toolbox import MAX_RESULT_OCTETS, Toolbox
from voicecall.llm.tools import Outcome, Tool, ToolContext, ToolError, tool
from voicecall.ports import HangUp, ToolCall, ToolSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.unit

CONTEXT = ToolContext("c-1")


@tool
async def echo(text: str) -> str:
    """Say it again."""
    return text


def use(toolbox: Toolbox, name: str, arguments: str = "{}") -> Outcome:
    return asyncio.run(toolbox.use(ToolCall("1", name, arguments), CONTEXT))


def named(name: str) -> Tool:
    return tool(name=name)(lambda: name)


class Source:
    """Tools from elsewhere."""

    def __init__(self, *tools: Tool, error: Exception | None = None) -> None:
        self.tools = tools
        self.error = error
        self.prepared = 0
        self.closed = 0

    async def prepare(self) -> Sequence[Tool]:
        self.prepared += 1
        if self.error is not None:
            raise self.error
        return self.tools

    async def close(self) -> None:
        self.closed += 1


def test_a_tool_gets_its_arguments_and_gives_a_result() -> None:
    assert use(Toolbox([echo]), "echo", '{"text": "hi"}') == Outcome("hi")


def test_models_are_told_of_all_tools() -> None:
    assert Toolbox([end_call, echo]).specs() == (end_call.spec, echo.spec)


def test_an_action_comes_with_the_text_for_the_model() -> None:
    output, action = use(Toolbox([end_call]), "end_call")
    assert action == HangUp()
    assert output


def test_an_unknown_tool_is_told_with_those_there_are() -> None:
    outcome = use(Toolbox([end_call, echo]), "fly" * 100)
    assert outcome.output.startswith("Error: there is no tool 'flyfly")
    assert outcome.output.endswith("there are end_call, echo.")
    assert len(outcome.output) < 200
    assert "there are none" in use(Toolbox(), "fly").output


def test_bad_arguments_are_told() -> None:
    assert use(Toolbox([echo]), "echo", "{").output.startswith("Error: the arguments are not valid")


def test_a_tool_that_cannot_do_its_work_says_why() -> None:
    @tool
    async def order() -> None:
        raise ToolError("we are out of tea")

    assert use(Toolbox([order]), "order") == Outcome("Error: we are out of tea.")


def test_why_a_tool_failed_unexpectedly_is_for_the_log_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @tool
    async def order() -> None:
        raise RuntimeError("postgres://user:password@host")

    with caplog.at_level(logging.ERROR, "voicecall.llm"):
        outcome = use(Toolbox([order]), "order")
    assert outcome.output.startswith("Error: it failed unexpectedly")
    assert "password" not in outcome.output
    assert [record.getMessage() for record in caplog.records] == ["a tool failed"]
    assert caplog.records[0].exc_info is not None


def test_a_tool_that_takes_too_long_is_cancelled_and_told() -> None:
    cancelled = asyncio.Event()

    @tool
    async def hang() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    async def case() -> Outcome:
        outcome = await Toolbox([hang], timeout_ms=10).use(ToolCall("1", "hang", ""), CONTEXT)
        await asyncio.wait_for(cancelled.wait(), 30)
        return outcome

    assert asyncio.run(case()) == Outcome("Error: it did not answer within 0.01 seconds.")


def test_a_tool_that_will_not_be_cancelled_is_not_waited_for_until_the_end() -> None:
    async def case() -> None:
        release = asyncio.Event()
        released = asyncio.Event()

        @tool
        async def stubborn() -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            released.set()

        toolbox = Toolbox([stubborn], timeout_ms=10)
        outcome = await toolbox.use(ToolCall("1", "stubborn", ""), CONTEXT)
        assert outcome.output.startswith("Error: it did not answer")
        asyncio.get_running_loop().call_later(0.01, release.set)
        await toolbox.close()
        assert released.is_set()

    asyncio.run(case())


def test_who_gives_up_on_a_tool_cancels_it() -> None:
    async def case() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        @tool
        async def hang() -> None:
            begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.set()

        using = asyncio.create_task(Toolbox([hang]).use(ToolCall("1", "hang", ""), CONTEXT))
        await begun.wait()
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        await asyncio.wait_for(ended.wait(), 30)

    asyncio.run(case())


def test_a_tool_that_was_cancelled_by_something_of_its_own_is_told() -> None:
    @tool
    async def broken() -> None:
        raise asyncio.CancelledError

    assert use(Toolbox([broken]), "broken") == Outcome("Error: it was cancelled.")


@pytest.mark.parametrize("text", ["a" * (MAX_RESULT_OCTETS + 1), "€" * MAX_RESULT_OCTETS])
def test_a_long_result_is_cut_and_says_so(text: str) -> None:
    @tool
    async def read() -> str:
        return text

    shown, note = use(Toolbox([read]), "read").output.split("\n")
    assert text.startswith(shown)
    assert MAX_RESULT_OCTETS - 3 < len(shown.encode()) <= MAX_RESULT_OCTETS
    assert note == f"[Cut: this is the beginning of {len(text)} characters.]"


def test_a_result_that_just_fits_is_whole() -> None:
    @tool
    async def read() -> str:
        return "a" * MAX_RESULT_OCTETS

    assert use(Toolbox([read]), "read").output == "a" * MAX_RESULT_OCTETS


def test_a_result_that_could_not_be_sent_is_mended() -> None:
    @tool
    async def read() -> str:
        return "half \ud83d a pair"

    assert use(Toolbox([read]), "read").output == "half ? a pair"


def test_a_tool_of_a_programs_own_kind_may_give_anything() -> None:
    async def run(arguments: str, context: ToolContext) -> object:
        return [arguments, context.call_id]

    own = Tool(ToolSpec("own", "", {"type": "object"}), run)
    assert use(Toolbox([own]), "own", "{}") == Outcome('["{}","c-1"]')


def test_names_are_unique() -> None:
    with pytest.raises(ConfigError, match="tools: two of them are named echo"):
        Toolbox([echo, named("echo")])


# --- tools from elsewhere ----------------------------------------------------------------------


def test_tools_from_elsewhere_are_there_once_it_is_prepared() -> None:
    source = Source(named("far"))
    toolbox = Toolbox([echo], sources=[source])

    async def case() -> None:
        await toolbox.prepare()
        await toolbox.prepare()

    asyncio.run(case())
    assert [spec.name for spec in toolbox.specs()] == ["echo", "far"]
    assert source.prepared == 1


def test_a_source_that_cannot_be_reached_is_told_and_the_others_are_closed() -> None:
    good, bad = Source(named("far")), Source(error=SpeechError("not there"))
    toolbox = Toolbox(sources=[good, bad])

    async def case() -> None:
        with pytest.raises(SpeechError, match="not there"):
            await toolbox.prepare()
        assert (good.closed, bad.closed) == (1, 1)
        # It may be there later.
        bad.error = None
        await toolbox.prepare()

    asyncio.run(case())
    assert [spec.name for spec in toolbox.specs()] == ["far"]


def test_names_are_unique_across_sources() -> None:
    toolbox = Toolbox([named("far")], sources=[Source(named("far"))])
    with pytest.raises(ConfigError, match="two of them are named far"):
        asyncio.run(toolbox.prepare())


def test_closing_ends_what_runs_and_closes_the_sources() -> None:
    async def case() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        @tool
        async def hang() -> None:
            begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.set()

        source = Source()
        toolbox = Toolbox([hang], sources=[source])
        using = asyncio.create_task(toolbox.use(ToolCall("1", "hang", ""), CONTEXT))
        await begun.wait()
        await toolbox.close()
        assert ended.is_set()
        assert source.closed == 1
        assert await using == Outcome("Error: it was cancelled.")

    asyncio.run(case())


def test_a_source_that_cannot_be_closed_does_not_keep_the_others_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stuck(Source):
        async def close(self) -> None:
            raise OSError("no")

    good = Source()
    asyncio.run(Toolbox(sources=[Stuck(), good]).close())
    assert good.closed == 1
    assert "a source of tools could not be closed" in caplog.text
