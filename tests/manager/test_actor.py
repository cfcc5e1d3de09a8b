from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.call.calls import event, record
from tests.manager.fakes import FakeStore, until
from voicecall.call.events import CallAnswered, CallRinging, CallSpoken
from voicecall.call.record import CallState
from voicecall.errors import CallHasEnded, IllegalTransition, StoreError
from voicecall.manager import actor as actor_module
from voicecall.manager.actor import CallActor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from voicecall.call.machine import Applied
    from voicecall.call.record import CallRecord

pytestmark = pytest.mark.unit

CREATED = {"type": "call.created", "timestamp": 1}


def run(case: Callable[[CallActor, FakeStore, list[Applied]], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        store = FakeStore()
        told: list[Applied] = []

        def tell(_: CallRecord, applied: Applied) -> None:
            told.append(applied)

        actor = CallActor(record(), CREATED, store=store, on_applied=tell)
        working = asyncio.ensure_future(actor.run())
        await case(actor, store, told)
        actor.close()
        async with asyncio.timeout(2):
            await working
        with pytest.raises(CallHasEnded):
            await actor.apply(event(CallRinging))

    asyncio.run(whole())


def test_what_an_event_changes_is_stored_before_it_is_acknowledged() -> None:
    async def case(actor: CallActor, store: FakeStore, told: list[Applied]) -> None:
        await actor.apply(event(CallRinging))
        assert [change["type"] for change in store.stored] == ["call.created", "call.ringing"]
        assert len(told) == 1

    run(case)


def test_the_same_fact_is_applied_once() -> None:
    async def case(actor: CallActor, store: FakeStore, told: list[Applied]) -> None:
        await actor.apply(event(CallRinging, dedupe_key="one"))
        await actor.apply(event(CallAnswered, dedupe_key="one"))
        assert actor.record.state is CallState.RINGING
        assert told[-1] is actor_module.REPEATED_KEY
        assert len(store.stored) == 2

    run(case)


def test_an_impossible_event_is_refused_and_the_next_one_applied() -> None:
    async def case(actor: CallActor, store: FakeStore, told: list[Applied]) -> None:
        with pytest.raises(IllegalTransition):
            await actor.apply(event(CallSpoken, text="a", heard="a"))
        await actor.apply(event(CallRinging))
        assert actor.record.state is CallState.RINGING

    run(case)


def test_changes_that_could_not_be_stored_are_stored_later_in_order() -> None:
    async def case(actor: CallActor, store: FakeStore, told: list[Applied]) -> None:
        store.broken = True
        for kind in (CallRinging, CallAnswered):
            with pytest.raises(StoreError):
                await actor.apply(event(kind))
        assert len(told) == 2
        store.broken = False
        await actor.flush()
        stored = [change["type"] for change in store.stored]
        assert stored == ["call.created", "call.ringing", "call.answered"]

    run(case)


def test_a_store_that_hangs_counts_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_module, "_STORE_TIMEOUT_S", 0.01)

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    async def case(actor: CallActor, store: FakeStore, told: list[Applied]) -> None:
        monkeypatch.setattr(store, "save", hang)
        with pytest.raises(StoreError, match="in time"):
            await actor.apply(event(CallRinging))
        assert actor.record.state is CallState.RINGING

    run(case)


def test_an_actor_that_is_stopped_leaves_nobody_waiting() -> None:
    async def case() -> None:
        store = FakeStore()
        actor = CallActor(record(), CREATED, store=store, on_applied=lambda *_: None)
        working = asyncio.ensure_future(actor.run())
        waiting = [asyncio.ensure_future(actor.apply(event(CallRinging))) for _ in range(3)]
        await until(actor._mailbox.qsize)
        working.cancel()
        async with asyncio.timeout(2):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, BaseException) for result in results)

    asyncio.run(case())
