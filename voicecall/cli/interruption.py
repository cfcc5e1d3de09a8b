"""Ctrl-C during a call: the first one hangs up, the second one leaves."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final, Self

from voicecall.errors import VoicecallError

if TYPE_CHECKING:
    from types import TracebackType

    from voicecall import Client
    from voicecall.cli.call_view import CallView

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Takes Ctrl-C, SIGTERM, and the end of the terminal, while a call is placed and held.

    A context manager, to be entered in the event loop.

    Args:
        view: told of it; it gives the terminal back before a second one ends the process.
    """

    def __init__(self, view: CallView) -> None:
        self._view = view
        self._asked = asyncio.Event()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._interrupt, number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def ask(self) -> None:
        """Ask for the call to be over, as the first Ctrl-C does."""
        self._asked.set()

    async def hang_up(self, client: Client, call_id: str) -> None:
        """Wait until that is asked for, and hang up. What the server says against it is shown."""
        await self._asked.wait()
        try:
            await client.end(call_id)
        except VoicecallError as error:
            self._view.note(f"hanging up failed: {error}")

    def _interrupt(self, number: signal.Signals) -> None:
        if not self._asked.is_set():
            self.ask()
            self._view.hanging_up()
            return
        self._view.end()
        # Whoever asks twice waits for nothing, not even for a server of ours to stop.
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
