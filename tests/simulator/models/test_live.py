from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus

from tests.simulator.models.vendor import audio_of, kinds, living, serving, spoken
from voicecall.simulator.models.brain import Brain, ToolRule, Use
from voicecall.simulator.models.faults import Refuse
from voicecall.simulator.models.live import DELEGATE

pytestmark = pytest.mark.socket

QUESTION = "What are your opening hours?"
START: dict[str, Any] = {
    "model": "gpt-live-1",
    "audio": {"format": {"type": "audio/pcmu", "rate": 8000}, "output": {"voice": "marin"}},
    "delegation": {"type": "client"},
}
BOOK = {"type": "function", "name": "book", "parameters": {"type": "object", "properties": {}}}
BACKED = {
    **START,
    "delegation": {"type": "responses", "responses": {"model": "m", "tools": [BOOK]}},
}
BOOKING = Brain(rules=[ToolRule("book", (Use("book", {"at": "ten"}),), then="Booked: {result}.")])
ASKING = Brain(rules=[ToolRule("book", (Use(DELEGATE),), before="One moment.")])
SILENCE = b"\xff" * 320


async def started(client: Any, session: dict[str, Any] | None = None) -> dict[str, Any]:
    await client.send("session.start", session=session or START)
    resource: dict[str, Any] = (await client.gets("session.started"))["session"]
    return resource


async def says(client: Any) -> str:
    return str((await client.gets("session.output_transcript.delta"))["delta"])


def test_a_session_starts_as_the_client_wants_it_and_sends_silence_all_the_time() -> None:
    async def case() -> None:
        async with living() as client:
            error = await client.refused("session.close")
            assert error["code"] == "invalid_session_state"
            resource = await started(client)
            assert resource["model"] == "gpt-live-1"
            assert resource["expires_at"] > 0
            for _ in range(3):
                assert audio_of([await client.gets("session.output_audio.delta")]) == SILENCE
            error = await client.refused("session.start", session=START)
            assert error["code"] == "invalid_session_state"

    asyncio.run(case())


def test_a_spoken_question_is_transcribed_and_answered() -> None:
    async def case() -> None:
        async with living(QUESTION) as client:
            await started(client)
            await client.speak(spoken())
            events = await client.until("session.output_transcript.delta")
            heard = [e["delta"] for e in events if e["type"] == "session.input_transcript.delta"]
            assert len(heard) > 1
            assert "".join(heard) == QUESTION
            assert "open" in events[-1]["delta"]
            assert audio_of([await client.gets("session.output_audio.delta")]) != SILENCE

    asyncio.run(case())


def test_the_model_falls_silent_when_it_is_spoken_over() -> None:
    async def case() -> None:
        mute = Brain(rules=[ToolRule("stop", (), then="")])
        async with living("stop", brain=mute) as client:
            await started(client)
            long = "one two three four five six seven eight nine ten"
            await client.send("session.commentary.append", content=long, delegation_id=None)
            assert (await says(client)).strip() == long
            await client.gets("session.output_audio.delta")
            await client.speak(spoken())
            await client.gets("session.input_transcript.delta")
            for _ in range(3):
                assert audio_of([await client.gets("session.output_audio.delta")]) == SILENCE

    asyncio.run(case())


def test_commentary_is_said_and_remarks_are_answered() -> None:
    async def case() -> None:
        async with living() as client:
            await started(client)
            said = 'Say this to the caller now, word for word: "Hello, this is Harbour Dental."'
            await client.send("session.commentary.append", content=said, delegation_id=None)
            await client.gets("session.commentary.appended")
            assert await says(client) == "Hello, this is Harbour Dental. "
            remark = "[What are your opening hours?]"
            await client.send("session.commentary.append", content=remark, delegation_id=None)
            assert "open" in await says(client)

    asyncio.run(case())


def test_context_is_acknowledged_and_bounded() -> None:
    async def case() -> None:
        async with living() as client:
            await started(client)
            for kind in ("thinking", "instructions"):
                fields = {"content": "quietly", "delegation_id": None, "event_id": "mine"}
                await client.send(f"session.{kind}.append", **fields)
                acknowledged = await client.gets(f"session.{kind}.appended")
                assert acknowledged["client_event_id"] == "mine"
            long = {"content": "x" * 5000, "delegation_id": None}
            error = await client.refused("session.commentary.append", **long)
            assert error["param"] == "content"
            strange = {"content": "x", "delegation_id": "never"}
            error = await client.refused("session.commentary.append", **strange)
            assert error["param"] == "delegation_id"

    asyncio.run(case())


