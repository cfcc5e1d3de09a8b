"""The tool over a server: a whole dialogue, in process and by a client."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosting import CALLEE, TOKEN, run, serving, texts
from voicecall import Client
from voicecall.agent import CallControl, InProcess, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.hosting import Served

pytestmark = pytest.mark.socket

DEADLINE_S = 30
SAYS = {"scripted": {"transcripts": ["Until six."]}}
WAYS = ["in process", "by a client"]


@asynccontextmanager
async def controlling(served: Served, way: str) -> AsyncIterator[CallControl]:
    if way == "in process":
        yield InProcess(served.server)
        return
    async with Client(served.server.control_url, token=TOKEN) as client:
        yield client


async def done(control: CallControl, action: str, **given: Any) -> dict[str, Any]:
    result = await execute(control, {"action": action, **given})
    assert "error" not in result, result
    return result


@pytest.mark.parametrize("way", WAYS)
def test_a_model_places_a_call_asks_and_hangs_up(way: str) -> None:
    async def case() -> None:
        async with serving(stt=SAYS) as served, controlling(served, way) as control:
            placed = await done(
                control, "initiate_call", message="Hello.", to=CALLEE, mode="conversation"
            )
            call_id = placed["callId"]
            # At once, while the phone still rings.
            asking = asyncio.create_task(
                done(control, "continue_call", callId=call_id, message="Open today?")
            )
            phone = await served.connected(call_id)
            await served.listening(call_id, said=2)
            await phone.say("Until six.")
            assert await asking == {"success": True, "transcript": "Until six."}

            assert await done(control, "speak_to_user", callId=call_id, message="Bye.")
            await done(control, "send_dtmf", callId=call_id, digits="5")
            live = await done(control, "get_status")
            assert [each["callId"] for each in live["calls"]] == [call_id]
            await done(control, "end_call", callId=call_id)
            await served.ended(call_id)

            status = (await done(control, "get_status", callId=call_id))["call"]
            assert (status["state"], status["ended"]) == ("hangup-bot", True)
            assert texts(status) == [
                ("bot", "Hello."),
                ("bot", "Open today?"),
                ("user", "Until six."),
                ("bot", "Bye."),
            ]
            over = await execute(
                control, {"action": "continue_call", "callId": call_id, "message": "Hm?"}
            )
            assert over["error"]["code"] == "call_ended"
            assert over["error"]["endReason"] == "hangup-bot"

    run(case(), within_s=DEADLINE_S)


@pytest.mark.parametrize("way", WAYS)
def test_what_the_server_refuses_is_a_result(way: str) -> None:
    async def case() -> None:
        async with serving(stt=SAYS) as served, controlling(served, way) as control:
            refused = await execute(
                control, {"action": "initiate_call", "message": "Help!", "to": "911"}
            )
            assert refused["error"]["code"] == "invalid_request"
            assert "E.164" in refused["error"]["message"]
            unknown = await execute(control, {"action": "end_call", "callId": "c-9"})
            assert unknown["error"]["code"] == "unknown_call"
            assert await done(control, "get_status", callId="c-9") == {"found": False}
            assert await done(control, "get_status") == {"calls": []}

    run(case(), within_s=DEADLINE_S)


@pytest.mark.parametrize("way", WAYS)
def test_who_stops_waiting_can_ask_again(way: str) -> None:
    async def case() -> None:
        async with serving(stt=SAYS) as served, controlling(served, way) as control:
            placed = await done(
                control, "initiate_call", message="Hello.", to=CALLEE, mode="conversation"
            )
            call_id = placed["callId"]
            phone = await served.connected(call_id)
            question = {"action": "continue_call", "callId": call_id, "message": "Well?"}
            asking = asyncio.create_task(execute(control, question))
            await served.listening(call_id, said=2)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

            async def again() -> dict[str, Any]:
                # By a client, the server learns a moment later that nobody waits any more.
                while "error" in (told := await execute(control, question)):
                    assert told["error"]["code"] == "turn_pending"
                return told

            asking = asyncio.create_task(again())
            await served.listening(call_id, said=3)
            await phone.say("until six")
            assert (await asking)["transcript"] == "Until six."

    run(case(), within_s=DEADLINE_S)
