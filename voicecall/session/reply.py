"""One reply of the responder: its text as it comes, and what else it asks for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from voicecall.ports import HangUp
from voicecall.session.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from voicecall.clock import Clock
    from voicecall.ports import ReplyPart
    from voicecall.session.timing import TurnTiming

_log = logging.getLogger("voicecall.session")

_STEP_CHARACTERS = 500


class Reply:
    """Reads a reply.

    Args:
        parts: as the responder gives them.
        timeout_s: how long the next part may take.
        clock: for `timing`.
        timing: where the first text is noted.
    """

    def __init__(
        self, parts: AsyncIterator[ReplyPart], timeout_s: float, clock: Clock, timing: TurnTiming
    ) -> None:
        self._parts = parts
        self._timeout_s = timeout_s
        self._clock = clock
        self._timing = timing
        self.hang_up = False
        """Whether the call is to end once everything before was heard."""
        self.failed = False
        """Whether the responder failed or took too long."""

    async def texts(self) -> AsyncGenerator[str]:
        """The pieces of text, until the reply ends, hangs up or fails."""
        try:
            async with Source(self._parts, self._timeout_s) as parts:
                async for part in parts:
                    if isinstance(part, HangUp):
                        self.hang_up = True
                        return
                    if self._timing.first_token_ns is None:
                        self._timing.first_token_ns = self._clock.now_ns()
                    # A text of any length is taken in steps that other calls do not feel.
                    for start in range(0, len(part), _STEP_CHARACTERS):
                        yield part[start : start + _STEP_CHARACTERS]
        except Exception:  # noqa: BLE001  (a request's boundary)
            # A responder may be anybody's code: whatever it raises, the caller gets an apology.
            _log.exception("the reply failed")
            self.failed = True
