"""A short flood of webhooks and upgrades that nobody should believe, beside one live call."""

from __future__ import annotations

import asyncio
import random

import pytest
import uvloop

from benchmarks.soak import attacks
from benchmarks.soak.flood import Flood

pytestmark = [pytest.mark.socket, pytest.mark.timed]

REQUESTS = 1200


def test_a_flood_is_refused_leaves_nothing_and_is_not_heard_by_the_live_call() -> None:
    flood = Flood(REQUESTS)
    uvloop.run(flood.perform())
    assert flood.problems == []
    outcomes = flood.result["outcomes"]
    assert {outcome.partition(":")[0] for outcome in outcomes} >= {
        kind.__name__ for kind in attacks.WEIGHTS
    }
    assert outcomes["crowd: kept out"] == 1
    assert outcomes["replayed: 200"] > 0
    accepted = {outcome for outcome in outcomes if outcome.endswith(": 200")}
    assert accepted == {"replayed: 200"}


def served(answer: bytes) -> attacks.Site:
    """What attackers make of a server that always answers alike."""

    async def case() -> attacks.Site:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        arrival = attacks.webhook("CA" + "1" * 32, "ringing")
        url = f"http://127.0.0.1:{port}"
        site = attacks.Site(url, url, "CA" + "1" * 32, arrival, b"<Response/>", "token")
        for kind in (attacks.unsigned, attacks.forged, attacks.replayed, attacks.wrong_token):
            await attacks.attack(site, kind, random.Random(1))
        server.close()
        await server.wait_closed()
        return site

    return uvloop.run(case())


def test_a_server_that_believes_everybody_is_found_out() -> None:
    site = served(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert site.failed == 4
    assert "replayed webhook was answered differently" in " ".join(site.failures)


def test_a_server_that_is_busy_is_none_that_believes() -> None:
    site = served(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
    assert site.failed == 0
