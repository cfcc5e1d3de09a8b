"""The client without an event loop of the caller's own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.control.fakes import TOKEN, FakeCalls, record, services, serving
from tests.hosting import CALLEE, free_port, run
from tests.hosting import TOKEN as WHOLE_TOKEN
from tests.hosting import serving as whole
from voicecall.client import SyncClient
from voicecall.errors import RemoteError, UnknownCall

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.socket


def with_server(use: Callable[[SyncClient], None]) -> FakeCalls:
    """Let `use` have a client in a thread, while a server runs in this one."""
    calls = FakeCalls()
    calls.add(record())

    def work(url: str) -> None:
        with SyncClient(url, TOKEN, timeout_s=10) as client:
            use(client)

    async def case() -> None:
        async with serving(services(calls)) as served:
            await asyncio.to_thread(work, f"http://127.0.0.1:{served.port}")

    run(case())
    return calls


def test_its_methods_return_when_it_is_done() -> None:
    def use(client: SyncClient) -> None:
        assert client.initiate("Hello.", "+15550002222", "notify") == "c-2"
        assert client.ask("c-1", "When?") == "you said When?"
        assert client.start_ask("c-1", "When?") == "op-1"
        assert client.ask_result("op-1") == {"status": "done", "transcript": "fine"}
        client.speak("c-1", "Hi")
        client.send_dtmf("c-1", "1#")
        client.transfer("c-1", "+15550009999")
        client.end("c-1")
        found = client.status("c-1")
        assert found is not None
        assert found["callId"] == "c-1"
        assert len(client.calls()) == 2
        assert len(client.history(last=1)) == 1
        assert client.changes(since=3, limit=4)["last"] == 7
        assert client.latency(last=5)["calls"] == 2
        assert client.request("continue.result", operationId="op-3") == {"status": "pending"}
        with pytest.raises(UnknownCall):
            client.end("nobody")

    calls = with_server(use)
    assert ("dtmf", "c-1", "1#") in calls.asked
    assert ("changes", "3", "4") in calls.asked


def test_changes_are_iterated_over() -> None:
    def use(url: str) -> None:
        with SyncClient(url, WHOLE_TOKEN) as client, client.events() as events:
            call_id = client.initiate("Good news.", CALLEE, "notify")
            kinds = []
            for change in events:
                assert change["callId"] == call_id
                kinds.append(change["type"])
                if change["type"] == "call.ended":
                    break
            assert "call.speaking" in kinds

    async def case() -> None:
        async with whole() as served:
            await asyncio.to_thread(use, served.server.control_url)

    run(case())


def test_several_threads_use_one_client() -> None:
    def use(client: SyncClient) -> None:
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda: found.append(len(client.calls()))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [1] * 8

    with_server(use)


def test_a_client_that_is_closed_says_so_and_leaves_no_thread() -> None:
    before = threading.active_count()
    client = SyncClient(f"http://127.0.0.1:{free_port()}", TOKEN)
    with pytest.raises(RemoteError, match="voicecall serve"):
        client.calls()
    client.close()
    client.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        client.calls()
