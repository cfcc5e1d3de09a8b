"""Stores, records and changes for tests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.call.calls import record
from voicecall.call.record import CallState, Speaker, TranscriptEntry
from voicecall.clock import ManualClock
from voicecall.store.sqlite import SqliteCallStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

CREATED = {"type": "call.created", "timestamp": 1}


def run(case: Coroutine[Any, Any, None], within_s: float = 20) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(within_s):
            await case
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded())


@asynccontextmanager
async def opened(path: Path, **more: Any) -> AsyncIterator[SqliteCallStore]:
    store = SqliteCallStore(path, **{"clock": ManualClock(), **more})
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def stored(state: CallState = CallState.ACTIVE, *, words: int = 0, **fields: Any) -> dict[str, Any]:
    """A record in the wire format, with `words` utterances."""
    said = [TranscriptEntry(n, Speaker.USER, f"word {n}") for n in range(words)]
    return record(state, **{"transcript": said, **fields}).to_json()


def ended(call_id: str, ended_at: int, **fields: Any) -> dict[str, Any]:
    return stored(CallState.COMPLETED, call_id=call_id, ended_at=ended_at, **fields)
