"""Tools: functions that a language model may call during a conversation.

A tool is made of a Python function, whose signature and docstring tell the model how to use it:

    @tool(description="Look up where an order is.")
    async def order_status(order_id: str, context: ToolContext) -> str:
        return await orders.status(order_id, caller=context.from_number)
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import to_json

from voicecall.ports import HangUp, PressKeys, ToolSpec, Transfer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from voicecall.isolation.guest import Guest

Action: TypeAlias = PressKeys | Transfer | HangUp

T = TypeVar("T")

MAX_THREADS = 16
"""How many calls of one blocking tool may be running."""
# The longest time any setting can give a tool; its real deadline is its toolbox's.
_LONGEST_S = 86_400.0
_MAX_PROBLEMS = 5

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECTION = re.compile(
    r"^(?:Args|Arguments|Returns|Yields|Raises|Example|Examples|Note|Notes|Source):$"
)
_ARGUMENT = re.compile(r"(?P<name>\w+)(?: \([^)]*\))?: *(?P<text>.*)")


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Which call a tool is used on.

    Attributes:
        call_id: our id of the call.
        direction: `inbound` or `outbound`; empty when unknown.
        from_number: who calls.
        to_number: who is called.
    """

    call_id: str
    direction: str = ""
    from_number: str = ""
    to_number: str = ""

    @classmethod
    def of(cls, call_id: str, call: Mapping[str, str]) -> ToolContext:
        """From what a session tells of its call: `direction`, `from`, `to`."""
        return cls(
            call_id, call.get("direction", ""), call.get("from", "") or "", call.get("to", "") or ""
        )


class Outcome(NamedTuple):
    """What came of using a tool.

    Attributes:
        output: text for the model.
        action: what is to be done on the call, once everything said before was heard.
    """

    output: str
    action: Action | None = None


class ToolError(Exception):
    """Raised by a tool that could not do its work; the model is told the message.

    Anything else that a tool raises is logged, and the model is told only that it failed: an
    exception's text may hold what no caller is to hear.
    """


@dataclass(frozen=True, slots=True)
class Tool:
    """Something a model may do.

    Attributes:
        spec: how the model is told of it.
        run: does it, with a JSON object as text and the call it is for. The result is an `Outcome`,
            an action, text, or anything that can be written as JSON.
    """

    spec: ToolSpec
    run: Callable[[str, ToolContext], Awaitable[object]]


@overload
def tool(function: Callable[..., Any]) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function; also as a decorator, with or without arguments.

    Args:
        function: asynchronous, or ordinary, which may block: it is run in threads of its own, at
            most 16 at a time. Parameters are annotated with what pydantic can validate; they are
            described by the docstring's `Args:` or by `Annotated[..., Field(description=...)]`. A
            parameter annotated `ToolContext` is told which call it is, and the model knows nothing
            of it. It may return an action: `HangUp`, `PressKeys` or `Transfer`.
        name: what the model calls it; the function's own name when None.
        description: when to use it; the docstring up to its first section when None.

    Raises:
        TypeError: a parameter has no annotation, or cannot be given by name.
        ValueError: the name is not one that models accept.
    """
    if function is None:
        return lambda decorated: _make(decorated, name, description)
    return _make(function, name, description)


def hosted(guest: Guest, known: Tool) -> Tool:
    """The tool, run by the thread of a guest, so that whatever it does holds up nothing of ours."""

    async def run(arguments: str, context: ToolContext) -> object:
        # Its deadline is the toolbox's; leaving this wait cancels what the guest does.
        return await guest.run(_awaited(known.run(arguments, context)), _LONGEST_S)

    return replace(known, run=run)


def outcome_of(result: object) -> Outcome:
    """What a tool's result is to the model, and to the call."""
    match result:
        case Outcome():
            return result
        case HangUp() | PressKeys() | Transfer():
            return Outcome("Done.", result)
        case None:
            return Outcome("Done.")
        case str():
            return Outcome(result)
        case _:
            return Outcome(to_json(result, fallback=str, bytes_mode="base64").decode())


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _make(function: Callable[..., Any], name: str | None, description: str | None) -> Tool:
    name = name or str(getattr(function, "__name__", type(function).__name__))
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name for a tool: letters, digits, _ and -, at most 64")
    summary, described = _documented(function)
    signature = _Signature(function, name, described)
    spec = ToolSpec(name, description or summary, signature.schema())
    if _is_asynchronous(function):

        async def run(arguments: str, context: ToolContext) -> object:
            return outcome_of(await function(**signature.bind(arguments, context)))

    else:
        threads = threading.BoundedSemaphore(MAX_THREADS)

        async def run(arguments: str, context: ToolContext) -> object:
            named = signature.bind(arguments, context)
            return await _in_thread(name, threads, lambda: outcome_of(function(**named)))

    return Tool(spec, run)


