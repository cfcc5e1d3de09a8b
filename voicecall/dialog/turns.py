"""Whose turn it is to speak: a table, told what happens and asked nothing else.

The machine knows what the caller does (silent or speaking) and what the bot does (silent, playing,
held, or playing something protected), and says when the bot has to stop and when the caller has had
a turn. It reads no clock: times come with the inputs, and `deadline_ns` says when it wants to be
asked again.

The bot gives way to a caller who speaks over it in two steps. Soon it falls silent, and keeps what
it was going to say: `Hold`. That costs a pause if it was a cough. Then either the caller means it,
as his words or his going on show, and the rest is forgotten: `Interrupt`; or he does not, and the
bot goes on where it was: `Resume`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Final, TypeAlias

from voicecall.errors import IllegalTransition

if TYPE_CHECKING:
    from voicecall.dialog.activity import Activity

_NS_PER_MS = 1_000_000
# How often it is looked whether the caller is loud, or silent again: at every block of audio.
_RECHECK_NS = 20 * _NS_PER_MS
# Detectors notice a soft beginning late, so that what came just before their start counts as well.
_ONSET_NS = 80 * _NS_PER_MS
# A caller who has said nothing but a murmur, and pauses for so long, is taken to have ended.
_MURMUR_MS = 350
# Nobody is kept waiting for longer by somebody who neither stops nor says anything.
_MAX_HOLD_NS = 6000 * _NS_PER_MS

BACK_CHANNELS: Final = tuple(
    re.findall(
        r"\w+",
        "ah aha all alright cool fine good got great hm hmm huh it mhm mm mmhmm mmm nice oh ok "
        "okay really right see sure true uh um wow yeah yep yes yup",
    )
)
"""What people say to show that they listen; it asks for nothing."""

INTERRUPTING: Final = tuple(
    re.findall(
        r"[\w']+",
        "actually but cancel don't enough excuse hallo hello help hey hi hold how never nevermind "
        "no nope not pardon pause please quiet repeat sorry stop wait what when where which who "
        "why",
    )
)
"""What interrupts even if it is all that was understood."""

# Greetings cross on the line: an answer to the bot's own greeting is no interruption either.
_GREETINGS = frozenset({"hello", "hi", "hey", "hallo"})
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
    """Both; not for long enough yet, or not loud enough, for the bot to fall silent."""
    HELD = auto()
    """The caller, and the bot waits: not certain yet that the caller means to interrupt."""
    HELD_SILENT = auto()
    """Nobody, and the bot waits: what the caller said is not known yet."""
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
    MURMUR = auto()
    """A partial transcript of nothing but a murmur of assent."""
    WORDS = auto()
    """A partial transcript with words that mean something."""
    ELAPSED = auto()
    """The caller has been speaking for long enough, loud enough."""
    QUIET = auto()
    """The caller has been silent for long enough to mean nothing by what it was."""
    TURN = auto()
    """A final transcript with words that mean something."""
    ANSWER = auto()
    """A final transcript of a murmur when the bot has all but ended: an answer, not assent."""
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
    HOLD = auto()
    RESUME = auto()
    INTERRUPT = auto()
    TURN = auto()
    INTERRUPT_AND_TURN = auto()


@dataclass(frozen=True, slots=True)
class Hold:
    """Fall silent at once, and keep what was about to be said."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on from where the caller stopped hearing."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop speaking at once; forget what was about to be said."""


@dataclass(frozen=True, slots=True)
class UserTurn:
    """The caller has said something that wants an answer."""

    text: str


TurnOutput: TypeAlias = Hold | Resume | Interrupt | UserTurn

_S, _I, _A = TurnState, TurnInput, _Action
_NO, _HOLD, _GO_ON = _A.NOTHING, _A.HOLD, _A.RESUME
_CUT, _TURN, _BOTH = _A.INTERRUPT, _A.TURN, _A.INTERRUPT_AND_TURN

TRANSITIONS: dict[tuple[TurnState, TurnInput], tuple[_Action, TurnState]] = {
    # State: IDLE. A final transcript may come long after the caller stopped, and so may the end of
    # a playback that was cut.
    (_S.IDLE, _I.STARTED): (_NO, _S.HEARING),
    (_S.IDLE, _I.STOPPED): (_NO, _S.IDLE),
    (_S.IDLE, _I.MURMUR): (_NO, _S.IDLE),
    (_S.IDLE, _I.WORDS): (_NO, _S.IDLE),
    (_S.IDLE, _I.ELAPSED): (_NO, _S.IDLE),
    (_S.IDLE, _I.QUIET): (_NO, _S.IDLE),
    (_S.IDLE, _I.TURN): (_TURN, _S.IDLE),
    (_S.IDLE, _I.ANSWER): (_TURN, _S.IDLE),
    (_S.IDLE, _I.BACK_CHANNEL): (_TURN, _S.IDLE),
    (_S.IDLE, _I.KEY): (_NO, _S.IDLE),
    (_S.IDLE, _I.PLAY): (_NO, _S.PLAYING),
    (_S.IDLE, _I.PLAY_PROTECTED): (_NO, _S.GREETING),
    (_S.IDLE, _I.PLAYED): (_NO, _S.IDLE),
    # State: HEARING, only the caller speaks.
    (_S.HEARING, _I.STARTED): (_NO, _S.HEARING),
    (_S.HEARING, _I.STOPPED): (_NO, _S.IDLE),
    (_S.HEARING, _I.MURMUR): (_NO, _S.HEARING),
    (_S.HEARING, _I.WORDS): (_NO, _S.HEARING),
    (_S.HEARING, _I.ELAPSED): (_NO, _S.HEARING),
    (_S.HEARING, _I.QUIET): (_NO, _S.HEARING),
    (_S.HEARING, _I.TURN): (_TURN, _S.HEARING),
    (_S.HEARING, _I.ANSWER): (_TURN, _S.HEARING),
    (_S.HEARING, _I.BACK_CHANNEL): (_TURN, _S.HEARING),
    (_S.HEARING, _I.KEY): (_NO, _S.HEARING),
    (_S.HEARING, _I.PLAY): (_NO, _S.OVERLAP),
    (_S.HEARING, _I.PLAY_PROTECTED): (_NO, _S.GREETING_OVERLAP),
    (_S.HEARING, _I.PLAYED): (_NO, _S.HEARING),
    # State: PLAYING. Recognisers without voice activity give words and no start.
    (_S.PLAYING, _I.STARTED): (_NO, _S.OVERLAP),
    (_S.PLAYING, _I.STOPPED): (_NO, _S.PLAYING),
    (_S.PLAYING, _I.MURMUR): (_NO, _S.PLAYING),
    (_S.PLAYING, _I.WORDS): (_CUT, _S.HEARING),
    (_S.PLAYING, _I.ELAPSED): (_NO, _S.PLAYING),
    (_S.PLAYING, _I.QUIET): (_NO, _S.PLAYING),
    (_S.PLAYING, _I.TURN): (_BOTH, _S.IDLE),
    (_S.PLAYING, _I.ANSWER): (_TURN, _S.PLAYING),
    (_S.PLAYING, _I.BACK_CHANNEL): (_NO, _S.PLAYING),
    (_S.PLAYING, _I.KEY): (_CUT, _S.IDLE),
    (_S.PLAYING, _I.PLAYED): (_NO, _S.IDLE),
    # State: OVERLAP, both speak.
    (_S.OVERLAP, _I.STARTED): (_NO, _S.OVERLAP),
    (_S.OVERLAP, _I.STOPPED): (_NO, _S.PLAYING),
    (_S.OVERLAP, _I.MURMUR): (_NO, _S.OVERLAP),
    (_S.OVERLAP, _I.WORDS): (_CUT, _S.HEARING),
    (_S.OVERLAP, _I.ELAPSED): (_HOLD, _S.HELD),
    (_S.OVERLAP, _I.QUIET): (_NO, _S.OVERLAP),
    (_S.OVERLAP, _I.TURN): (_BOTH, _S.HEARING),
    (_S.OVERLAP, _I.ANSWER): (_TURN, _S.OVERLAP),
    (_S.OVERLAP, _I.BACK_CHANNEL): (_NO, _S.OVERLAP),
    (_S.OVERLAP, _I.KEY): (_CUT, _S.HEARING),
    (_S.OVERLAP, _I.PLAYED): (_NO, _S.HEARING),
    # State: HELD, the caller speaks and the bot waits. Levels show sooner than the recogniser that
    # he has stopped; after that he may begin anew without being said to have.
    (_S.HELD, _I.STARTED): (_NO, _S.HELD),
    (_S.HELD, _I.STOPPED): (_NO, _S.HELD_SILENT),
    (_S.HELD, _I.MURMUR): (_NO, _S.HELD),
    (_S.HELD, _I.WORDS): (_CUT, _S.HEARING),
    (_S.HELD, _I.ELAPSED): (_CUT, _S.HEARING),
    (_S.HELD, _I.QUIET): (_GO_ON, _S.OVERLAP),
    (_S.HELD, _I.TURN): (_BOTH, _S.HEARING),
    (_S.HELD, _I.ANSWER): (_BOTH, _S.HEARING),
    (_S.HELD, _I.BACK_CHANNEL): (_GO_ON, _S.OVERLAP),
    (_S.HELD, _I.KEY): (_CUT, _S.HEARING),
    (_S.HELD, _I.PLAYED): (_NO, _S.HEARING),
    # State: HELD_SILENT, nobody speaks, and the words that were said are yet to come.
    (_S.HELD_SILENT, _I.STARTED): (_NO, _S.HELD),
    (_S.HELD_SILENT, _I.STOPPED): (_NO, _S.HELD_SILENT),
    (_S.HELD_SILENT, _I.MURMUR): (_GO_ON, _S.PLAYING),
    (_S.HELD_SILENT, _I.WORDS): (_CUT, _S.IDLE),
    (_S.HELD_SILENT, _I.ELAPSED): (_NO, _S.HELD_SILENT),
    (_S.HELD_SILENT, _I.QUIET): (_GO_ON, _S.PLAYING),
    (_S.HELD_SILENT, _I.TURN): (_BOTH, _S.IDLE),
    (_S.HELD_SILENT, _I.ANSWER): (_BOTH, _S.IDLE),
    (_S.HELD_SILENT, _I.BACK_CHANNEL): (_GO_ON, _S.PLAYING),
    (_S.HELD_SILENT, _I.KEY): (_CUT, _S.IDLE),
    (_S.HELD_SILENT, _I.PLAYED): (_NO, _S.IDLE),
    # State: GREETING, the bot may not be interrupted.
    (_S.GREETING, _I.STARTED): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING, _I.STOPPED): (_NO, _S.GREETING),
    (_S.GREETING, _I.MURMUR): (_NO, _S.GREETING),
    (_S.GREETING, _I.WORDS): (_NO, _S.GREETING),
    (_S.GREETING, _I.ELAPSED): (_NO, _S.GREETING),
    (_S.GREETING, _I.QUIET): (_NO, _S.GREETING),
    (_S.GREETING, _I.TURN): (_TURN, _S.GREETING),
    (_S.GREETING, _I.ANSWER): (_TURN, _S.GREETING),
    (_S.GREETING, _I.BACK_CHANNEL): (_NO, _S.GREETING),
    (_S.GREETING, _I.KEY): (_NO, _S.GREETING),
    (_S.GREETING, _I.PLAYED): (_NO, _S.IDLE),
    # State: GREETING_OVERLAP, nor while both speak.
    (_S.GREETING_OVERLAP, _I.STARTED): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.STOPPED): (_NO, _S.GREETING),
    (_S.GREETING_OVERLAP, _I.MURMUR): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.WORDS): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.ELAPSED): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.QUIET): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.TURN): (_TURN, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.ANSWER): (_TURN, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.BACK_CHANNEL): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.KEY): (_NO, _S.GREETING_OVERLAP),
    (_S.GREETING_OVERLAP, _I.PLAYED): (_NO, _S.HEARING),
    # Absent: PLAY and PLAY_PROTECTED while the bot is playing. One thing is said at a time.
}

_GREETING_STATES = (TurnState.GREETING, TurnState.GREETING_OVERLAP)
_OUTPUTS: dict[_Action, tuple[TurnOutput, ...]] = {
    _A.NOTHING: (),
    _A.HOLD: (Hold(),),
    _A.RESUME: (Resume(),),
    _A.INTERRUPT: (Interrupt(),),
    _A.TURN: (),
    _A.INTERRUPT_AND_TURN: (Interrupt(),),
}


@dataclass(frozen=True, slots=True)
class BargeIn:
    """When the caller's speech stops the bot's.

    Attributes:
        enabled: False lets the bot always finish.
        min_speech_ms: how long the caller has to speak over the bot until it falls silent.
        min_level_dbfs: how loud the caller has to be at least; noise and far voices are softer.
        confirm_speech_ms: how long the caller has to speak in total until the bot gives up what it
            was saying, if no words have shown before what is meant. Up to `min_speech_ms`, the bot
            never waits to see.
        resume_after_ms: how long a caller who has said nothing meaningful has to be silent until
            the bot goes on.
        echo_margin_db: how far the caller has to stand out of the echo of the bot's voice, and of
            the line's noise.
        min_words: how many words have to be understood to interrupt. A single one is more often a
            murmur that was misunderstood.
        interrupting: words that interrupt on their own, in lower case; None is `INTERRUPTING`.
        back_channels: words that mean nothing when the bot is speaking, in lower case; None is
            `BACK_CHANNELS`.
    """

    enabled: bool = True
    min_speech_ms: int = 100
    min_level_dbfs: float = -45.0
    confirm_speech_ms: int = 2500
    resume_after_ms: int = 800
    echo_margin_db: float = 6.0
    min_words: int = 2
    interrupting: tuple[str, ...] | None = None
    back_channels: tuple[str, ...] | None = None


class Turns:
    """The turn-taking of one call.

    Args:
        barge_in: when the caller's speech stops the bot's.
    """

    def __init__(self, barge_in: BargeIn | None = None) -> None:
        self._barge_in = barge_in or BargeIn()
        self._murmurs = _vocabulary(self._barge_in.back_channels, BACK_CHANNELS)
        self._interrupting = _vocabulary(self._barge_in.interrupting, INTERRUPTING)
        self._state = TurnState.IDLE
        self._speech_ns = 0
        self._held_ns = 0
        self._murmured = False
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
        if self._state is not TurnState.HELD_SILENT:
            self._speech_ns = at_ns
        return self._take(TurnInput.STARTED, at_ns)

    def speech_stopped(self, now_ns: int) -> tuple[TurnOutput, ...]:
        """It was noticed at `now_ns` that the caller has stopped speaking."""
        return self._take(TurnInput.STOPPED, now_ns)

    def partial(self, text: str, now_ns: int, *, doubtful: bool = False) -> tuple[TurnOutput, ...]:
        """`text` is what the caller seems to be saying; may be empty.

        Args:
            text: the words.
            now_ns: the monotonic time.
            doubtful: whether the bot's own voice may have been misunderstood for some of it.
        """
        if self._interrupts(text, doubtful=doubtful):
            return self._take(TurnInput.WORDS, now_ns)
        if self._state is TurnState.HELD:
            # What has been heard up to now was nothing; what counts comes after it.
            self._speech_ns = now_ns
        if not text.strip():
            return ()
        self._murmured = True
        return self._take(TurnInput.MURMUR, now_ns)

    def final(
        self, text: str, now_ns: int, *, bot_ends: bool = False, doubtful: bool = False
    ) -> tuple[TurnOutput, ...]:
        """`text` is what the caller said; empty text is nothing.

        Args:
            text: the words.
            now_ns: the monotonic time.
            bot_ends: whether the bot is about to end, so that a murmur is rather an answer.
            doubtful: whether the bot's own voice may have been misunderstood for some of it.
        """
        if not text.strip():
            return ()
        if self._interrupts(text, doubtful=doubtful):
            kind = TurnInput.TURN
        else:
            kind = TurnInput.ANSWER if bot_ends else TurnInput.BACK_CHANNEL
        return self._take(kind, now_ns, text)

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

    def elapsed(self, now_ns: int, activity: Activity) -> tuple[TurnOutput, ...]:
        """Time has passed.

        Args:
            now_ns: the monotonic time now.
            activity: how loud the caller has been up to now.
        """
        if self._deadline_ns is None or now_ns < self._deadline_ns:
            return ()
        happened = self._happened(now_ns, activity)
        if happened is None:
            self._deadline_ns = now_ns + _RECHECK_NS
            return ()
        return self._take(happened, now_ns)

    def _happened(self, now_ns: int, activity: Activity) -> TurnInput | None:
        """What has come about by time alone."""
        rules, speech_ns = self._barge_in, self._speech_ns - _ONSET_NS
        match self._state:
            case TurnState.OVERLAP:
                lately_ns = now_ns - rules.min_speech_ms * _NS_PER_MS - _ONSET_NS
                # Not all of it is loud, and not all of it has arrived.
                loud_ms = activity.loud_ms(max(speech_ns, lately_ns))
                return TurnInput.ELAPSED if loud_ms >= rules.min_speech_ms // 2 else None
            case TurnState.HELD:
                waits = rules.confirm_speech_ms > rules.min_speech_ms
                if not waits or activity.loud_ms(speech_ns) >= rules.confirm_speech_ms:
                    return TurnInput.ELAPSED
                patience_ms = _MURMUR_MS if self._murmured else rules.resume_after_ms
                quiet = activity.quiet_ms(now_ns, self._held_ns) >= patience_ms
                endless = now_ns - self._held_ns >= _MAX_HOLD_NS
                return TurnInput.QUIET if quiet or endless else None
            case _:
                return TurnInput.QUIET

    def _interrupts(self, text: str, *, doubtful: bool) -> bool:
        """Whether `text` is more than a murmur."""
        known = self._murmurs
        if self._state in _GREETING_STATES:
            known |= _GREETINGS
        words = [word for word in _words(text) if not _is_letter(word) and word not in known]
        if any(word in self._interrupting for word in words):
            return True
        return len(words) >= max(1, self._barge_in.min_words + doubtful)

    def _take(self, happened: TurnInput, now_ns: int = 0, text: str = "") -> tuple[TurnOutput, ...]:
        transition = TRANSITIONS.get((self._state, happened))
        if transition is None:
            raise IllegalTransition(f"{happened} while {self._state}")
        action, state = transition
        if action is _GO_ON:
            # What is heard from now on is something else.
            self._speech_ns = now_ns
        if action is _HOLD:
            self._held_ns = now_ns
            self._murmured = False
        if state is not self._state:
            self._state = state
            self._deadline_ns = self._next_deadline_ns(now_ns)
        turn = (UserTurn(text.strip()),) if action in (_TURN, _BOTH) else ()
        return _OUTPUTS[action] + turn

    def _next_deadline_ns(self, now_ns: int) -> int | None:
        match self._state:
            case TurnState.OVERLAP:
                return self._speech_ns + self._barge_in.min_speech_ms * _NS_PER_MS
            case TurnState.HELD:
                return now_ns
            case TurnState.HELD_SILENT:
                patience_ms = 0 if self._murmured else self._barge_in.resume_after_ms
                return now_ns + patience_ms * _NS_PER_MS
            case _:
                return None


def _vocabulary(words: tuple[str, ...] | None, default: tuple[str, ...]) -> frozenset[str]:
    return frozenset(default if words is None else _words(" ".join(words)))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _is_letter(word: str) -> bool:
    """Whether it is but the beginning or the end of something that was not understood."""
    return len(word) == 1 and not word.isdigit()
