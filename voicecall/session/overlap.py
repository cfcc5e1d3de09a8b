"""Whether a caller who speaks over a reply means to interrupt it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicecall.clock import NS_PER_MS

if TYPE_CHECKING:
    from voicecall.dialog.turns import BargeIn

_RECHECK_NS = 100 * NS_PER_MS


class Overlap:
    """Decides by how long and how loud the caller speaks while the model does. Reads no clock.

    That is all there is to go by, and all that has to be decided: whose turn it is the model knows
    by itself, and transcripts come too late to tell, often after the answer has begun.

    Args:
        rules: when the caller's speech stops the bot's.
    """

    def __init__(self, rules: BargeIn) -> None:
        self._rules = rules
        self._caller_since_ns: int | None = None
        self._bot_since_ns: int | None = None
        self._recheck_ns: int | None = None

    @property
    def deadline_ns(self) -> int | None:
        """When to ask `interrupts`, on the monotonic clock; None while nothing is to be decided."""
        if self._caller_since_ns is None or self._bot_since_ns is None:
            return None
        if self._recheck_ns is not None:
            return self._recheck_ns
        # Speech that was going on before counts from where the two overlap.
        since_ns = max(self._caller_since_ns, self._bot_since_ns)
        return since_ns + self._rules.min_speech_ms * NS_PER_MS

    def speech_started(self, at_ns: int) -> None:
        """The caller began to speak at `at_ns`."""
        if self._caller_since_ns is None:
            self._caller_since_ns = at_ns
            self._recheck_ns = None

    def speech_stopped(self) -> None:
        """The caller stopped speaking."""
        self._caller_since_ns = None

    def bot_started(self, now_ns: int, *, protected: bool) -> None:
        """A reply began to play; `protected`: it may not be interrupted."""
        if self._rules.enabled and not protected:
            self._bot_since_ns = now_ns
            self._recheck_ns = None

    def bot_finished(self) -> None:
        """It ended, or was cut."""
        self._bot_since_ns = None

    def interrupts(self, now_ns: int, level_dbfs: float) -> bool:
        """Whether the reply has to stop now.

        Args:
            now_ns: the monotonic time now.
            level_dbfs: how loud the caller has been lately; echo and far voices are softer.
        """
        deadline_ns = self.deadline_ns
        if deadline_ns is None or now_ns < deadline_ns:
            return False
        if level_dbfs < self._rules.min_level_dbfs:
            self._recheck_ns = now_ns + _RECHECK_NS
            return False
        return True
