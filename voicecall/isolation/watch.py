"""Notices that an event loop is blocked, while it is, and says by which code.

A loop under watch leaves a heartbeat every 25 ms. One thread looks at all heartbeats, each time
when one can be overdue, some 15 times a second; where one is, it takes down what the loop's thread
is doing. Beats and looks together cost less than a hundredth of a core. When the heart beats again
the loop itself measures how long it was silent, so that a report is exact and needs no lock. A loop
that is still silent after a second is reported by the thread: it may never come back.

Reports name code only: file, line and function, never values.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voicecall.clock import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from voicecall.clock import Clock

log = logging.getLogger("voicecall.isolation")

BEAT_MS = 25
LOOK_S = 0.005
REST_S = 0.05
STUCK_MS = 1000
LOG_EVERY_NS = NS_PER_S
MAX_FRAMES = 16
MAX_OTHERS = 8


@dataclass(frozen=True, slots=True)
class Blocked:
    """An event loop did nothing for a while.

    Attributes:
        loop: its name.
        blocked_ms: how long.
        cpu_ms: how much its thread computed meanwhile; near zero when it slept, waited for another
            thread or was not given a processor.
        stack: what its thread was doing, innermost first, as `file:line:function`; empty when it
            was over before anybody looked.
        others: what other threads were doing when the loop's thread was in no code of its own: one
            of them may have held the interpreter.
    """

    loop: str
    blocked_ms: float
    cpu_ms: float
    stack: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(slots=True)
class _Sight:
    """What was seen of a silent loop."""

    stack: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Heartbeat:
    """One loop's sign of life; made by `LoopWatch.attach` in that loop.

    Args:
        name: of the loop.
        clock: the time.
        threshold_ms: a silence longer than this is told.
        on_blocked: told of it, in the loop.
        on_beat: called with every beat, in the loop.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        threshold_ms: float,
        on_blocked: Callable[[Blocked], None],
        on_beat: Callable[[], None] | None,
    ) -> None:
        self.name = name
        self.thread_id = threading.get_ident()
        self.beat_ns = clock.now_ns()
        self.sight: _Sight | None = None
        self.stuck = False
        self._clock = clock
        self._threshold_ms = threshold_ms
        self._on_blocked = on_blocked
        self._on_beat = on_beat
        self._cpu_ns = time.thread_time_ns()
        self._log = _RateLimit(clock)
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._schedule()

    def silent_ns(self) -> int:
        """How much longer than a beat it has been silent. Any thread."""
        return self._clock.now_ns() - self.beat_ns - BEAT_MS * NS_PER_MS

    def stop(self) -> None:
        """Beat no more. In the loop."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self) -> None:
        self._handle = self._loop.call_later(BEAT_MS / 1000, self._beat)

    def _beat(self) -> None:
        blocked_ms = self.silent_ns() / NS_PER_MS
        cpu_ns = time.thread_time_ns()
        self.beat_ns = self._clock.now_ns()
        sight, self.sight = self.sight, None
        self.stuck = False
        if blocked_ms > self._threshold_ms:
            # Whoever held the interpreter kept the watch from looking, too; it is still there now.
            sight = sight or _Sight((), _others(sys._current_frames()))  # noqa: SLF001  (documented)
            cpu_ms = (cpu_ns - self._cpu_ns) / NS_PER_MS
            self._tell(Blocked(self.name, blocked_ms, cpu_ms, sight.stack, sight.others))
        if self._on_beat is not None:
            # What takes long in here was meant to, at a moment when nobody minds.
            self._on_beat()
            self.beat_ns = self._clock.now_ns()
        self._cpu_ns = cpu_ns
        self._schedule()

    def _tell(self, blocked: Blocked) -> None:
        suppressed = self._log.passes()
        if suppressed is not None:
            log.warning(
                "an event loop was blocked",
                extra={
                    "loop": blocked.loop,
                    "blocked_ms": round(blocked.blocked_ms, 1),
                    "cpu_ms": round(blocked.cpu_ms, 1),
                    "blocked_in": " < ".join(blocked.stack),
                    "other_threads": " | ".join(blocked.others),
                    "unreported": suppressed,
                },
            )
        self._on_blocked(blocked)


@dataclass(slots=True)
class _RateLimit:
    """Lets one record a second pass and counts the others."""

    clock: Clock
    _next_ns: int = 0
    _suppressed: int = 0

    def passes(self) -> int | None:
        """How many were held back before this one; None to hold this one back."""
        now_ns = self.clock.now_ns()
        if now_ns < self._next_ns:
            self._suppressed += 1
            return None
        self._next_ns = now_ns + LOG_EVERY_NS
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


@dataclass
class LoopWatch:
    """Watches event loops from a thread of its own.

    Attributes:
        clock: the time.
        on_blocked: told of each silence over the threshold, in the loop that was blocked.
        threshold_ms: what is no cause for a report: well below what audio sent ahead covers.
    """

    clock: Clock
    on_blocked: Callable[[Blocked], None] = lambda _: None
    threshold_ms: float = 50.0
    _hearts: tuple[Heartbeat, ...] = ()
    _changing: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def attach(self, name: str, on_beat: Callable[[], None] | None = None) -> Heartbeat:
        """Watch the running loop from now on.

        Args:
            name: what reports call it.
            on_beat: called in the loop with every beat, 40 times a second.
        """
        heart = Heartbeat(name, self.clock, self.threshold_ms, self.on_blocked, on_beat)
        with self._changing:
            self._hearts = (*self._hearts, heart)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look, name="voicecall-watch", daemon=True
                )
                self._thread.start()
        return heart

    def detach(self, heart: Heartbeat) -> None:
        """Watch a loop no longer. In that loop."""
        heart.stop()
        with self._changing:
            self._hearts = tuple(each for each in self._hearts if each is not heart)

    def close(self) -> None:
        """End the thread; all loops have been detached."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        wait_s = REST_S
        while not self._stop.wait(wait_s):
            wait_s = min((self._look_at(heart) for heart in self._hearts), default=REST_S)

    def _look_at(self, heart: Heartbeat) -> float:
        """Take note of a heart that is silent; when to look again, in seconds."""
        silent_ms = heart.silent_ns() / NS_PER_MS
        if silent_ms <= self.threshold_ms:
            # Not before it can be overdue: every look takes the interpreter for a moment.
            return max((self.threshold_ms - silent_ms) / 1000, LOOK_S)
        if heart.sight is None:
            heart.sight = _sight_of(heart.thread_id)
        if silent_ms > STUCK_MS and not heart.stuck:
            heart.stuck = True
            _report_stuck(heart.name, silent_ms, heart.sight)
        return REST_S


