"""The server of the soak runs in a process of its own."""

from __future__ import annotations

import pytest

from benchmarks.soak import flatness
from benchmarks.soak.carrier import Carrier, Dials, fill_memories
from benchmarks.soak.process import ServerEnded, ServerProcess
from benchmarks.soak.quiet import until_quiet
from tests.soak.local import run

pytestmark = [pytest.mark.socket, pytest.mark.timed]

FEW = {"refused": 120, "facts": 50, "ended": 100}


def test_a_server_is_called_counted_and_stopped() -> None:
    async def case() -> None:
        dials = Dials()
        server = ServerProcess(dials.on_dial)
        async with server, Carrier(server.control_url, dials) as carrier:
            await fill_memories(carrier, FEW)
            assert dials.counts.total() == 1 + FEW["ended"]
            assert await until_quiet(carrier) == []
            full = await server.census(full=True)
            assert full["classes"]["voicecall.call.record.CallRecord"] == dials.counts.total()
            assert full["classes"].get("voicecall.manager.index.LiveCall", 0) == 0
            brief = await server.census(full=False)
            taken = flatness.sample(1.0, server.measure(), brief, await carrier.state())
            assert {bound.name for bound in flatness.BOUNDS} <= taken.keys()
            assert taken["residentKib"] > 10_000
        with pytest.raises(ServerEnded):
            server.measure()

    run(case())
