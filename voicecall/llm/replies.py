"""Replies by a language model that may use tools while it answers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from voicecall.call.record import Speaker
from voicecall.errors import SpeechError
from voicecall.llm.prompt import system_prompt
from voicecall.llm.tools import Outcome, ToolContext
from voicecall.llm.transcript import Kept, Prompt, Said, Used, json_object, transcript
from voicecall.ports import PressKeys, ToolCall, ToolUse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from voicecall.llm.toolbox import Toolbox
    from voicecall.llm.tools import Action
    from voicecall.llm.transcript import Item
    from voicecall.ports import ReplyPart, ReplyRequest

_log = logging.getLogger("voicecall.llm")

MAX_ROUNDS = 8
"""How often a model is asked in one reply; the last time it has to answer without tools."""
MAX_CALLS = 16
"""How many tools a model may use at once; more are refused."""

_RATE_LIMITED = 429
# A line break ends what is being said, for who cuts the text into sentences.
_END_OF_SENTENCE = "\n"
# About how long a voice takes for what was announced before tools are used.
_MS_PER_CHARACTER = 60


class Model(Protocol):
    """A language model, whichever API it is reached by."""

    async def prepare(self) -> None:
        """Load what it needs. Raises `DependencyMissing`."""
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | ToolCall | Kept]:
        """What it says and wants done next.

        Text comes as it is made; an empty text is a sign of life. Closing the generator closes the
        connection. Raises `SpeechError`.
        """
        ...

    async def close(self) -> None:
        """Free it."""
        ...


@dataclass(frozen=True, slots=True)
class Manner:
    """How a reply is made.

    Attributes:
        first_token_ms: how long the model may take to begin, whatever else its server sends.
        next_chunk_ms: how long it may pause later.
        retries: how often a request that failed before anything came is repeated, at once; 0 or 1.
        filler: what is said when tools take long; empty for nothing.
        filler_after_ms: when it is said, after whatever announced the tools.
    """

    first_token_ms: int = 20_000
    next_chunk_ms: int = 10_000
    retries: int = 1
    filler: str = "One moment, please."
    filler_after_ms: int = 1_200


@dataclass(slots=True)
class _Round:
    """What the model gave when it was asked once."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    @property
    def spoke(self) -> bool:
        """Whether there is anything to be heard."""
        return bool(self.text.strip())


@dataclass(slots=True)
class _Course:
    """How far a reply has come.

    Attributes:
        request: what it replies to.
        items: the conversation, and what the model did in this reply.
        ending: the action that ends it, once the model has taken leave.
        spoke: whether anything was said.
        acted: whether anything was done on the call.
        filled: whether the filler was said.
    """

    request: ReplyRequest
    items: list[Item]
    ending: Action | None = None
    spoke: bool = False
    acted: bool = False
    filled: bool = False


