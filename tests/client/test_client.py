"""The client against a real server, with real calls of the mock carrier."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

from tests.hosting import CALLEE, TOKEN, Served, run, serving, until
from voicecall.client import Client
from voicecall.client.results import Change
from voicecall.errors import CallHasEnded, InvalidRequest, TurnPending, UnknownCall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.socket


@asynccontextmanager
async def talking(**sections: Any) -> AsyncIterator[tuple[Client, Served]]:
    async with (
        serving(**sections) as served,
        Client(served.server.control_url, TOKEN, timeout_s=10) as client,
    ):
        yield client, served


def test_a_conversation_is_held_over_it() -> None:
    async def case() -> None:
        stt = {"scripted": {"transcripts": ["On Tuesday.", "At ten."]}}
        async with talking(stt=stt) as (client, served):
            call_id = await client.initiate("Hello.", CALLEE, "conversation")
            phone = await served.connected(call_id)
            await served.listening(call_id)
            asking = asyncio.create_task(client.ask(call_id, "When?"))
            await served.listening(call_id, said=2)
            with pytest.raises(TurnPending):
                await client.ask(call_id, "And who?")
            await phone.say("On Tuesday")
            assert await asking == "On Tuesday."
            operation = await client.start_ask(call_id, "What time?")
            assert (await client.ask_result(operation))["status"] == "pending"
            await served.listening(call_id, said=3)
            await phone.say("At ten")
            call = served.server.calls.get(call_id)
            await until(lambda: len(call.record.transcript) == 5)
            assert await client.ask_result(operation) == {"status": "done", "transcript": "At ten."}
            await client.speak(call_id, "Thank you.")
            await client.send_dtmf(call_id, "1w2")
            assert served.hand.keys == ["1w2"]
            record = await client.status(call_id)
            assert record is not None
            assert record["state"] in {"listening", "active"}
            assert [live["callId"] for live in await client.calls()] == [call_id]
            await client.end(call_id)
            await client.end(call_id)
            assert await client.calls() == []
            with pytest.raises(CallHasEnded) as refused:
                await client.speak(call_id, "Hello?")
            assert refused.value.call_id == call_id
            told = (await client.changes(limit=1000))["changes"]
            assert {"call.created", "call.speaking", "call.spoken", "call.speech"} <= {
                change["type"] for change in told
            }
            assert all(change.keys() <= get_type_hints(Change).keys() for change in told)
            (ended,) = await client.history(last=5)
            assert (ended["callId"], ended["endReason"]) == (call_id, "hangup-bot")
            assert (await client.latency())["calls"] == 1

    run(case())


@pytest.mark.parametrize("store", [":memory:", "calls.sqlite"])
def test_what_was_stored_is_read_in_parts(store: str, tmp_path: Path) -> None:
    place = store if store == ":memory:" else str(tmp_path / store)

    async def case() -> None:
        async with talking(store=place) as (client, served):
            call_id = await client.initiate("Good news.", CALLEE, "notify")
            await served.ended(call_id)
            everything = await client.changes(limit=1000)
            kinds = [change["type"] for change in everything["changes"]]
            assert kinds[0] == "call.created"
            assert kinds[-1] == "call.ended"
            numbers = [change["number"] for change in everything["changes"]]
            assert numbers == sorted(numbers)
            parts, since = [], 0
            while (part := await client.changes(since, limit=2))["changes"]:
                parts += part["changes"]
                since = part["last"]
            assert parts == everything["changes"]
            (last,) = (await client.changes(since=-1))["changes"]
            assert last["type"] == "call.ended"
            assert await client.history(since=2**50) == []

    run(case())


def test_events_begin_before_the_call_and_end_with_the_client() -> None:
    async def case() -> None:
        async with talking() as (client, served):
            async with client.events() as events:
                call_id = await client.initiate("Good news.", CALLEE, "notify")
                async for change in events:
                    if change["type"] == "call.ended":
                        break
                assert change["callId"] == call_id
            left = client.events()
            await left.connect()
            reading = asyncio.create_task(anext(left, None))
            await asyncio.sleep(0)
            await client.aclose()
            assert await reading is None
            assert served.server.calls.live_count == 0

    run(case())


def test_errors_are_the_servers_own() -> None:
    async def case() -> None:
        async with talking() as (client, _):
            assert await client.status("nobody") is None
            with pytest.raises(UnknownCall) as refused:
                await client.end("nobody")
            assert refused.value.call_id == "nobody"
            with pytest.raises(InvalidRequest, match="last"):
                await client.history(last=0)
            with pytest.raises(InvalidRequest, match="to required"):
                await client.initiate("")
            with pytest.raises(InvalidRequest):
                await client.initiate("Hello.", to="12")

    run(case())


def test_any_method_can_be_asked_for_by_its_name() -> None:
    async def case() -> None:
        async with talking() as (client, _):
            assert await client.request("status") == {"calls": []}
            assert await client.request("voicecall.status", callId=None) == {"calls": []}
            described = await client.request("rpc.discover")
            assert described["info"]["title"] == "voicecall"

    run(case())
