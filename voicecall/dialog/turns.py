"""Whose turn it is to speak: a table, told what happens and asked nothing else.

The machine knows what the caller does (silent or speaking) and what the bot does (silent, playing,
or playing something protected), and says when the bot has to stop and when the caller has had a
turn. It reads no clock: times come with the inputs, and `deadline_ns` says when it wants to be
asked again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TypeAlias

from voicecall.errors import IllegalTransition

_NS_PER_MS = 1_000_000
_RECHECK_MS = 100

# What people say to show that they listen; it asks for nothing.
_BACK_CHANNEL = frozenset(
    re.findall(
        r"\w+",
        "ah aha alright cool fine good got great hm hmm huh i it mhm mm mmhmm mmm nice oh ok okay "
        "really right see sure true uh um wow yeah yep yes yup",
    )
)
# Greetings cross on the line: an answer to the bot's own greeting is no interruption either.
_GREETING = frozenset({"hello", "hi", "hey", "hallo"})
_WORD = re.compile(r"[\w']+")


class TurnState(StrEnum):
    """Who is speaking."""

    IDLE = auto()
    """Nobody."""
    HEARING = auto()
    """The caller."""
    PLAYING = auto()
    """The bot."""
    OVERLAP = auto()
    """Both; not certain yet that the caller means to interrupt."""
    GREETING = auto()
    """The bot, and it may not be interrupted."""
    GREETING_OVERLAP = auto()
    """Both, and the bot may not be interrupted."""


class TurnInput(StrEnum):
    """What can happen."""

    STARTED = auto()
    """The caller began to speak."""
    STOPPED = auto()
    """The caller stopped."""
    WORDS = auto()
    """A partial transcript with words that mean something."""
    ELAPSED = auto()
    """The caller has been speaking for long enough, loud enough, to mean it."""
    TURN = auto()
    """A final transcript with words that mean something."""
    BACK_CHANNEL = auto()
    """A final transcript of nothing but a murmur of assent."""
    KEY = auto()
    """The caller pressed a key."""
    PLAY = auto()
    """The bot's audio began to play."""
    PLAY_PROTECTED = auto()
    """Likewise, and it may not be interrupted."""
    PLAYED = auto()
    """The bot's audio ended, or was cut."""


