"""The tools that a model which speaks by itself uses."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voicecall.llm.tools import ToolContext
    from voicecall.ports import ToolCall, ToolSpec
    from voicecall.session.reply import Action

_log = logging.getLogger("voicecall.session")

_MAX_ERRANDS = 8
_TOO_MANY = "Not done: too many tools are being used at once."
_TOO_LATE = "Not done: the tool did not answer in time."
_FAILED = "Not done: the tool failed."


class Tools(Protocol):
    """What a model may use; see `voicecall.llm.toolbox`."""

    def specs(self) -> Sequence[ToolSpec]:
        """What it is told of them."""
        ...

    async def use(self, call: ToolCall, context: ToolContext) -> tuple[str, Action | None]:
        """Use a tool.

        Args:
            call: what the model wants; not checked.
            context: the call it is for.

        Returns:
            Text for the model, and what is to be done on the call, if anything.
        """
        ...


@dataclass(frozen=True, slots=True)
class ErrandSettings:
    """How long tools may take.

    Attributes:
        timeout_ms: then the model is told that there is no result.
        filler_after_ms: then the caller is told to wait.
        filler: what he is told; empty for nothing.
    """

    timeout_ms: int = 15_000
    filler_after_ms: int = 1200
    filler: str = "One moment, please."


class Errands:
    """Uses the tools that one call's model asks for.

    Overflow rule: at most eight at once; the model is told so of one more.

    Args:
        tools: what it may use; None has none.
        context: the call they are for.
        settings: how long they may take.
        on_filler: called with what the caller is to be told, once for all that run at a time.
    """

    def __init__(
        self,
        tools: Tools | None,
        context: ToolContext,
        settings: ErrandSettings,
        on_filler: Callable[[str], None],
    ) -> None:
        self._tools = tools
        self._context = context
        self._settings = settings
        self._on_filler = on_filler
        self._running = 0
        self._filled = False

    def specs(self) -> Sequence[ToolSpec]:
        """What the model is told of its tools."""
        return () if self._tools is None else self._tools.specs()

    async def run(self, call: ToolCall) -> tuple[str, Action | None]:
        """Use a tool; never fails.

        Returns:
            Text for the model, and what is to be done on the call, if anything.
        """
        if self._tools is None:
            return _FAILED, None
        if self._running >= _MAX_ERRANDS:
            return _TOO_MANY, None
        self._running += 1
        loop = asyncio.get_running_loop()
        filler = loop.call_later(self._settings.filler_after_ms / 1000, self._fill)
        try:
            async with asyncio.timeout(self._settings.timeout_ms / 1000):
                return await self._tools.use(call, self._context)
        except TimeoutError:
            _log.warning("a tool did not answer in time", extra={"tool": call.name})
            return _TOO_LATE, None
        except Exception:  # noqa: BLE001  (a request's boundary: tools are anybody's code)
            _log.exception("a tool failed", extra={"tool": call.name})
            return _FAILED, None
        finally:
            filler.cancel()
            self._running -= 1
            if not self._running:
                self._filled = False

    def _fill(self) -> None:
        if not self._filled and self._settings.filler:
            self._filled = True
            self._on_filler(self._settings.filler)
