"""Calls of a model, without a phone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from voicecall.call.record import (
    CallRecord,
    CallState,
    Direction,
    Mode,
    Speaker,
    TranscriptEntry,
)
from voicecall.errors import UnknownCall

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

T = TypeVar("T")

NOW_MS = 1_700_000_000_000


def run(case: Coroutine[Any, Any, T], within_s: float = 30) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(within_s):
            return await case

    return asyncio.run(bounded())


def record(call_id: str = "c-1", **changes: Any) -> CallRecord:
    made = CallRecord(
        call_id=call_id,
        provider="mock",
        direction=Direction.OUTBOUND,
        state=CallState.LISTENING,
        from_number="+15550001111",
        to_number="+15550002222",
        session_key="voice:15550002222",
        started_at=NOW_MS,
        provider_call_id=f"p-{call_id}",
        answered_at=NOW_MS + 2000,
        transcript=[
            TranscriptEntry(NOW_MS + 3000, Speaker.BOT, "Hello."),
            TranscriptEntry(NOW_MS + 5000, Speaker.USER, "Hi."),
        ],
        metadata={"mode": "conversation", "turnCount": 1},
    )
    return replace(made, **changes)


class FakeControl:
    """Notes what it is asked to do, and does what the test tells it to."""

    def __init__(self, *records: CallRecord) -> None:
        self.records = {each.call_id: each for each in records}
        self.asked: list[tuple[str | None, ...]] = []
        self.raises: list[Exception] = []
        self.asking = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.silent = False

    def _deed(self, *what: str | None) -> None:
        self.asked.append(what)
        if self.raises:
            raise self.raises.pop(0)

    async def initiate(self, message: str, to: str | None = None, mode: Mode | None = None) -> str:
        self._deed("initiate", message, to, mode)
        return "c-1"

    async def speak(self, call_id: str, message: str) -> None:
        self._deed("speak", call_id, message)

    async def ask(self, call_id: str, message: str) -> str:
        self._deed("ask", call_id, message)
        self.asking.set()
        try:
            while self.silent:  # noqa: ASYNC110  (until cancelled)
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "Fine."

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        self._deed("dtmf", call_id, digits)

    async def transfer(self, call_id: str, to: str) -> None:
        self._deed("transfer", call_id, to)

    async def end(self, call_id: str) -> None:
        if call_id not in self.records:
            raise UnknownCall("no call has that id", call_id=call_id)
        self._deed("end", call_id)

    async def status(self, call_id: str) -> Mapping[str, Any] | None:
        found = self.records.get(call_id)
        return None if found is None else found.to_json()

    async def calls(self) -> Sequence[Mapping[str, Any]]:
        if self.raises:
            raise self.raises.pop(0)
        return [each.to_json() for each in self.records.values() if not each.state.terminal]
