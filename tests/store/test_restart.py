"""A server that is killed and started again on the same file."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.cli.test_serve import BEARER, DEADLINE_S, refusal, rpc, serving
from tests.hosting import CALLEE, free_port, run, settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

# Nobody answers, so that the calls stay as they are until we say otherwise.
QUIET: dict[str, Any] = {"mock": {"phone": "off"}, "ringTimeoutMs": 60_000}


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers=BEARER, timeout=10)


async def look(http: httpx.AsyncClient, call_id: str) -> dict[str, Any]:
    return dict((await rpc(http, "status", callId=call_id))["result"]["call"])


def test_calls_survive_kill_9_of_the_server(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(tmp_path, **QUIET) as served, client(served.url) as http:
            placed = await asyncio.gather(
                *(rpc(http, "initiate", message=f"Call {n}.", to=CALLEE) for n in range(5))
            )
            ids = [each["result"]["callId"] for each in placed]
            await rpc(http, "end", callId=ids[0])
            before = {call_id: await look(http, call_id) for call_id in ids}
            served.signal(signal.SIGKILL)
            await served.exit()
        async with serving(tmp_path, **QUIET) as served, client(served.url) as http:
            assert {call_id: await look(http, call_id) for call_id in ids} == before
            ready = (await http.get("/readyz")).json()
            assert ready["calls"]["live"] == 4
            for call_id in ids[1:]:
                assert "result" in await rpc(http, "end", callId=call_id)
            assert (await http.get("/readyz")).json()["calls"]["live"] == 0
        async with serving(tmp_path, **QUIET) as served, client(served.url) as http:
            reasons = [(await look(http, call_id))["endReason"] for call_id in ids]
            assert reasons == ["hangup-bot"] * 5
            assert (await rpc(http, "status"))["result"]["calls"] == []

    run(case(), within_s=DEADLINE_S * 2)


def test_a_second_server_on_the_same_file_is_refused_and_harms_no_call(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(tmp_path, **QUIET) as served, client(served.url) as http:
            placed = await rpc(http, "initiate", message="Hello.", to=CALLEE)
            call_id = placed["result"]["callId"]
            ports = {"serve": {"port": free_port()}, "streaming": {"port": free_port()}}
            config = settings(**{**QUIET, **ports})
            said = await asyncio.to_thread(refusal, tmp_path, config)
            assert "is used by another voicecall server" in said
            assert (await look(http, call_id))["state"] == "initiated"

    run(case(), within_s=DEADLINE_S)


def test_a_store_that_cannot_be_used_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "calls.sqlite3").write_text("notes of somebody" * 100)
    said = refusal(tmp_path, settings(store="calls.sqlite3"))
    assert "calls.sqlite3 is damaged or no call store" in said
    assert "move it away" in said


def test_memory_is_asked_for_by_name(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            serving(tmp_path, store=":memory:", **QUIET) as served,
            client(served.url) as http,
        ):
            await rpc(http, "initiate", message="Hello.", to=CALLEE)
            served.signal(signal.SIGKILL)
            await served.exit()

    run(case(), within_s=DEADLINE_S)
    assert list(tmp_path.rglob("*.sqlite3*")) == []
