"""When audio was spoken, told from when it arrived: networks deliver late and in bursts."""

from __future__ import annotations

from collections import deque

from voicecall.clock import NS_PER_S

_WINDOW_NS = 2 * NS_PER_S


class Timeline:
    """Dates one call's audio by the least delayed of what has arrived lately.

    A second of audio that arrives all at once after a stall was still spoken during a second. Audio
    that never comes, as when the other side sends no silence, moves the timeline on within the
    window.

    Args:
        window_ns: how long what has arrived counts as lately.
    """

    def __init__(self, window_ns: int = _WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._position_ns = 0
        # (when it arrived, how far that was behind the position), the delay rising.
        self._delays: deque[tuple[int, int]] = deque()
        self._end_ns: int | None = None

    def date(self, duration_ns: int, arrived_ns: int) -> int:
        """When the end of the next `duration_ns` of audio was; never earlier than the last one.

        Args:
            duration_ns: how much audio has arrived.
            arrived_ns: when, on the monotonic clock.
        """
        self._position_ns += duration_ns
        delay_ns = arrived_ns - self._position_ns
        while self._delays and self._delays[-1][1] >= delay_ns:
            self._delays.pop()
        self._delays.append((arrived_ns, delay_ns))
        while self._delays[0][0] < arrived_ns - self._window_ns:
            self._delays.popleft()
        end_ns = self._position_ns + self._delays[0][1]
        self._end_ns = end_ns if self._end_ns is None else max(self._end_ns, end_ns)
        return self._end_ns
