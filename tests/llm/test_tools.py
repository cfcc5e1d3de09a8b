from __future__ import annotations

import asyncio
import functools
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from voicecall.clock import SystemClock
from voicecall.isolation.guest import Guest
from voicecall.isolation.watch import LoopWatch
from voicecall.llm.tools import (
    MAX_THREADS,
    Outcome,
    Tool,
    ToolContext,
    ToolError,
    hosted,
    outcome_of,
    tool,
)
from voicecall.ports import HangUp, PressKeys, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

pytestmark = pytest.mark.unit

CONTEXT = ToolContext("c-1", "inbound", "+15550001111", "+15550002222")


class Item(BaseModel):
    """What is ordered."""

    name: str
    count: int = 1


def result(known: Tool, arguments: Any = None, context: ToolContext = CONTEXT) -> Any:
    async def case() -> object:
        return await known.run(json.dumps(arguments or {}), context)

    return asyncio.run(case())


def text(known: Tool, arguments: Any = None) -> str:
    return outcome_of(result(known, arguments)).output


# --- how a model is told of a function ---------------------------------------------------------


def test_a_function_is_told_by_its_name_docstring_and_signature() -> None:
    @tool
    def order(item: Item, note: str | None = None, *, size: Literal["S", "L"] = "S") -> str:
        """Order something.

        Only after the caller has confirmed it.

        Args:
            item: what, in their own
                words.
            note (str): for the kitchen.

        Returns:
            The number of the order.
        """
        return f"{item.count} {item.name}, {size}, {note}"

    assert order.spec.name == "order"
    assert order.spec.description == "Order something. Only after the caller has confirmed it."
    schema = order.spec.parameters
    assert schema["type"] == "object"
    assert schema["required"] == ["item"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["item"]["description"] == "what, in their own words."
    assert properties["note"]["description"] == "for the kitchen."
    assert properties["size"] == {"enum": ["S", "L"], "type": "string", "default": "S"}
    assert text(order, {"item": {"name": "tea"}, "size": "L"}) == "1 tea, L, None"


def test_a_function_without_parameters_is_told_as_an_empty_object() -> None:
    @tool
    def now() -> str:
        return "noon"

    assert now.spec.description == ""
    assert now.spec.parameters["properties"] == {}
    assert text(now) == "noon"


def test_a_name_and_a_description_can_be_given() -> None:
    @tool(name="what-time", description="When it is.")
    def now() -> str:
        """Something for programmers."""
        return "noon"

    assert (now.spec.name, now.spec.description) == ("what-time", "When it is.")


def test_an_annotation_describes_a_parameter_too() -> None:
    @tool
    def look_up(number: Annotated[int, Field(description="Of the order.", ge=1)]) -> str:
        return f"order {number}"

    assert look_up.spec.parameters["properties"]["number"]["description"] == "Of the order."
    assert text(look_up, {"number": 7}) == "order 7"
    with pytest.raises(ToolError, match="number: Input should be greater than or equal to 1"):
        text(look_up, {"number": 0})


def test_the_context_is_given_by_us_and_the_model_knows_nothing_of_it() -> None:
    @tool
    def who(call: ToolContext, greeting: str = "Hello") -> str:
        return f"{greeting}, {call.from_number}"

    assert who.spec.parameters["properties"].keys() == {"greeting"}
    assert text(who) == "Hello, +15550001111"
    with pytest.raises(ToolError, match="call: Extra inputs are not permitted"):
        text(who, {"call": {"call_id": "c-2"}})


def test_parameters_may_be_named_like_anything() -> None:
    @tool
    def odd(copy: str, model_config: str, schema: int, _hidden: bool = True) -> str:
        return f"{copy} {model_config} {schema} {_hidden}"

    arguments = {"copy": "a", "model_config": "b", "schema": 3, "_hidden": False}
    assert odd.spec.parameters["properties"].keys() == arguments.keys()
    assert text(odd, arguments) == "a b 3 False"


def test_a_return_type_that_only_type_checkers_know_does_no_harm() -> None:
    def price() -> Decimal: ...  # type: ignore[empty-body]  # only its signature is used

    assert tool(price).spec.name == "price"


def test_a_callable_object_and_a_method_are_functions_too() -> None:
    class Shop:
        """A shop."""

        def opening(self, day: str) -> str:
            """When it opens."""
            return f"at eight on {day}"

        async def __call__(self, day: str) -> str:
            return f"closed on {day}"

    assert tool(Shop().opening).spec.description == "When it opens."
    assert text(tool(Shop().opening), {"day": "Monday"}) == "at eight on Monday"
    assert text(tool(name="closing")(Shop()), {"day": "Monday"}) == "closed on Monday"


def test_a_wrapped_function_is_told_as_the_one_inside() -> None:
    def plain(day: str) -> str:
        """When it opens."""
        return day

    @functools.wraps(plain)
    def wrapped(*args: Any, **kwargs: Any) -> str:
        return plain(*args, **kwargs).upper()

    assert tool(wrapped).spec.description == "When it opens."
    assert text(tool(wrapped), {"day": "Monday"}) == "MONDAY"


def no_annotation(day):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  (which is the point)
    return day


def any_number(*days: str) -> str:
    return ", ".join(days)


def anything(**days: str) -> str:
    return str(days)


def by_position(day: str, /) -> str:
    return day


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (no_annotation, "tool no_annotation: day needs an annotation"),
        (any_number, "tool any_number: days cannot be given by name"),
        (anything, "tool anything: days cannot be given by name"),
        (by_position, "tool by_position: day cannot be given by name"),
    ],
)
def test_a_function_that_no_model_could_call_is_refused(
    function: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(TypeError, match=problem):
        tool(function)


@pytest.mark.parametrize("name", ["two words", "a" * 65, "<lambda>", "ünder"])
def test_a_name_that_no_model_could_use_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a tool"):
        tool(name=name)(any_number)


# --- arguments -----------------------------------------------------------------------------------


@tool
def opening(day: str, hour: int = 8) -> str:
    return f"{day} {hour}"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{", "all of it: Invalid JSON"),
        ("[]", "all of it: Input should be an object"),
        ("", "day: Field required"),
        ('{"day": 5}', "day: Input should be a valid string"),
        ('{"day": "Monday", "hour": "late"}', "hour: Input should be a valid integer"),
        ('{"day": "Monday", "minute": 5}', "minute: Extra inputs are not permitted"),
    ],
)
def test_arguments_that_do_not_fit_are_told(arguments: str, problem: str) -> None:
    async def case() -> object:
        return await opening.run(arguments, CONTEXT)

    with pytest.raises(ToolError, match=f"the arguments are not valid: {problem}"):
        asyncio.run(case())


