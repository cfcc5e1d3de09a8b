"""Callers who misbehave: every answer is the right one, and nothing of them stays."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import voicecall
from benchmarks.soak import churn
from benchmarks.soak.churn import Site, behave
from benchmarks.soak.websocket import UpgradeRefused, WebSocket
from tests.soak.local import left_over, ours, run, site
from voicecall.media.server import MediaServer

if TYPE_CHECKING:
    from benchmarks.soak.carrier import Dialled
    from voicecall.media.leg import Leg

pytestmark = [pytest.mark.socket, pytest.mark.timed]

# These fill the server on purpose, so that others would find no room.
CROWDS = (churn.crowd_without_token, churn.crowd_with_token, churn.flood_unread)
INDIVIDUALS = tuple(behaviour for behaviour in churn.WEIGHTS if behaviour not in CROWDS)

SOCKETS = 120
# Below what a leg kept for each socket would come to, above what a call remembers of its audio.
GROWTH_MAX_OCTETS = SOCKETS * 200
PACKAGE = f"{Path(voicecall.__file__).parent}/*"


async def everything(there: Site, seed: int) -> None:
    """Have every behaviour once; what is drawn in it follows from `seed`."""
    draws = {behaviour: random.Random(f"{seed}/{n}") for n, behaviour in enumerate(churn.WEIGHTS)}
    await asyncio.gather(*(behave(there, each, draws[each]) for each in INDIVIDUALS))
    for each in CROWDS:
        await behave(there, each, draws[each])


def test_every_behaviour_is_answered_rightly_and_leaves_nothing_behind() -> None:
    async def case() -> None:
        async with site() as there:
            await everything(there, seed=1)
            assert await left_over(there, ours()) == []
            before = ours()
            await everything(there, seed=2)
            assert there.failures == []
            assert there.outcomes.total() == 2 * len(churn.WEIGHTS)
            assert await left_over(there, before) == []

    run(case())


async def come_and_go(there: Site, call: Dialled, count: int) -> None:
    """Sockets of a live call that break, sockets without a token, and sockets that are refused."""
    for _ in range(count):
        socket = await WebSocket.open(call.url)
        churn.begin(socket, call)
        await socket.drain()
        pending = await WebSocket.open(there.media_url)
        with pytest.raises(UpgradeRefused, match="403"):
            await WebSocket.open(f"{there.media_url}/unknown")
        socket.abort()
        pending.abort()
        # As few at once as are let in without a token.
        await asyncio.sleep(0.01)


async def growth_octets(there: Site, monkeypatch: pytest.MonkeyPatch) -> int:
    """How much more memory the package holds after many sockets than after some."""
    # Counting memory stops everything for seconds, in which the call would lose its media.
    monkeypatch.setattr("voicecall.media.path.RECONNECT_GRACE_S", 60.0)
    async with churn.answered(there, "Hi") as call:
        await come_and_go(there, call, SOCKETS // 2)
        tracemalloc.start()
        try:
            before = traced_octets()
            await come_and_go(there, call, SOCKETS)
            return traced_octets() - before
        finally:
            tracemalloc.stop()


def traced_octets() -> int:
    ours()
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, PACKAGE)])
    return sum(trace.size for trace in snapshot.traces)


def test_sockets_that_come_and_go_leave_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        async with site() as there:
            assert await growth_octets(there, monkeypatch) < GROWTH_MAX_OCTETS

    run(case())


def test_sockets_that_are_kept_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Leg] = []
    forget = MediaServer.forget

    def keep(server: MediaServer, leg: Leg) -> None:
        kept.append(leg)
        forget(server, leg)

    monkeypatch.setattr(MediaServer, "forget", keep)
    monkeypatch.setattr("tests.soak.local.SETTLED_S", 0.5)

    async def case() -> None:
        async with site() as there:
            before = ours()
            assert await growth_octets(there, monkeypatch) > GROWTH_MAX_OCTETS
            found = await left_over(there, before)
            assert any(
                problem.endswith("of voicecall.media.leg.Leg are left over") for problem in found
            )

    run(case())


def test_a_wrong_answer_is_told() -> None:
    async def wrong(there: Site, rng: random.Random) -> str:
        del there, rng
        return churn.expect(500, 200)

    async def case() -> None:
        async with site() as there:
            await behave(there, wrong, random.Random(1))
            assert there.failed == 1
            assert "answered with 500 instead of 200" in there.failures[0]

    run(case())
