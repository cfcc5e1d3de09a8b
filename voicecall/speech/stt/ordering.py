"""Transcripts in the order in which things were said, whatever the order they come in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.clock import NS_PER_S

if TYPE_CHECKING:
    from voicecall.ports import FinalTranscript

_PATIENCE_NS = 3 * NS_PER_S
_MAX_ITEMS = 32


@dataclass(slots=True)
class _Item:
    text: str = ""
    final: FinalTranscript | None = None


class TranscriptOrder:
    """What was said in one session, item by item.

    An item takes its place by `begin`; what is finished is told by `release` once everything before
    it is finished too, or has kept it waiting for three seconds. Overflow rule: of more than 32
    items the oldest is forgotten.

    Attributes:
        deadline_ns: when `release` tells something even if nothing more comes; None while nothing
            waits.
    """

    def __init__(self) -> None:
        self.deadline_ns: int | None = None
        self._items: dict[str, _Item] = {}
        # In the order in which they were said.
        self._order: list[str] = []
        self._told: deque[str] = deque(maxlen=_MAX_ITEMS)

    def begin(self, item_id: str, previous: str | None) -> None:
        """An item was said.

        Args:
            item_id: its name.
            previous: the name of the one before; None, or one that is not known, puts it last.
        """
        if item_id in self._told:
            return
        self._item(item_id)
        if item_id in self._order:
            self._order.remove(item_id)
        place = len(self._order)
        if previous is not None and previous in self._order:
            place = self._order.index(previous) + 1
        self._order.insert(place, item_id)

    def add(self, item_id: str, more: str) -> str:
        """More of an item's text has come; ignored once it was told.

        Returns:
            All of it so far; empty while another item has to be told first.
        """
        if item_id in self._told:
            return ""
        item = self._item(item_id)
        item.text += more
        first = self._order[0] if self._order else item_id
        return item.text if first == item_id else ""

    def finish(self, item_id: str, final: FinalTranscript) -> None:
        """An item's text is complete."""
        self._item(item_id).final = final
        if item_id not in self._order:
            self._order.append(item_id)

    def release(self, now_ns: int) -> list[FinalTranscript]:
        """What can be told now, in order."""
        released = self._finished()
        if self._blocked and self.deadline_ns is not None and now_ns >= self.deadline_ns:
            # Told later after all, if it ever comes.
            del self._items[self._order.pop(0)]
            released += self._finished()
            self.deadline_ns = None
        if not self._blocked:
            self.deadline_ns = None
        elif released or self.deadline_ns is None:
            self.deadline_ns = now_ns + _PATIENCE_NS
        return released

    @property
    def _blocked(self) -> bool:
        """Whether something finished waits for something that is not."""
        return any(self._items[item_id].final is not None for item_id in self._order)

    def _finished(self) -> list[FinalTranscript]:
        finished: list[FinalTranscript] = []
        while self._order and (final := self._items[self._order[0]].final) is not None:
            item_id = self._order.pop(0)
            del self._items[item_id]
            self._told.append(item_id)
            finished.append(final)
        return finished

    def _item(self, item_id: str) -> _Item:
        if item_id not in self._items and len(self._items) >= _MAX_ITEMS:
            oldest = next(iter(self._items))
            del self._items[oldest]
            if oldest in self._order:
                self._order.remove(oldest)
        return self._items.setdefault(item_id, _Item())
