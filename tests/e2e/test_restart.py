"""A server that starts on the store of one that was killed goes on with its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.hosting import free_port, run, settings, until
from tests.store.stores import stored
from voicecall.call.record import CallState, Direction
from voicecall.clock import SystemClock
from voicecall.config.schema import Config
from voicecall.server import Server
from voicecall.simulator.exchange import Fault, SimpleParty
from voicecall.simulator.exchange.plivo import PlivoExchange
from voicecall.simulator.exchange.telnyx import TelnyxExchange
from voicecall.store.sqlite import SqliteCallStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from voicecall.call.record import CallRecord

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

US, THEM = "+13125550001", "+13125550002"


def server(carrier: str, account: Mapping[str, Any], store: Path, **sections: Any) -> Server:
    port = free_port()
    config = {
        **settings(serve={"port": port}, streaming={"enabled": False}),
        "provider": carrier,
        "fromNumber": US,
        "publicUrl": f"http://127.0.0.1:{port}",
        "inboundPolicy": "open",
        "store": str(store),
        carrier: account,
        **sections,
    }
    return Server(Config.model_validate(config))


async def leave(path: Path, state: CallState, **fields: Any) -> None:
    """Leave a call in the store, as a process that was killed a moment ago."""
    clock = SystemClock()
    now_ms = clock.wall_ms()
    store = SqliteCallStore(path, clock=clock)
    await store.open()
    try:
        left = stored(state, started_at=now_ms, answered_at=None, **fields)
        await store.save(left, {"type": "call.created", "timestamp": now_ms})
    finally:
        await store.close()


def found(running: Server) -> CallRecord:
    record = running.manager.find("call-1")
    assert record is not None
    return record


def test_a_caller_who_waits_to_be_picked_up_is_picked_up(tmp_path: Path) -> None:
    async def case() -> None:
        async with TelnyxExchange(lambda _: SimpleParty()) as exchange:
            # The server that was told of the call is gone, and nobody is told twice.
            exchange.faults.add("webhook:call.initiated", Fault("lose"))
            line = await exchange.call_in(THEM, US, "http://127.0.0.1:1/")
            await leave(
                tmp_path / "calls",
                CallState.INITIATED,
                call_id="call-1",
                provider="telnyx",
                provider_call_id=line.provider_call_id,
                direction=Direction.INBOUND,
                from_number=THEM,
            )
            account = {
                "apiKey": exchange.api_key,
                "connectionId": exchange.connection_id,
                "publicKey": exchange.public_key,
                "apiBaseUrl": exchange.api_url,
            }
            async with server("telnyx", account, tmp_path / "calls") as running:
                await until(lambda: found(running).answered_at is not None)
                assert not line.ended.is_set()

    run(case())


def test_a_call_that_plivo_has_two_names_for_is_ended_with_plivos_reason(tmp_path: Path) -> None:
    async def case() -> None:
        async with PlivoExchange(lambda _: SimpleParty("busy")) as exchange:
            account = {
                "authId": exchange.auth_id,
                "authToken": exchange.auth_token,
                "apiBaseUrl": exchange.base_url,
            }
            path = tmp_path / "calls"
            # The end of the call is not told: the server was down.
            exchange.faults.add("webhook:hangup", Fault("lose"))
            async with server("plivo", account, path) as running:
                record = await running.manager.initiate("Hello", THEM)
                (line,) = exchange.calls.values()
                await until(lambda: line.over and "providerAlias" in record.metadata)
                assert record.provider_call_id != line.provider_call_id
                left = {
                    "call_id": "call-1",
                    "provider": "plivo",
                    "provider_call_id": record.provider_call_id,
                    "to_number": THEM,
                    "metadata": dict(record.metadata),
                }
            await leave(path, CallState.RINGING, **left)
            async with server("plivo", account, path) as running:
                await until(lambda: found(running).state.terminal)
                assert found(running).end_reason is CallState.BUSY

    run(case())
