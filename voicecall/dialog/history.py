"""What was said in a conversation, as both sides heard it."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.call.record import Speaker
from voicecall.ports import Turn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voicecall.ports import ToolUse


@dataclass(frozen=True, slots=True)
class SpokenText:
    """A stretch of text and how long saying it takes.

    Attributes:
        text: what is said.
        duration_ms: how long its audio is.
    """

    text: str
    duration_ms: float


def heard_text(spoken: Iterable[SpokenText], heard_ms: float) -> str:
    """What of `spoken` was heard within `heard_ms`, in whole words.

    Words are taken to last as long as they are written; a word cut in its middle was not heard.

    Args:
        spoken: stretches in the order they were played, back to back.
        heard_ms: how much of them was played.
    """
    heard: list[str] = []
    for stretch in spoken:
        if heard_ms < stretch.duration_ms:
            heard.append(_whole_words(stretch.text, heard_ms / stretch.duration_ms))
            break
        heard.append(stretch.text)
        heard_ms -= stretch.duration_ms
    return " ".join(text for text in heard if text)


def _whole_words(text: str, share: float) -> str:
    reach = share * len(text)
    end = 0
    heard = []
    for word in text.split():
        end += len(word)
        if end > reach:
            break
        heard.append(word)
        end += 1
    return " ".join(heard)


class History:
    """The memory of a conversation, bounded.

    Overflow rule: beyond `max_turns` turns or `max_characters` of text the oldest turns are
    forgotten; the newest turn is always kept, cut to its last `max_characters`.

    Args:
        max_turns: how many turns are kept.
        max_characters: how much text is kept.
    """

    def __init__(self, max_turns: int = 200, max_characters: int = 32_000) -> None:
        self._max_turns = max_turns
        self._max_characters = max_characters
        self._turns: deque[Turn] = deque()
        self._characters = 0

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns kept, oldest first."""
        return tuple(self._turns)

    def add(self, speaker: Speaker, text: str) -> None:
        """Remember that `speaker` said `text`; for the bot, what was heard of it.

        Two turns of the caller in a row are one turn: they paused and went on. Empty text is no
        turn.
        """
        text = text.strip()
        if not text:
            return
        if speaker is Speaker.USER and self._turns and self._turns[-1].speaker is speaker:
            earlier = self._turns.pop()
            self._characters -= len(earlier.text)
            text = f"{earlier.text} {text}"
        self._append(Turn(speaker, text[-self._max_characters :]))

    def add_tool(self, use: ToolUse) -> None:
        """Remember that the bot used a tool, and what came of it."""
        self._append(Turn(Speaker.BOT, "", use))

    def _append(self, turn: Turn) -> None:
        self._turns.append(turn)
        self._characters += _length(turn)
        while len(self._turns) > self._max_turns or self._characters > self._max_characters:
            self._characters -= _length(self._turns.popleft())


def _length(turn: Turn) -> int:
    tool = turn.tool
    return len(turn.text) if tool is None else len(tool.arguments) + len(tool.result)


class Memories:
    """Histories by session key, so that a new call can continue an earlier conversation.

    Overflow rule: beyond `size` keys the one used longest ago is forgotten.

    Args:
        size: how many histories are kept.
    """

    def __init__(self, size: int = 1000) -> None:
        self._size = size
        self._histories: OrderedDict[str, History] = OrderedDict()

    def of(self, session_key: str) -> History:
        """The history of `session_key`, empty when there is none yet."""
        history = self._histories.setdefault(session_key, History())
        self._histories.move_to_end(session_key)
        while len(self._histories) > self._size:
            self._histories.popitem(last=False)
        return history
