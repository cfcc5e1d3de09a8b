"""An event loop whose time passes only when nothing else is left to do.

Minutes of deadlines and retries take milliseconds, and happen in the same order every time.
"""

from __future__ import annotations

import asyncio
import selectors
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from voicecall.clock import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

_BEGIN_S = 1000.0
_EPOCH_MS = 1_700_000_000_000
# How long one look at work of other threads takes at most; the work itself wakes the loop.
_REAL_WAIT_S = 0.05


class _Selector(selectors.DefaultSelector):
    """Lets time pass instead of waiting, unless another thread is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = _BEGIN_S
        self.outside = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.outside and timeout != 0:
            return super().select(_REAL_WAIT_S)
        ready = super().select(0)
        if not ready and timeout != 0:
            if timeout is None:
                raise RuntimeError("everybody waits for something that will never happen")
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a time of its own, which is a `Clock`, too."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s

    def now_ns(self) -> int:
        return round(self.time() * NS_PER_S)

    def wall_ms(self) -> int:
        return _EPOCH_MS + round((self.time() - _BEGIN_S) * NS_PER_S) // NS_PER_MS

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Time stands still meanwhile: what is waited for happens in another thread."""
        self._virtual.outside += 1
        try:
            yield
        finally:
            self._virtual.outside -= 1

    async def shutdown_default_executor(self) -> None:
        with self.outside():
            await super().shutdown_default_executor()


def loop() -> VirtualLoop:
    """The running loop."""
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


def run(case: Coroutine[Any, Any, None]) -> None:
    """Run a case from beginning to end in virtual time, and see that no task survives it."""

    async def whole() -> None:
        await case
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(whole())