def _report_stuck(name: str, silent_ms: float, sight: _Sight) -> None:
    log.warning(
        "an event loop is blocked and has not come back yet",
        extra={
            "loop": name,
            "blocked_ms": round(silent_ms),
            "blocked_in": " < ".join(sight.stack),
            "other_threads": " | ".join(sight.others),
        },
    )


def _sight_of(thread_id: int) -> _Sight:
    """What the loop's thread is doing; what the others do when it is in the loop itself."""
    frames = sys._current_frames()  # noqa: SLF001  (documented; the only way to see another thread)
    # A frame that knows itself is a cycle, and with it whatever the loop is at work on.
    del frames[threading.get_ident()]
    frame = frames.pop(thread_id, None)
    if frame is None:
        return _Sight()
    # Lists first: a tuple that still grows must not be seen by gc.get_objects() in another thread.
    codes = [_code(each) for each in _outwards(frame)]
    stack = tuple(codes[:MAX_FRAMES])
    if not _is_loop(frame):
        return _Sight(stack)
    return _Sight(stack, _others(frames))


def _others(frames: dict[int, FrameType]) -> tuple[str, ...]:
    """What threads are doing."""
    codes = [_code(each) for each in frames.values()]
    return tuple(codes[:MAX_OTHERS])


def _is_loop(frame: FrameType) -> bool:
    """Whether nothing runs in the loop: its thread is in asyncio's code, or just took over."""
    module = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in ("asyncio", "selectors", "uvloop")


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _code(frame: FrameType) -> str:
    code = frame.f_code
    folder, file = os.path.split(code.co_filename)
    return f"{os.path.basename(folder)}/{file}:{frame.f_lineno}:{code.co_qualname}"