def test_what_is_wrong_is_told_without_repeating_what_was_given() -> None:
    with pytest.raises(ToolError) as raised:
        result(opening, {"day": "Monday", "hour": "the-secret"})
    assert "the-secret" not in str(raised.value)


# --- results -------------------------------------------------------------------------------------


class Speechless:
    def __str__(self) -> str:
        return "..."


@dataclass
class Weather:
    sky: str
    degrees: float


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("as it is", "as it is"),
        (None, "Done."),
        (True, "true"),
        ({"a": [1, 2.5]}, '{"a":[1,2.5]}'),
        (Item(name="tea"), '{"name":"tea","count":1}'),
        (Weather("blue", 20.0), '{"sky":"blue","degrees":20.0}'),
        (b"\xff", '"_w=="'),
        (Speechless(), '"..."'),
    ],
)
def test_results_are_told_as_text(value: Any, output: str) -> None:
    assert outcome_of(value) == Outcome(output)


@pytest.mark.parametrize("action", [HangUp(), PressKeys("5"), Transfer("+15550001111")])
def test_a_tool_may_have_something_done_on_the_call(action: Any) -> None:
    assert outcome_of(action) == Outcome("Done.", action)
    assert outcome_of(Outcome("Soon.", action)) == Outcome("Soon.", action)


# --- where functions run -------------------------------------------------------------------------


def test_an_asynchronous_function_runs_in_the_loop() -> None:
    @tool
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert text(where) == threading.main_thread().name


def test_a_blocking_function_does_not_hold_up_the_loop() -> None:
    goes_on = threading.Event()

    @tool
    def wait() -> str:
        # Returns only if the loop runs meanwhile.
        return str(goes_on.wait(30))

    async def case() -> object:
        waiting = asyncio.ensure_future(wait.run("{}", CONTEXT))
        await asyncio.sleep(0)
        goes_on.set()
        return await waiting

    assert asyncio.run(case()) == Outcome("True")


def test_what_a_blocking_function_raises_is_raised() -> None:
    @tool
    def fail() -> str:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        result(fail)


def test_only_so_many_blocking_calls_run_at_a_time() -> None:
    goes_on = threading.Event()

    @tool
    def wait() -> bool:
        return goes_on.wait(30)

    async def case() -> None:
        waiting = [asyncio.ensure_future(wait.run("{}", CONTEXT)) for _ in range(MAX_THREADS)]
        await asyncio.sleep(0)
        with pytest.raises(ToolError, match="it is busy"):
            await wait.run("{}", CONTEXT)
        goes_on.set()
        assert await asyncio.gather(*waiting) == [Outcome("true")] * MAX_THREADS
        assert await wait.run("{}", CONTEXT) == Outcome("true")

    asyncio.run(case())


def test_a_blocking_function_that_nobody_waits_for_goes_on_and_frees_its_place() -> None:
    goes_on, ended = threading.Event(), threading.Event()

    @tool
    def wait() -> None:
        goes_on.wait(30)
        ended.set()

    async def case() -> None:
        waiting = asyncio.ensure_future(wait.run("{}", CONTEXT))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        goes_on.set()
        assert await asyncio.to_thread(ended.wait, 30)

    asyncio.run(case())


def test_a_hosted_tool_runs_in_its_guests_thread() -> None:
    @tool
    async def where(context: ToolContext) -> str:
        return f"{threading.current_thread().name} {context.call_id}"

    async def case() -> object:
        guest = Guest("tools", LoopWatch(SystemClock(), lambda _: None))
        try:
            return await hosted(guest, where).run("{}", CONTEXT)
        finally:
            await guest.close()

    assert asyncio.run(case()) == Outcome("voicecall-tools c-1")


# --- the call ------------------------------------------------------------------------------------


def test_a_context_is_made_of_what_a_session_tells() -> None:
    call = {"direction": "inbound", "from": "+15550001111", "to": "+15550002222"}
    assert ToolContext.of("c-1", call) == CONTEXT
    assert ToolContext.of("c-1", {}) == ToolContext("c-1")
