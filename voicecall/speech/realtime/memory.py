"""What a speech-to-speech conversation was about, to tell a new connection."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from voicecall.ports import Turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from voicecall.call.record import Speaker

_MAX_CHARACTERS = 8000


class Memory:
    """The turns of a conversation in order, each under a key, so that it can change later.

    A turn's place is taken when it begins; its text follows, and may be cut when less was heard.
    Overflow rule: beyond `size` turns the oldest is forgotten; of a text the last 8000 characters
    are kept.

    Args:
        earlier: turns from before.
        size: how many turns are kept.
    """

    def __init__(self, earlier: Sequence[Turn] = (), size: int = 200) -> None:
        self._size = size
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        for index, turn in enumerate(earlier):
            self.put(f"earlier-{index}", turn)

    def put(self, key: str, turn: Turn) -> None:
        """Remember a turn: a new one at the end, one that is known in its place."""
        self._turns[key] = turn
        while len(self._turns) > self._size:
            self._turns.popitem(last=False)

    def tell(self, key: str, speaker: Speaker, text: str) -> None:
        """Remember that turn `key` is `speaker` saying `text`, which may be empty as yet."""
        self.put(key, Turn(speaker, text.strip()[-_MAX_CHARACTERS:]))

    def text(self, key: str) -> str:
        """What is said in a turn; empty when it is not known."""
        turn = self._turns.get(key)
        return "" if turn is None else turn.text

    def forget(self, key: str) -> None:
        """Forget a turn that was not heard; an unknown one is no error."""
        self._turns.pop(key, None)

    def items(self) -> Iterator[tuple[str, Turn]]:
        """Keys and turns, oldest first, without those that are empty as yet."""
        return (
            (key, turn)
            for key, turn in list(self._turns.items())
            if turn.text or turn.tool is not None
        )

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns, oldest first, without those that are empty as yet."""
        return tuple(turn for _, turn in self.items())
