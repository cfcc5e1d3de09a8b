"""The caller's newest turn in a conversation with a model, and what has become of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicecall.call.record import Speaker
from voicecall.session.timing import TurnTiming

if TYPE_CHECKING:
    from voicecall.dialog.history import History


class Exchange:
    """Whose words came first, and which reply answers which.

    The model answers before the caller's words are there to read. Reads no clock.

    Args:
        history: where both sides' words are remembered, in the order they were said.

    Attributes:
        answered: whether the model has said anything since the caller spoke.
        apologised: whether the caller has been told that the model cannot answer.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._caller_began_ns = 0
        self._bot_began_ns: int | None = None
        self._timing: TurnTiming | None = None
        self._taken = False
        self._words: list[str] = []
        self.answered = False
        self.apologised = False

    def caller_began(self, at_ns: int) -> None:
        """The caller began to speak at `at_ns`."""
        self._caller_began_ns = at_ns
        self.answered = False

    def caller_ended(self, timing: TurnTiming) -> None:
        """His turn is complete; `timing` holds what is known of it."""
        self._timing, self._taken = timing, False
        self.answered = self.apologised = False

    def transcribed(self, text: str, now_ns: int) -> None:
        """What he said is there to read."""
        timing = self._timing
        if timing is not None and timing.final_ns is None:
            # It is no step of an answer that did not wait for it.
            waited = timing.first_token_ns is None and timing.first_audio_ns is None
            timing.final_ns = now_ns if waited else None
        self._words.append(text)
        # What the bot was saying when he began was there first, and is remembered when it ends.
        if self._bot_began_ns is None or self._bot_began_ns > self._caller_began_ns:
            self._remember()

    def take_timing(self) -> TurnTiming:
        """Where the next reply's steps are noted: it answers the turn, unless one has already."""
        if self._timing is None or self._taken:
            return TurnTiming()
        self._taken = True
        return self._timing

    def bot_began(self, now_ns: int) -> None:
        """The bot is heard from now on."""
        self._bot_began_ns = now_ns

    def bot_ended(self, heard: str) -> None:
        """The bot has fallen silent; `heard` is what the caller heard of it."""
        self._bot_began_ns = None
        self._history.add(Speaker.BOT, heard)
        self._remember()

    def _remember(self) -> None:
        for text in self._words:
            self._history.add(Speaker.USER, text)
        self._words.clear()