def test_tasks_go_to_a_backend_whose_calls_the_client_answers() -> None:
    async def case() -> None:
        async with living("book a table", brain=BOOKING) as client:
            await started(client, BACKED)
            await client.speak(spoken())
            created = await client.gets("session.delegation.created")
            assert created["delegation"]["target"] == "responses"
            nested = [(await client.gets("response.event"))["event"] for _ in range(3)]
            assert kinds(nested) == [
                "response.created",
                "response.output_item.done",
                "response.completed",
            ]
            call = nested[1]["item"]
            assert (call["name"], call["arguments"]) == ("book", '{"at": "ten"}')
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "ten"}
            await client.refused("response.create")
            await client.send("response.item.create", item=output)
            await client.send("response.create")
            assert await says(client) == "Booked: ten. "
            await client.refused("response.item.create", item=output)

    asyncio.run(case())


def test_tasks_go_to_a_client_without_backend_who_answers_with_commentary() -> None:
    async def case() -> None:
        async with living("book a table", brain=ASKING) as client:
            await started(client)
            await client.speak(spoken())
            delegation = (await client.gets("session.delegation.created"))["delegation"]
            assert delegation["target"] == "client"
            answer = {"content": "It is booked.", "delegation_id": delegation["id"]}
            await client.send("session.commentary.append", **answer)
            while await says(client) != "It is booked. ":
                pass
            await client.refused("response.create")

    asyncio.run(case())


def test_a_muted_caller_is_not_heard() -> None:
    async def case() -> None:
        async with living(QUESTION, "You hear me?") as client:
            await started(client)
            await client.send("session.input_audio.mute")
            await client.gets("session.input_audio.muted")
            await client.speak(spoken())
            await client.send("session.input_audio.unmute")
            events = await client.until("session.input_audio.unmuted")
            assert "session.input_transcript.delta" not in kinds(events)
            await client.speak(spoken())
            await client.gets("session.input_transcript.delta")

    asyncio.run(case())


def test_delegation_can_be_changed_but_not_its_kind() -> None:
    async def case() -> None:
        async with living() as client:
            await started(client, BACKED)
            same = {"delegation": {"type": "responses", "responses": {"model": "other"}}}
            await client.send("session.update", session=same)
            updated = (await client.gets("session.updated"))["session"]
            assert updated["delegation"]["responses"]["model"] == "other"
            other = {"delegation": {"type": "client"}}
            await client.refused("session.update", session=other)

    asyncio.run(case())


def test_the_session_is_settled_when_the_client_closes_it() -> None:
    async def case() -> None:
        async with living() as client:
            await started(client)
            await client.send("session.close")
            closed = await client.gets("session.closed")
            assert closed["reason"] == "close_requested"
            with pytest.raises(ConnectionClosedOK):
                await client.event()

    asyncio.run(case())


def test_what_makes_no_sense_is_refused_and_the_session_goes_on() -> None:
    async def case() -> None:
        async with living() as client:
            await client.send_raw("{")
            assert (await client.gets("error"))["error"]["code"] == "invalid_json"
            await client.send_raw('{"type": "response.cancel"}')
            assert (await client.gets("error"))["error"]["code"] == "unknown_event_type"
            too_long = [{"role": "user", "content": [{"text": "x"}]}] * 129
            error = await client.refused("session.start", session={**START, "input": too_long})
            assert error["param"] == "session.input"
            await started(client)
            error = await client.refused("session.input_audio.append", audio="!")
            assert error["param"] == "audio"

    asyncio.run(case())


def test_a_wrong_key_and_a_planned_refusal_are_refused() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            stranger = openai.AsyncOpenAI(base_url=server.base_url, api_key="wrong")
            server.faults.add("live", Refuse(429))
            for who, status in ((stranger, 401), (client, 429)):
                with pytest.raises(InvalidStatus) as caught:
                    await who.live.connect().enter()
                assert caught.value.response.status_code == status
            await stranger.close()

    asyncio.run(case())
