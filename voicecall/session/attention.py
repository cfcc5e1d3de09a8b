"""What of the caller's audio and words is the caller, while the bot speaks and shortly after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.dialog.activity import Activity
from voicecall.dialog.echo import without_echo
from voicecall.dialog.loudness import BLOCK_MS, Loudness

if TYPE_CHECKING:
    from voicecall.clock import Clock
    from voicecall.dialog.turns import BargeIn
    from voicecall.ports import AudioFormat
    from voicecall.session.speak import PathSpeech

_BATCH_MS: Final = 100
# Echo comes up to half a second late; what begins later is none.
_LATEST_ECHO_NS = 600 * NS_PER_MS
# Its transcript comes once the recogniser has waited for more and decoded it. So long the bot's
# words are remembered, and the levels followed.
_REMEMBERED_NS = 4 * NS_PER_S
# With so much that was no echo the words are the caller's, but for what plainly is the bot's.
_PLENTY_MS = 700
_PLAIN_RUN = 3
# With less than this they are the bot's. Echo is badly understood, so that if so much of it is what
# the bot said, the rest was that as well.
_NEXT_TO_NOTHING_MS = 100
_ECHO_SHARE = 0.25
# So long after the bot went on, words may come that were said before.
_SLOW_WORDS_NS = 500 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class Words:
    """What the caller said.

    Attributes:
        text: may be empty.
        doubtful: whether some of it may be the bot's voice, misunderstood.
    """

    text: str
    doubtful: bool = False


class Attention:
    """Compares what comes in with what goes out on one call.

    Costs nothing while the bot is silent, and little while it speaks: levels are measured a tenth
    of a second at a time.

    Args:
        heard: how the caller's audio is coded.
        rules: when the caller's speech stops the bot's.
        clock: the time.
    """

    def __init__(self, heard: AudioFormat, rules: BargeIn, clock: Clock) -> None:
        self._clock = clock
        self._loudness = Loudness(heard)
        self._activity = Activity(rules.min_level_dbfs, rules.echo_margin_db)
        self._batch_octets = heard.octets_per_second * _BATCH_MS // 1000
        self._waiting = bytearray()
        self._speech: PathSpeech | None = None
        self._after_blocks = 0
        self._said = ""
        self._said_ns = 0
        self._alarm_ns = 0

    def attend(self, speech: PathSpeech | None) -> None:
        """`speech` begins to be heard; None when it is over."""
        self.look()
        if speech is None and self._speech is not None:
            self._said, self._said_ns = self._speech.lately(), self._clock.now_ns()
            self._after_blocks = _REMEMBERED_NS // (BLOCK_MS * NS_PER_MS)
        self._speech = speech

    def hear(self, audio: bytes) -> None:
        """More of the caller's audio has come."""
        if self._speech is None and not self._after_blocks:
            return
        self._waiting += audio
        if len(self._waiting) >= self._batch_octets:
            self.look()

    def look(self) -> Activity:
        """How loud the caller has been up to now."""
        if heard := self._loudness.feed(bytes(self._waiting)):
            sent = [] if self._speech is None else self._speech.levels(len(heard))
            self._activity.feed(sent, heard, self._clock.now_ns())
            if self._speech is None:
                self._after_blocks = max(0, self._after_blocks - len(heard))
        self._waiting.clear()
        return self._activity

    def false_alarm(self) -> None:
        """What made the bot fall silent was nobody: it proves no words that come from now on.

        If it was echo, less is known of that than was thought.
        """
        self._activity.echo.doubt()
        self._alarm_ns = self._clock.now_ns()

    def words(self, text: str, since_ns: int) -> Words:
        """What of `text` the caller said: all of it, or less if it repeats the bot.

        Args:
            text: as the recogniser understood it.
            since_ns: when that speech began.
        """
        said = self._lately_said(since_ns)
        if not said or not self.look().echo.audible:
            return Words(text)
        # Detectors may say late that speech began.
        own_ms = self._activity.own_ms(max(since_ns - _BATCH_MS * NS_PER_MS, self._proven_ns()))
        if own_ms >= _PLENTY_MS:
            rest = without_echo(text, said, _PLAIN_RUN)
            return Words(rest, doubtful=rest != text)
        rest = without_echo(text, said, 1)
        if own_ms >= _NEXT_TO_NOTHING_MS:
            # Who is asked "tea or coffee?" says one of the bot's words, once it has ended.
            after = self._speech is None and since_ns >= self._said_ns
            return Words(text if after else rest, doubtful=True)
        repeated = len(rest.split()) <= (1 - _ECHO_SHARE) * len(text.split())
        return Words("" if repeated else text, doubtful=True)

    def _proven_ns(self) -> int:
        """Since when what is no echo proves the words that come now."""
        slow = self._clock.now_ns() - self._alarm_ns <= _SLOW_WORDS_NS
        return 0 if slow else self._alarm_ns

    def _lately_said(self, since_ns: int) -> str:
        """What of the bot's words may have come back in speech that began at `since_ns`."""
        ago_ns = self._clock.now_ns() - self._said_ns
        recent = since_ns <= self._said_ns + _LATEST_ECHO_NS and ago_ns <= _REMEMBERED_NS
        before = self._said if recent else ""
        return before if self._speech is None else f"{before} {self._speech.lately()}"