def _is_asynchronous(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004  (the method itself is wanted)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


class _Signature:
    """The parameters of a function, as a model is told of them and gives them.

    Args:
        function: whose.
        name: of the tool.
        described: descriptions by parameter.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, described: Mapping[str, str]
    ) -> None:
        hints = _annotations(function)
        self._context: str | None = None
        self._names: dict[str, str] = {}
        fields: dict[str, Any] = {}
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                raise TypeError(f"tool {name}: {parameter.name} cannot be given by name")
            if parameter.name not in hints:
                raise TypeError(f"tool {name}: {parameter.name} needs an annotation")
            if hints[parameter.name] is ToolContext:
                self._context = parameter.name
                continue
            # Fields have names of our own, since a model's may not begin with `_` or be `copy`.
            field = f"argument_{len(fields)}"
            self._names[field] = parameter.name
            fields[field] = (hints[parameter.name], _field(parameter, described))
        self._model: type[BaseModel] = create_model(
            name, __config__=ConfigDict(extra="forbid"), **fields
        )

    def schema(self) -> dict[str, Any]:
        """A JSON Schema of type object."""
        schema = self._model.model_json_schema()
        for each in (schema, *schema.get("properties", {}).values()):
            # Pydantic's titles repeat the names, which costs the model time to read.
            each.pop("title", None)
        schema.setdefault("properties", {})
        return schema

    def bind(self, arguments: str, context: ToolContext) -> dict[str, Any]:
        """What to call the function with. Raises `ToolError`."""
        try:
            given = self._model.model_validate_json(arguments.strip() or "{}")
        except ValidationError as error:
            problems = "; ".join(
                ": ".join((".".join(map(str, detail["loc"])) or "all of it", detail["msg"]))
                for detail in error.errors(include_url=False, include_input=False)[:_MAX_PROBLEMS]
            )
            raise ToolError(f"the arguments are not valid: {problems}") from None
        named = {self._names[field]: getattr(given, field) for field in given.model_fields_set}
        if self._context is not None:
            named[self._context] = context
        return named


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    routine = function if inspect.isroutine(function) else type(function).__call__
    annotations = dict(getattr(routine, "__annotations__", {}))
    # What it returns is nobody's concern, and often imported only for type checkers.
    annotations.pop("return", None)
    parameters = SimpleNamespace(__annotations__=annotations)
    names = getattr(inspect.unwrap(routine), "__globals__", {})
    return get_type_hints(parameters, globalns=names, include_extras=True)


def _field(parameter: inspect.Parameter, described: Mapping[str, str]) -> Any:  # noqa: ANN401  (as pydantic's own)
    settings: dict[str, Any] = {"alias": parameter.name}
    # One that an annotation describes is not described again.
    if parameter.name in described:
        settings["description"] = described[parameter.name]
    if parameter.default is not parameter.empty:
        settings["default"] = parameter.default
    return Field(**settings)


def _documented(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The docstring up to its first section, and what it says of each argument."""
    lines = (inspect.getdoc(function) or "").splitlines()
    starts = [at for at, line in enumerate(lines) if _SECTION.match(line)]
    summary = " ".join(" ".join(lines[: starts[0] if starts else None]).split())
    described: dict[str, str] = {}
    for start in starts:
        if lines[start] in {"Args:", "Arguments:"}:
            described |= _arguments(lines[start + 1 :])
    return summary, described


def _arguments(lines: list[str]) -> dict[str, str]:
    described: dict[str, str] = {}
    name, indent = "", 0
    for line in lines:
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        if text and not depth:
            break
        entry = _ARGUMENT.fullmatch(text)
        if entry is not None and (not name or depth <= indent):
            name, indent = entry["name"], depth
            described[name] = entry["text"]
        elif name and text:
            described[name] = f"{described[name]} {text}".strip()
    return described


async def _in_thread(name: str, free: threading.Semaphore, work: Callable[[], T]) -> T:
    """The result of `work`, run in a thread of its own.

    When nobody waits for it any more it goes on until it returns. Raises `ToolError` when too many
    have not returned.
    """
    if not free.acquire(blocking=False):
        raise ToolError("it is busy; try again later")
    done: Future[T] = Future()
    threading.Thread(
        target=_settle, args=(done, free, work), name=f"voicecall-tool-{name}", daemon=True
    ).start()
    return await asyncio.wrap_future(done)


def _settle(done: Future[T], free: threading.Semaphore, work: Callable[[], T]) -> None:
    try:
        # From now on it cannot be cancelled, so that the result always finds its place.
        if done.set_running_or_notify_cancel():
            done.set_result(work())
    except Exception as error:  # noqa: BLE001  (a thread's boundary: handed to who waits)
        done.set_exception(error)
    finally:
        free.release()
        # An exception refers to this frame, and the future to the exception.
        del done
