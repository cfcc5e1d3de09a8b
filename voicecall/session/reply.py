"""One reply of the responder: its text as it comes, and what it does beside speaking."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self, TypeAlias

from voicecall.ports import HangUp, PressKeys, ToolUse, Transfer
from voicecall.session.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from types import TracebackType

    from voicecall.clock import Clock
    from voicecall.ports import ReplyPart
    from voicecall.session.timing import TurnTiming

_log = logging.getLogger("voicecall.session")

_STEP_CHARACTERS = 500

Action: TypeAlias = PressKeys | Transfer | HangUp


class Reply:
    """Reads a reply, one stretch of text at a time: each ends where something is to be done.

    Used with `async with`, which stops the responder at the end.

    Args:
        parts: as the responder gives them.
        timeout_s: how long the next part may take.
        clock: for `timing`.
        timing: where the first text is noted.
        on_tool: told each use of a tool.

    Attributes:
        action: what is to be done once the last stretch was heard; None if nothing.
        over: whether no more follows.
        failed: whether the responder failed or took too long.
    """

    def __init__(
        self,
        parts: AsyncIterator[ReplyPart],
        timeout_s: float,
        clock: Clock,
        timing: TurnTiming,
        on_tool: Callable[[ToolUse], None],
    ) -> None:
        self._source = Source(parts, timeout_s)
        self._clock = clock
        self._timing = timing
        self._on_tool = on_tool
        self.action: Action | None = None
        self.over = False
        self.failed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._source.__aexit__(kind, error, traceback)
        except Exception:  # noqa: BLE001  (somebody else's code; what it had to say is said)
            _log.exception("the reply could not be closed")

    async def texts(self) -> AsyncGenerator[str]:
        """The pieces of text up to the next action, or to the end."""
        self.action = None
        try:
            async for part in self._source:
                match part:
                    case ToolUse():
                        self._on_tool(part)
                    case str():
                        self._note_first_token()
                        # A text of any length is taken in steps that other calls do not feel.
                        for start in range(0, len(part), _STEP_CHARACTERS):
                            yield part[start : start + _STEP_CHARACTERS]
                    case _:
                        self.action = part
                        self.over = not isinstance(part, PressKeys)
                        return
        except Exception:  # noqa: BLE001  (a request's boundary)
            # A responder may be anybody's code: whatever it raises, the caller gets an apology.
            _log.exception("the reply failed")
            self.failed = True
        self.over = True

    def _note_first_token(self) -> None:
        if self._timing.first_token_ns is None:
            self._timing.first_token_ns = self._clock.now_ns()
