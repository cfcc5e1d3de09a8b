"""When garbage is collected: never so that audio waits for it.

Reference counting frees a finished call at once, since calls leave no cycles. What remains for the
collector are the cycles of other people's code. A full collection looks at every object there is,
which with 3000 calls takes a third of a second; so none ever does while a call is up:

- At the start, what has been loaded is set aside (`gc.freeze`) for as long as the server runs.
- Whatever survives a full collection is set aside at once. The next one then only looks at what has
  come since; and it comes soon, after some seven thousand new objects, so that it takes less than
  10 ms whatever the number of calls. Objects that are set aside are still freed as soon as nobody
  refers to them.
- A cycle made of objects set aside is only found by `thorough`, which takes everything back first.
  It is for moments without a call.

The youngest generation is collected as always.
"""

from __future__ import annotations

import gc
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voicecall.clock import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.clock import Clock

log = logging.getLogger("voicecall.isolation")

OLDEST = 2
# New containers before the youngest generation is collected, youngest before the middle, middle
# before the oldest. Python's own 700, 10, 10 make a full collection, when 1000 calls come at once,
# look at 70 000 objects: 60 ms.
THRESHOLDS = (700, 5, 1)
LONG_MS = 10.0
IDLE_NS = 10 * NS_PER_S
_MAX_UNTOLD = 64


@dataclass(frozen=True, slots=True)
class Pause:
    """A collection during which nothing else ran.

    Attributes:
        generation: 0 to 2; 2 is a full collection.
        pause_ms: how long it took.
        freed: unreachable objects that it found.
        wanted: it was `thorough`, when no call was up.
    """

    generation: int
    pause_ms: float
    freed: int
    wanted: bool = False


@dataclass
class GarbagePolicy:
    """Rules the collector of this process, from `start` to `stop`.

    Attributes:
        clock: the time.
        on_pause: told of full collections and of long ones, by `beat`.
    """

    clock: Clock
    on_pause: Callable[[Pause], None] = lambda _: None
    _began_ns: int = 0
    # The newest ones; a collection may begin inside any function, so nothing is told from there.
    _untold: deque[Pause] = field(default_factory=lambda: deque(maxlen=_MAX_UNTOLD))
    _started: bool = False
    _usual: tuple[int, int, int] = THRESHOLDS
    _wanted: bool = False
    _used: bool = False
    _idle_since_ns: int | None = None

    def start(self) -> None:
        """Set aside what is there, and rule from now on."""
        gc.collect()
        gc.freeze()
        self._usual = gc.get_threshold()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._on_collection)
        self._started = True

    def stop(self) -> None:
        """Leave the collector as it was; what was set aside is ordinary again."""
        if self._started:
            self._started = False
            gc.set_threshold(*self._usual)
            gc.callbacks.remove(self._on_collection)
            gc.unfreeze()

    def beat(self, *, busy: bool) -> None:
        """Do what is due; to be called often by the event loop.

        Args:
            busy: whether a call is up. Ten seconds after the last one everything is looked at.
        """
        self._report()
        if busy:
            self._idle_since_ns = None
            self._used = True
            return
        now_ns = self.clock.now_ns()
        if self._idle_since_ns is None:
            self._idle_since_ns = now_ns
        elif self._used and now_ns - self._idle_since_ns > IDLE_NS:
            self._used = False
            self.thorough()

    def thorough(self) -> None:
        """Look at everything, also at what was set aside. Takes 50 ms and more: not during calls.

        Does nothing before `start` or after `stop`.
        """
        if self._started:
            gc.unfreeze()
            self._wanted = True
            gc.collect()
            self._wanted = False

    def _report(self) -> None:
        while self._untold:
            pause = self._untold.popleft()
            if pause.pause_ms > LONG_MS and not pause.wanted:
                log.warning(
                    "a garbage collection stopped everything",
                    extra={
                        "generation": pause.generation,
                        "pause_ms": round(pause.pause_ms, 1),
                        "freed": pause.freed,
                    },
                )
            self.on_pause(pause)

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_ns = self.clock.now_ns()
            return
        pause_ms = (self.clock.now_ns() - self._began_ns) / NS_PER_MS
        generation = info["generation"]
        if generation == OLDEST:
            gc.freeze()
        if generation == OLDEST or pause_ms > LONG_MS:
            self._untold.append(Pause(generation, pause_ms, info["collected"], self._wanted))
