"""Questions asked in the background, and how they stand."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from voicecall.errors import InvalidRequest, VoicecallError

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True, slots=True)
class AskResult:
    """How a question stands.

    Attributes:
        status: whether the caller has answered.
        transcript: what he said, once done.
        error: why there is no answer, once failed.
    """

    status: Literal["pending", "done", "failed"]
    transcript: str | None = None
    error: str | None = None


class Operations:
    """Remembers the newest questions; the oldest answered one makes room.

    A pending one is never forgotten: a call has at most one, so the limit on calls bounds them.

    Args:
        capacity: how many are kept.
    """

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._asks: OrderedDict[str, asyncio.Task[str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._asks)

    def add(self, ask: asyncio.Task[str]) -> str:
        """Keep a question that is being asked; the id of the operation."""
        if len(self._asks) >= self._capacity:
            settled = next((key for key, task in self._asks.items() if task.done()), None)
            if settled is not None:
                del self._asks[settled]
        operation_id = str(uuid.uuid4())
        self._asks[operation_id] = ask
        return operation_id

    def result(self, operation_id: str) -> AskResult:
        """How it stands.

        Raises:
            InvalidRequest: there is no such operation, or it was forgotten.
        """
        ask = self._asks.get(operation_id)
        if ask is None:
            raise InvalidRequest("no such operation: it never was, or it was long ago")
        if not ask.done():
            return AskResult("pending")
        if ask.cancelled():
            return AskResult("failed", error="the server is shutting down")
        error = ask.exception()
        if error is None:
            return AskResult("done", transcript=ask.result())
        told = str(error) if isinstance(error, VoicecallError) else "something went wrong"
        return AskResult("failed", error=told)