class ModelResponder:
    """Answers by a language model; implements `ports.Responder`.

    Args:
        model: decides what is said.
        toolbox: what it may do besides; closed with the responder.
        instructions: who it is, where a request does not say.
        manner: how replies are made.
    """

    def __init__(
        self,
        model: Model,
        toolbox: Toolbox,
        *,
        instructions: str | None = None,
        manner: Manner | None = None,
    ) -> None:
        self._model = model
        self._toolbox = toolbox
        self._instructions = instructions
        self._manner = manner or Manner()

    async def prepare(self) -> None:
        """Load the model's client and connect the tools.

        Raises:
            ConfigError: two tools have the same name.
            DependencyMissing: a package is not installed.
            SpeechError: a server of tools cannot be reached.
        """
        await self._model.prepare()
        await self._toolbox.prepare()

    async def close(self) -> None:
        """Close connections, and end what tools run."""
        try:
            await self._toolbox.close()
        finally:
            await self._model.close()

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyPart]:
        """The model's answer: text as it comes, the use of tools, and what is to be done.

        An action that ends the call comes last, after a farewell. Raises `SpeechError`, also when
        the model has neither said nor done anything.
        """
        course = _Course(request, transcript(request))
        for number in range(MAX_ROUNDS):
            may_use_tools = course.ending is None and number < MAX_ROUNDS - 1
            asked = _Round()
            async with aclosing(self._ask(course, asked, may_use_tools=may_use_tools)) as pieces:
                async for piece in pieces:
                    yield piece
            if not asked.calls:
                break
            async with aclosing(self._act(course, asked)) as parts:
                async for part in parts:
                    yield part
            if course.ending is not None and asked.spoke:
                break
        if course.ending is not None:
            yield course.ending
        elif not (course.spoke or course.acted):
            raise SpeechError("the model had nothing to say", retryable=True)

    async def _ask(
        self, course: _Course, asked: _Round, *, may_use_tools: bool
    ) -> AsyncGenerator[str]:
        """Ask the model once: what it says; the rest is in `asked`."""
        try:
            async with aclosing(self._attempts(self._prompt(course, may_use_tools))) as parts:
                async for part in parts:
                    match part:
                        case str():
                            asked.text += part
                            yield part
                        case ToolCall():
                            asked.calls.append(part)
                        case Kept():
                            asked.kept.append(part)
        except SpeechError as error:
            # Without a farewell the call ends all the same, as the model has decided.
            if course.ending is None:
                raise
            _log.warning("the model could not take leave", exc_info=error)
        course.spoke = course.spoke or asked.spoke
        if asked.calls and not may_use_tools:
            _log.warning("the model wants tools where there are none", extra=_extra(course))
            asked.calls.clear()

    def _prompt(self, course: _Course, may_use_tools: bool) -> Prompt:
        request, specs = course.request, self._toolbox.specs()
        return Prompt(
            request.call_id,
            system_prompt(
                request.instructions or self._instructions,
                direction=request.call.get("direction", ""),
                tools=[spec.name for spec in specs],
            ),
            tuple(course.items),
            specs,
            may_use_tools,
        )

    async def _attempts(self, prompt: Prompt) -> AsyncGenerator[str | ToolCall | Kept]:
        """Everything the model gives, within its deadlines, asking again if nothing came at all."""
        deadline_s = asyncio.get_running_loop().time() + self._manner.first_token_ms / 1000
        for left in reversed(range(1 + self._manner.retries)):
            begun = False
            try:
                async with aclosing(self._timed(prompt, deadline_s)) as parts:
                    async for part in parts:
                        begun = True
                        yield part
            except SpeechError as error:
                # Who limits the rate would refuse again.
                if begun or not left or not error.retryable or error.status == _RATE_LIMITED:
                    raise
                _log.warning("the model is asked again", exc_info=error)
            except TimeoutError:
                raise SpeechError("the model did not answer in time", retryable=True) from None
            else:
                return

    async def _timed(
        self, prompt: Prompt, deadline_s: float
    ) -> AsyncGenerator[str | ToolCall | Kept]:
        loop = asyncio.get_running_loop()
        async with aclosing(self._model.stream(prompt)) as parts:
            while (part := await _next(parts, deadline_s)) is not None:
                deadline_s = loop.time() + self._manner.next_chunk_ms / 1000
                if part != "":
                    yield part

    async def _act(self, course: _Course, asked: _Round) -> AsyncGenerator[ReplyPart]:
        """Use the tools that the model wants: how that went, and what is to be done now."""
        if asked.spoke:
            yield _END_OF_SENTENCE
        context = ToolContext.of(course.request.call_id, course.request.call)
        work = asyncio.gather(
            *(self._toolbox.use(call, context) for call in asked.calls[:MAX_CALLS])
        )
        try:
            if self._manner.filler and not course.filled:
                await asyncio.wait({work}, timeout=self._filler_after_s(asked))
                if not work.done():
                    course.filled = True
                    yield f"{self._manner.filler}{_END_OF_SENTENCE}"
            outcomes = await work
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        refused = [_TOO_MANY] * (len(asked.calls) - len(outcomes))
        async for part in self._record(course, asked, [*outcomes, *refused]):
            yield part

    async def _record(
        self, course: _Course, asked: _Round, outcomes: Sequence[Outcome]
    ) -> AsyncGenerator[ReplyPart]:
        course.items.extend(asked.kept)
        if asked.spoke:
            course.items.append(Said(Speaker.BOT, asked.text))
        for call, outcome in zip(asked.calls, outcomes, strict=True):
            use = ToolUse(call.name, json_object(call.arguments), outcome.output)
            course.items.append(Used(call.id, use))
            yield use
        for action in (outcome.action for outcome in outcomes if outcome.action is not None):
            course.acted = True
            if not isinstance(action, PressKeys):
                course.ending = action
                return
            yield action

    def _filler_after_s(self, asked: _Round) -> float:
        announced_ms = len(asked.text) * _MS_PER_CHARACTER
        return (self._manner.filler_after_ms + announced_ms) / 1000


_TOO_MANY = Outcome(f"Error: only {MAX_CALLS} tools can be used at once.")


async def _next(
    parts: AsyncIterator[str | ToolCall | Kept], deadline_s: float
) -> str | ToolCall | Kept | None:
    async with asyncio.timeout_at(deadline_s):
        return await anext(parts, None)


def _extra(course: _Course) -> dict[str, str]:
    return {"call_id": course.request.call_id}
