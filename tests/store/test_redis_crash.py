"""kill -9 of those who store calls in Redis or Valkey, and of the database server itself."""

from __future__ import annotations

import asyncio
import random
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.cli.test_serve import BEARER, DEADLINE_S, refusal, rpc, serving
from tests.hosting import CALLEE, free_port, run, settings
from tests.store.crash import CHANGES, Findings, change, crash_once, record_after
from tests.store.databases import DatabaseServer, eventually, opened
from voicecall.config.schema import Config
from voicecall.errors import ConfigError, StoreError
from voicecall.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.store.redis import RedisCallStore

pytestmark = pytest.mark.socket

ROUNDS = 6
# Nobody answers, so that the calls stay as they are until we say otherwise.
QUIET: dict[str, Any] = {"mock": {"phone": "off"}, "ringTimeoutMs": 60_000}


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers=BEARER, timeout=10)


async def look(http: httpx.AsyncClient, call_id: str) -> dict[str, Any]:
    return dict((await rpc(http, "status", callId=call_id))["result"]["call"])


def test_what_was_acknowledged_survives_every_kill_and_nothing_is_there_by_half(
    database: DatabaseServer,
) -> None:
    findings = Findings()
    chance = random.Random(20)
    url = database.url()
    for _ in range(ROUNDS):
        crash_once(url, findings, chance)
    assert findings.problems == []
    assert findings.rounds == ROUNDS
    assert findings.changes > 500


def test_what_was_acknowledged_survives_the_database_server_being_killed_and_started_again(
    own_database: DatabaseServer,
) -> None:
    own_database.start()

    async def save_stubbornly(store: RedisCallStore, call_id: str) -> None:
        """As a call's actor does: the same change again, until it is stored."""
        for number in range(CHANGES):
            told = change(call_id, number)
            await eventually(partial(stored_now, store, record_after(call_id, number), told))

    async def stored_now(store: RedisCallStore, record: Any, told: Any) -> bool | None:
        try:
            await store.save(record, told)
        except StoreError:
            return None
        return True

    async def case() -> None:
        async with opened(own_database.address()) as store:
            names = [f"c{n}" for n in range(40)]
            saving = asyncio.gather(*(save_stubbornly(store, name) for name in names))
            for stored_before in (50, 200):
                known = await eventually(partial(changes_now, store, stored_before))
                own_database.kill()
                await asyncio.to_thread(own_database.start)
                left = await eventually(partial(changes_now, store))
                assert left[: len(known)] == known
            await saving
            for name in names:
                assert await store.history(name) == [change(name, n) for n in range(CHANGES)]
                assert await store.get(name) == record_after(name, CHANGES - 1)
            assert await store.live() == []

    async def changes_now(store: RedisCallStore, count: int = 1) -> Any:
        try:
            found = await store.changes(limit=10_000)
        except StoreError:
            return None
        return found if len(found) >= count else None

    run(case(), within_s=60)


def test_calls_survive_kill_9_of_the_voicecall_server(
    database: DatabaseServer, tmp_path: Path
) -> None:
    # One name at every port: the server is the same one, wherever it listens.
    place = {"store": database.url(server="calls-1")}

    async def case() -> None:
        async with serving(tmp_path, **QUIET, **place) as served, client(served.url) as http:
            placed = await asyncio.gather(
                *(rpc(http, "initiate", message=f"Call {n}.", to=CALLEE) for n in range(5))
            )
            names = [each["result"]["callId"] for each in placed]
            await rpc(http, "end", callId=names[0])
            before = {name: await look(http, name) for name in names}
            served.signal(signal.SIGKILL)
            await served.exit()
        # Waits for the lease of the process that was killed.
        async with serving(tmp_path, **QUIET, **place) as served, client(served.url) as http:
            assert {name: await look(http, name) for name in names} == before
            assert (await http.get("/readyz")).json()["calls"]["live"] == 4

    run(case(), within_s=DEADLINE_S * 2)


def test_two_servers_share_a_store_and_a_third_needs_a_name_of_its_own(
    database: DatabaseServer, tmp_path: Path
) -> None:
    url = database.url()

    async def case() -> None:
        one, two = ({"store": f"{url}&server={name}"} for name in ("one", "two"))
        async with serving(tmp_path, **QUIET, **one) as first, client(first.url) as http:
            placed = await rpc(http, "initiate", message="Hello.", to=CALLEE)
            call_id = placed["result"]["callId"]
            async with serving(tmp_path, **QUIET, **two) as second, client(second.url) as other:
                assert (await other.get("/readyz")).json()["calls"]["live"] == 0
                # It is history to the other server, though.
                assert (await look(other, call_id))["callId"] == call_id
                ports = {"serve": {"port": free_port()}, "streaming": {"port": free_port()}}
                config = settings(**{**QUIET, **ports, **one})
                said = await asyncio.to_thread(refusal, tmp_path, config)
                assert "is used by another voicecall server named one" in said
                assert "?server=NAME" in said
            assert (await look(http, call_id))["state"] == "initiated"
            assert (await http.get("/readyz")).json()["calls"]["live"] == 1

    run(case(), within_s=DEADLINE_S * 2)


def test_a_database_that_cannot_be_reached_is_named_at_the_start(tmp_path: Path) -> None:
    url = f"redis://calls:hush-hush@127.0.0.1:{free_port()}/0"
    said = refusal(tmp_path, settings(store=url))
    assert "cannot be reached" in said
    assert "start it, or correct" in said
    assert "hush-hush" not in said


def test_a_url_that_is_none_is_refused_when_the_server_is_made() -> None:
    with pytest.raises(ConfigError, match="store: the URL must have the number of a database"):
        Server(Config.model_validate(settings(store="redis://localhost/one")))


def test_a_server_whose_database_went_away_refuses_calls_and_places_them_when_it_is_back(
    own_database: DatabaseServer, tmp_path: Path
) -> None:
    own_database.start()

    async def case() -> None:
        async with (
            serving(tmp_path, **QUIET, store=own_database.url()) as served,
            client(served.url) as http,
        ):
            own_database.kill()
            refused = await rpc(http, "initiate", message="Hello.", to=CALLEE)
            assert "error" in refused
            assert (await http.get("/readyz")).json()["calls"]["live"] == 0
            await asyncio.to_thread(own_database.start)
            placed = await eventually(partial(accepted, http))
            found = await look(http, placed["callId"])
            assert found["state"] == "initiated"

    async def accepted(http: httpx.AsyncClient) -> Any:
        return (await rpc(http, "initiate", message="Hello.", to=CALLEE)).get("result")

    run(case(), within_s=DEADLINE_S * 2)
