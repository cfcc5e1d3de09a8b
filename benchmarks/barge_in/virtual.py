"""Time that passes only while nobody works: minutes of calls in seconds, the same every time."""

from __future__ import annotations

import asyncio
import selectors
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from voicecall.clock import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")

_START_S = 1000.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose waiting takes no time."""

    def __init__(self) -> None:
        self._selector_of_time = _NoWaiting()
        super().__init__(self._selector_of_time)
        self.set_default_executor(InlineExecutor())

    def time(self) -> float:
        """The virtual time in seconds."""
        return self._selector_of_time.now_s


class VirtualClock:
    """The running virtual loop's time, as a `clock.Clock`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""
        return round(self._loop.time() * NS_PER_S)

    def wall_ms(self) -> int:
        """Milliseconds since some epoch."""
        return round(self._loop.time() * 1000)


class InlineExecutor(ThreadPoolExecutor):
    """Does its work at once, in the thread that asks: it takes no virtual time."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it."""
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  (handed to whoever waits, as a pool does)
            done.set_exception(error)
        return done


class _NoWaiting(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = _START_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError("everybody waits, and nothing is going to happen")
        if not events and timeout is not None:
            self.now_s += max(0.0, timeout)
        return events


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
