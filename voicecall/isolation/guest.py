"""Code that is not ours, run where it can do no harm: in a thread of its own.

What a user supplies may sleep, compute or flood; on the event loop every call would wait for it. A
`Guest` is a thread with an event loop for asynchronous code; blocking functions get a thread each.
Only the interpreter is shared, and of that the event loop takes its turn twice in a millisecond.

Nothing here waits for a guest without a limit: what does not end in time is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from concurrent.futures import Future

    from voicecall.isolation.watch import Heartbeat, LoopWatch

log = logging.getLogger("voicecall.isolation")

AHEAD = 8
MAX_BLOCKING = 64
END_TIMEOUT_S = 2.0

T = TypeVar("T")
_END: Final = object()


class Guest:
    """A thread with an event loop for one piece of foreign code; begins with its first work.

    Overflow rule: at most 8 items of an iteration wait to be taken; then it is not read on. At most
    64 blocking functions run at a time; one more is refused.

    Args:
        name: of the thread; `voicecall-` is put in front.
        watch: tells when its loop is blocked.
    """

    def __init__(self, name: str, watch: LoopWatch) -> None:
        self.name = name
        self._watch = watch
        self._heart: Heartbeat | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = threading.Event()
        self._blocking = 0
        self._thread = threading.Thread(target=self._live, name=f"voicecall-{name}", daemon=True)

    def start(self) -> None:
        """Begin, unless it has begun; returns when its loop runs, after about a millisecond."""
        if self._loop is None:
            self._thread.start()
            self._running.wait()

    async def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """The result of `work`, which is run by the guest's loop.

        Raises:
            TimeoutError: it took longer than `timeout_s`; it is cancelled.
        """
        async with asyncio.timeout(timeout_s):
            return await asyncio.wrap_future(self._begin(work))

    def soon(self, call: Callable[[], object]) -> None:
        """Have the guest's loop call `call`; never waits. Does nothing after the end."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)

    async def iterate(
        self, make: Callable[[], AsyncIterator[T] | Iterator[T]]
    ) -> AsyncGenerator[T]:
        """The items of `make()`, which is made and read by the guest.

        An ordinary iterator may block: it is read in threads of its own, one at a time, so that it
        keeps nobody else's from going on. Closing this generator stops the reading at the next item
        and does not wait for it.
        """
        home = asyncio.get_running_loop()
        items: asyncio.Queue[object] = asyncio.Queue()
        room = asyncio.Semaphore(AHEAD)

        def deliver(item: object) -> None:
            # The server's loop may be gone before a guest takes notice.
            with contextlib.suppress(RuntimeError):
                home.call_soon_threadsafe(items.put_nowait, item)

        reading = self._begin(self._read(make, room, deliver))
        reading.add_done_callback(lambda _: deliver(_END))
        try:
            while (item := await items.get()) is not _END:
                self.soon(room.release)
                yield cast("T", item)
            reading.result()
        finally:
            reading.cancel()

    async def blocking(self, work: Callable[[], T]) -> T:
        """The result of a function that may block, run in a thread of its own. In the guest's loop.

        When nobody waits for it any more it goes on until it returns.

        Raises:
            SpeechError: 64 are running already.
        """
        if self._blocking >= MAX_BLOCKING:
            raise SpeechError("too many blocking functions have not returned", retryable=True)
        self._blocking += 1
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(settled: Callable[[Any], None], outcome: object) -> None:
            self._blocking -= 1
            if not done.done():
                settled(outcome)

        def call() -> None:
            settled: Callable[[Any], None]
            outcome: object
            try:
                settled, outcome = done.set_result, work()
            except Exception as error:  # noqa: BLE001  (a thread's boundary: handed to the caller)
                settled, outcome = done.set_exception, error
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, settled, outcome)

        threading.Thread(target=call, name=f"voicecall-{self.name}-call", daemon=True).start()
        return await done

    async def close(self) -> None:
        """Cancel what runs and end the thread; one that does not end within 2 s is left behind."""
        if self._loop is not None and self._thread.is_alive():
            self.soon(self._loop.stop)
            await asyncio.to_thread(self._thread.join, END_TIMEOUT_S)
            if self._thread.is_alive():
                log.warning("a guest does not end", extra={"guest": self.name})

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        self.start()
        try:
            return asyncio.run_coroutine_threadsafe(work, self._running_loop())
        except RuntimeError as error:
            work.close()
            raise SpeechError("the engine is not running") from error

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the guest has not begun")
        return self._loop

    def _live(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._loop.call_soon(self._begin_to_beat)
            try:
                self._loop.run_forever()
            finally:
                if self._heart is not None:
                    self._watch.detach(self._heart)

    def _begin_to_beat(self) -> None:
        self._heart = self._watch.attach(self.name)
        self._running.set()

    async def _read(
        self,
        make: Callable[[], AsyncIterator[T] | Iterator[T]],
        room: asyncio.Semaphore,
        deliver: Callable[[object], None],
    ) -> None:
        made = make()
        items = made if isinstance(made, AsyncIterator) else self._in_threads(iter(made))
        try:
            async for item in items:
                await room.acquire()
                deliver(item)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _in_threads(self, items: Iterator[T]) -> AsyncGenerator[T]:
        while (item := await self.blocking(lambda: next(items, _END))) is not _END:
            yield cast("T", item)