class _Action(StrEnum):
    NOTHING = auto()
    INTERRUPT = auto()
    TURN = auto()
    INTERRUPT_AND_TURN = auto()


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop speaking at once; forget what was about to be said."""


@dataclass(frozen=True, slots=True)
class UserTurn:
    """The caller has said something that wants an answer."""

    text: str


TurnOutput: TypeAlias = Interrupt | UserTurn

_S, _I, _A = TurnState, TurnInput, _Action
_NO, _CUT, _TURN, _BOTH = _A.NOTHING, _A.INTERRUPT, _A.TURN, _A.INTERRUPT_AND_TURN

TRANSITIONS: dict[tuple[TurnState, TurnInput], tuple[_Action, TurnState]] = {
    # State: IDLE. A final transcript may come long after the caller stopped, and so may the end of
    # a playback that was cut.
    (_S.IDLE, _I.STARTED): (_NO, _S.HEARING),
    (_S.IDLE, _I.STOPPED): (_NO, _S.IDLE),
    (_S.IDLE, _I.WORDS): (_NO, _S.IDLE),
    (_S.IDLE, _I.ELAPSED): (_NO, _S.IDLE),
    (_S.IDLE, _I.TURN): (_TURN, _S.IDLE),
    (_S.IDLE, _I.BACK_CHANNEL): (_TURN, _S.IDLE),
    (_S.IDLE, _I.KEY): (_NO, _S.IDLE),
    (_S.IDLE, _I.PLAY): (_NO, _S.PLAYING),
    (_S.IDLE, _I.PLAY_PROTECTED): (_NO, _S.GREETING),
    (_S.IDLE, _I.PLAYED): (_NO, _S.IDLE),
    # State: HEARING, only the caller speaks.
    (_S.HEARING, _I.STARTED): (_NO, _S.HEARING),
    (_S.HEARING, _I.STOPPED): (_NO, _S.IDLE),
    (_S.HEARING, _I.WORDS): (_NO, _S.HEARING),
    (_S.HEARING, _I.ELAPSED): (_NO, _S.HEARING),
    (_S.HEARING, _I.TURN): (_TURN, _S.HEARING),
    (_S.HEARING, _I.BACK_CHANNEL): (_TURN, _S.HEARING),
    (_S.HEARING, _I.KEY): (_NO, _S.HEARING),
    (_S.HEARING, _I.PLAY): (_NO, _S.OVERLAP),
    (_S.HEARING, _I.PLAY_PROTECTED): (_NO, _S.GREETING_OVERLAP),
    (_S.HEARING, _I.PLAYED): (_NO, _S.HEARING),
    # State: PLAYING. Recognisers without voice activity give words and no start.
    (_S.PLAYING, _I.STARTED): (_NO, _S.OVERLAP),
    (_S.PLAYING, _I.STOPPED): (_NO, _S.PLAYING),
    (_S.PLAYING, _I.WORDS): (_CUT, _S.HEARING),
    (_S.PLAYING, _I.ELAPSED): (_NO, _S.PLAYING),
    (_S.PLAYING, _I.TURN): (_BOTH, _S.IDLE),
    (_S.PLAYING, _I.BACK_CHANNEL): (_NO, _S.PLAYING),
    (_S.PLAYING, _I.KEY): (_CUT, _S.IDLE),
    (_S.PLAYING, _I.PLAYED): (_NO, _S.IDLE),
    # State: OVERLAP, both speak.
    (_S.OVERLAP, _I.STARTED): (_NO, _S.OVERLAP),
    (_S.OVERLAP, _I.STOPPED): (_NO, _S.PLAYING),
    (_S.OVERLAP, _I.WORDS): (_CUT, _S.HEARING),
    (_S.OVERLAP, _I.ELAPSED): (_CUT, _S.HEARING),
    (_S.OVERLAP, _I.TURN): (_BOTH, _S.HEARING),
    (_S.OVERLAP, _I.BACK_CHANNEL): (_NO, _S.OVERLAP),
    (_S.OVERLAP, _I.KEY): (_CUT, _S.HEARING),
    (_S.OVERLAP, _I.PLAYED): (_NO, _S.HEARING),
    # State: GREETING, the bot may not be interrupted.
    (_S.GREETING, _I.STARTED): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING, _I.STOPPED): (_NO, _S.GREETING),
    (_S.GREETING, _I.WORDS): (_NO, _S.GREETING),
    (_S.GREETING, _I.ELAPSED): (_NO, _S.GREETING),
    (_S.GREETING, _I.TURN): (_TURN, _S.GREETING),
    (_S.GREETING, _I.BACK_CHANNEL): (_NO, _S.GREETING),
    (_S.GREETING, _I.KEY): (_NO, _S.GREETING),
    (_S.GREETING, _I.PLAYED): (_NO, _S.IDLE),
    # State: GREETING_OVERLAP, nor while both speak.
    (_S.GREETING_OVERLAP, _I.STARTED): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.STOPPED): (_NO, _S.GREETING),
    (_S.GREETING_OVERLAP, _I.WORDS): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.ELAPSED): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.TURN): (_TURN, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.BACK_CHANNEL): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.KEY): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.PLAYED): (_NO, _S.HEARING),
    # Absent: PLAY and PLAY_PROTECTED while the bot is playing. One thing is said at a time.
}


@dataclass(frozen=True, slots=True)
class BargeIn:
    """When the caller's speech stops the bot's.

    Attributes:
        enabled: False lets the bot always finish.
        min_speech_ms: how long the caller has to speak over the bot; echo and coughs are shorter.
        min_level_dbfs: how loud the caller has to be; echo and far voices are softer.
    """

    enabled: bool = True
    min_speech_ms: int = 200
    min_level_dbfs: float = -45.0


class Turns:
    """The turn-taking of one call.

    Args:
        barge_in: when the caller's speech stops the bot's.
    """

    def __init__(self, barge_in: BargeIn | None = None) -> None:
        self._barge_in = barge_in or BargeIn()
        self._state = TurnState.IDLE
        self._speech_ns = 0
        self._deadline_ns: int | None = None

    @property
    def state(self) -> TurnState:
        """Who is speaking."""
        return self._state

    @property
    def deadline_ns(self) -> int | None:
        """When `elapsed` is to be called, on the monotonic clock; None while nothing is awaited."""
        return self._deadline_ns

    def speech_started(self, at_ns: int) -> tuple[TurnOutput, ...]:
        """The caller began to speak at `at_ns`."""
        self._speech_ns = at_ns
        return self._take(TurnInput.STARTED, at_ns)

    def speech_stopped(self) -> tuple[TurnOutput, ...]:
        """The caller stopped speaking."""
        return self._take(TurnInput.STOPPED)

    def partial(self, text: str) -> tuple[TurnOutput, ...]:
        """`text` is what the caller seems to be saying."""
        return self._take(TurnInput.WORDS) if self._means_something(text) else ()

    def final(self, text: str) -> tuple[TurnOutput, ...]:
        """`text` is what the caller said; empty text is nothing."""
        if not text.strip():
            return ()
        kind = TurnInput.TURN if self._means_something(text) else TurnInput.BACK_CHANNEL
        return self._take(kind, text=text)

    def key_pressed(self) -> tuple[TurnOutput, ...]:
        """The caller pressed a key."""
        return self._take(TurnInput.KEY)

    def bot_started(self, now_ns: int, *, protected: bool = False) -> tuple[TurnOutput, ...]:
        """The bot's audio began to play at `now_ns`; `protected`: it may not be interrupted."""
        # Speech that was going on before counts from where the two overlap.
        self._speech_ns = now_ns
        protected = protected or not self._barge_in.enabled
        return self._take(TurnInput.PLAY_PROTECTED if protected else TurnInput.PLAY, now_ns)

    def bot_finished(self) -> tuple[TurnOutput, ...]:
        """The bot's audio ended, or was cut."""
        return self._take(TurnInput.PLAYED)

    def elapsed(self, now_ns: int, level_dbfs: float) -> tuple[TurnOutput, ...]:
        """Time has passed.

        Args:
            now_ns: the monotonic time now.
            level_dbfs: how loud the caller has been lately.
        """
        if self._deadline_ns is None or now_ns < self._deadline_ns:
            return ()
        if level_dbfs < self._barge_in.min_level_dbfs:
            self._deadline_ns = now_ns + _RECHECK_MS * _NS_PER_MS
            return ()
        return self._take(TurnInput.ELAPSED)

    def _means_something(self, text: str) -> bool:
        known = _BACK_CHANNEL
        if self._state in (TurnState.GREETING, TurnState.GREETING_OVERLAP):
            known = _BACK_CHANNEL | _GREETING
        return any(word not in known for word in _WORD.findall(text.lower()))

    def _take(
        self, happened: TurnInput, at_ns: int | None = None, text: str = ""
    ) -> tuple[TurnOutput, ...]:
        transition = TRANSITIONS.get((self._state, happened))
        if transition is None:
            raise IllegalTransition(f"{happened} while {self._state}")
        action, state = transition
        if state is not TurnState.OVERLAP:
            self._deadline_ns = None
        elif self._state is not TurnState.OVERLAP and at_ns is not None:
            self._deadline_ns = self._speech_ns + self._barge_in.min_speech_ms * _NS_PER_MS
        self._state = state
        outputs: list[TurnOutput] = []
        if action in (_CUT, _BOTH):
            outputs.append(Interrupt())
        if action in (_TURN, _BOTH):
            outputs.append(UserTurn(text.strip()))
        return tuple(outputs)
