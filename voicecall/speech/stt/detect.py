"""Looking for speech in one call's audio, on a thread that all calls share.

Audio goes from the event loop to the thread, and what is found there comes back; the loop waits for
neither.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat

_log = logging.getLogger("voicecall.speech")

_BACKLOG_MS = 2_000
# A thread is not woken for less than a detector's window.
_BATCH_MS = 32

T = TypeVar("T")


class Detection(Generic[T]):
    """One call's way through a detector.

    Overflow rule: of audio that waits for the thread two seconds are kept; beyond that the oldest
    is dropped and counted.

    Args:
        look: on the thread, given audio and when it came, says what it found.
        deliver: on the event loop, told what was found, in order, where it is anything.
        fail: on the event loop, told that `look` failed, or that the thread is gone.
        worker: the thread.
        clock: when audio arrives.
        audio: how it is coded.

    Attributes:
        dropped_octets: of audio that nobody looked at.
    """

    def __init__(
        self,
        look: Callable[[bytes, int], list[T]],
        deliver: Callable[[list[T]], None],
        fail: Callable[[SpeechError], None],
        *,
        worker: ThreadPoolExecutor,
        clock: Clock,
        audio: AudioFormat,
    ) -> None:
        # Its owner and what it looks with, until it is closed: they hold this object as well.
        self._told: (
            tuple[
                Callable[[bytes, int], list[T]],
                Callable[[list[T]], None],
                Callable[[SpeechError], None],
            ]
            | None
        ) = look, deliver, fail
        self._worker = worker
        self._clock = clock
        self._max_backlog_octets = _BACKLOG_MS * audio.octets_per_second // 1000
        self._batch_octets = _BATCH_MS * audio.octets_per_second // 1000
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._backlog: deque[tuple[bytes, int]] = deque()
        self._backlog_octets = 0
        self._looking = False
        self.dropped_octets = 0

    def push(self, audio: bytes) -> None:
        """Look at more audio. Never blocks."""
        told = self._told
        if told is None:
            return
        with self._lock:
            self._backlog.append((audio, self._clock.now_ns()))
            self._backlog_octets += len(audio)
            while self._backlog_octets > self._max_backlog_octets:
                oldest, _ = self._backlog.popleft()
                self._backlog_octets -= len(oldest)
                self.dropped_octets += len(oldest)
            if self._looking or self._backlog_octets < self._batch_octets:
                return
            self._looking = True
        try:
            self._worker.submit(self._look)
        except RuntimeError:
            told[2](SpeechError("the engine of this speech recognition is closed"))

    def close(self) -> None:
        """Look at nothing more; what is found from now on is told to nobody."""
        self._told = None

    def _look(self) -> None:
        """On the thread: look through everything that waits; after a failure never again."""
        while (told := self._told) is not None and (backlog := self._take_backlog()):
            look, deliver, fail = told
            try:
                for audio, arrived_ns in backlog:
                    if found := look(audio, arrived_ns):
                        self._to_loop(deliver, found)
            except Exception as error:  # noqa: BLE001  (a thread's boundary: told to the owner)
                _log.warning("voice activity detection failed", exc_info=error)
                self._to_loop(fail, SpeechError("voice activity detection failed"))
                return

    def _take_backlog(self) -> list[tuple[bytes, int]]:
        with self._lock:
            backlog = list(self._backlog)
            self._backlog.clear()
            self._backlog_octets = 0
            self._looking = bool(backlog)
            return backlog

    def _to_loop(self, call: Callable[[Any], None], argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(self._hand_over, call, argument)
        except RuntimeError:
            # The loop has been closed before the owner was; nobody is left to tell.
            self._told = None

    def _hand_over(self, call: Callable[[Any], None], argument: object) -> None:
        if self._told is not None:
            call(argument)
