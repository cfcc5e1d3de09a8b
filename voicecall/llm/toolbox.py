"""Runs tools for language models: whatever happens, the model gets a text it can act on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from voicecall.errors import ConfigError
from voicecall.llm.tools import Outcome, ToolError, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from voicecall.llm.tools import Tool, ToolContext
    from voicecall.ports import ToolCall, ToolSpec

_log = logging.getLogger("voicecall.llm")

MAX_RESULT_OCTETS = 16 * 1024
"""Longer results are cut: a model reads them again in every turn that follows."""
_CLOSE_TIMEOUT_S = 2.0


class ToolSource(Protocol):
    """Somewhere that tools come from once it is connected."""

    async def prepare(self) -> Sequence[Tool]:
        """Connect; the tools there are. Raises `DependencyMissing` or `SpeechError`."""
        ...

    async def close(self) -> None:
        """Free it."""
        ...


class Toolbox:
    """The tools of a conversation, shared by calls.

    A tool that does not return in time is cancelled and not waited for; `close` does that.

    Args:
        tools: what is there from the beginning.
        sources: where more comes from in `prepare`.
        timeout_ms: how long any tool may take.

    Raises:
        ConfigError: two tools have the same name.
    """

    def __init__(
        self,
        tools: Sequence[Tool] = (),
        *,
        sources: Sequence[ToolSource] = (),
        timeout_ms: int = 15_000,
    ) -> None:
        self._tools: dict[str, Tool] = {}
        self._sources = tuple(sources)
        self._timeout_s = timeout_ms / 1000
        self._preparing = asyncio.Lock()
        self._prepared = False
        self._running: set[asyncio.Task[Outcome]] = set()
        self._add(tools)

    def specs(self) -> Sequence[ToolSpec]:
        """How models are told of all tools."""
        return tuple(each.spec for each in self._tools.values())

    async def prepare(self) -> None:
        """Connect the sources, unless they are.

        Raises:
            ConfigError: two tools have the same name.
            DependencyMissing: a package is not installed.
            SpeechError: a source cannot be reached.
        """
        async with self._preparing:
            if self._prepared:
                return
            preparing = [asyncio.create_task(source.prepare()) for source in self._sources]
            try:
                if preparing:
                    await asyncio.wait(preparing)
                # The first that failed says why nothing works.
                self._add([known for task in preparing for known in task.result()])
            except BaseException:
                for task in preparing:
                    task.cancel()
                await asyncio.gather(*preparing, return_exceptions=True)
                await self._close_sources()
                raise
            self._prepared = True

    async def use(self, call: ToolCall, context: ToolContext) -> Outcome:
        """Use a tool. Never fails: what went wrong is told in the outcome's text.

        Args:
            call: what the model wants.
            context: the call it is for.
        """
        known = self._tools.get(call.name)
        if known is None:
            return _error(f"there is no tool {call.name[:64]!r}; there are {_listed(self._tools)}")
        task = asyncio.create_task(self._run(known, call.arguments, context))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await asyncio.wait({task}, timeout=self._timeout_s)
        finally:
            task.cancel()
        if not task.done():
            _log.warning("a tool took too long", extra={"tool": call.name})
            return _error(f"it did not answer within {self._timeout_s:g} seconds")
        # A tool may be cancelled by something of its own.
        return _error("it was cancelled") if task.cancelled() else task.result()

    async def close(self) -> None:
        """Cancel what runs and disconnect the sources. May be called again."""
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            _, left = await asyncio.wait(running, timeout=_CLOSE_TIMEOUT_S)
            if left:
                _log.warning("tools do not end", extra={"count": len(left)})
        await self._close_sources()

    def _add(self, tools: Iterable[Tool]) -> None:
        merged = dict(self._tools)
        for each in tools:
            if each.spec.name in merged:
                raise ConfigError(f"tools: two of them are named {each.spec.name}")
            merged[each.spec.name] = each
        self._tools = merged

    async def _close_sources(self) -> None:
        results = await asyncio.gather(
            *(source.close() for source in self._sources), return_exceptions=True
        )
        for result in results:
            if isinstance(result, Exception):
                _log.error("a source of tools could not be closed", exc_info=result)

    async def _run(self, known: Tool, arguments: str, context: ToolContext) -> Outcome:
        try:
            outcome = outcome_of(await known.run(arguments, context))
        except ToolError as error:
            return _error(str(error))
        except Exception:  # noqa: BLE001  (a request's boundary: anybody's code)
            extra = {"tool": known.spec.name, "call_id": context.call_id}
            _log.exception("a tool failed", extra=extra)
            return _error("it failed unexpectedly; try something else, or say that it did not work")
        return outcome._replace(output=_cut(outcome.output))


def _error(text: str) -> Outcome:
    return Outcome(_cut(f"Error: {text.rstrip('.')}."))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _cut(text: str) -> str:
    """`text`, or as much of its beginning as models are given, and that there was more."""
    # No character is less than one octet, so the rest need not be encoded. What cannot be encoded
    # could not be sent either.
    head = text[: MAX_RESULT_OCTETS + 1].encode("utf-8", "replace")
    if len(head) <= MAX_RESULT_OCTETS:
        return head.decode()
    shown = head[:MAX_RESULT_OCTETS].decode("utf-8", "ignore")
    return f"{shown}\n[Cut: this is the beginning of {len(text)} characters.]"
