from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import run, until
from voicecall.llm.actions import end_call
from voicecall.llm.toolbox import Toolbox
from voicecall.llm.tools import ToolContext
from voicecall.ports import HangUp, ToolCall, ToolSpec
from voicecall.session.errands import Errands, ErrandSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voicecall.session.reply import Action

pytestmark = pytest.mark.unit

CONTEXT = ToolContext("call-1", "outbound", "+15550001", "+15550002")
SPEC = ToolSpec("look_up", "Looks something up.", {"type": "object"})
CALL = ToolCall("t1", "look_up", "{}")


class FakeTools:
    """Gives `outcome` once it may; remembers what it was used for."""

    def __init__(self, outcome: tuple[str, Action | None] | Exception = ("found", None)) -> None:
        self.outcome = outcome
        self.uses: list[tuple[ToolCall, ToolContext]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def specs(self) -> Sequence[ToolSpec]:
        return (SPEC,)

    async def use(self, call: ToolCall, context: ToolContext) -> tuple[str, Action | None]:
        self.uses.append((call, context))
        await self.may_answer.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def errands(
    tools: FakeTools | Toolbox | None,
    fillers: list[str] | None = None,
    settings: ErrandSettings | None = None,
) -> Errands:
    told = [] if fillers is None else fillers
    return Errands(tools, CONTEXT, settings or ErrandSettings(), told.append)


async def pending_timers() -> None:
    """Let every timer that is due go off."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, done.set)
    await done.wait()


def test_a_tool_is_told_what_is_wanted_and_on_which_call() -> None:
    async def case() -> None:
        tools = FakeTools()
        assert await errands(tools).run(CALL) == ("found", None)
        assert tools.uses == [(CALL, CONTEXT)]
        assert errands(tools).specs() == (SPEC,)

    run(case())


def test_a_toolbox_fits() -> None:
    async def case() -> None:
        box = Toolbox([end_call])
        outcome = await errands(box).run(ToolCall("t1", "end_call", "{}"))
        assert outcome[1] == HangUp()
        assert [spec.name for spec in errands(box).specs()] == ["end_call"]
        await box.close()

    run(case())


@pytest.mark.parametrize("error", [KeyError("a bug"), ValueError()])
def test_a_tool_that_fails_is_told_to_the_model_alone(error: Exception) -> None:
    async def case() -> None:
        output, action = await errands(FakeTools(error)).run(CALL)
        assert "failed" in output
        assert action is None

    run(case())


def test_a_tool_that_never_returns_is_given_up() -> None:
    async def case() -> None:
        tools = FakeTools()
        tools.may_answer.clear()
        output, _ = await errands(tools, settings=ErrandSettings(timeout_ms=10)).run(CALL)
        assert "in time" in output

    run(case())


def test_without_tools_the_model_is_told_so() -> None:
    async def case() -> None:
        output, action = await errands(None).run(CALL)
        assert "failed" in output
        assert action is None
        assert errands(None).specs() == ()

    run(case())


def test_a_tool_that_takes_long_is_covered_once() -> None:
    async def case() -> None:
        tools, fillers = FakeTools(), list[str]()
        tools.may_answer.clear()
        busy = errands(tools, fillers, ErrandSettings(filler_after_ms=0, filler="One moment."))
        uses = [asyncio.create_task(busy.run(CALL)) for _ in range(2)]
        await until(lambda: fillers)
        await pending_timers()
        assert fillers == ["One moment."]
        tools.may_answer.set()
        await asyncio.gather(*uses)
        tools.may_answer.clear()
        again = asyncio.create_task(busy.run(CALL))
        await until(lambda: len(fillers) == 2)
        tools.may_answer.set()
        await again

    run(case())


def test_a_quick_tool_needs_no_cover() -> None:
    async def case() -> None:
        fillers = list[str]()
        busy = errands(FakeTools(), fillers, ErrandSettings(filler_after_ms=0))
        await busy.run(CALL)
        await pending_timers()
        assert fillers == []

    run(case())


def test_the_ninth_tool_at_a_time_is_refused() -> None:
    async def case() -> None:
        tools = FakeTools()
        tools.may_answer.clear()
        busy = errands(tools)
        uses = [asyncio.create_task(busy.run(CALL)) for _ in range(8)]
        await until(lambda: len(tools.uses) == 8)
        output, _ = await busy.run(CALL)
        assert "too many" in output
        tools.may_answer.set()
        assert await asyncio.gather(*uses) == [("found", None)] * 8
        assert await busy.run(CALL) == ("found", None)

    run(case())
