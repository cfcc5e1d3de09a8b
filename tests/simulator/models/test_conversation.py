from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.simulator.models.vendor import CONVERSE, PCMU, audio_of, conversing, kinds, spoken
from voicecall.simulator.models.brain import Brain, ToolRule, Use

pytestmark = pytest.mark.socket

QUESTION = "What are your opening hours?"
BOOKING = Brain(rules=[ToolRule("book", (Use("book", {"at": "ten"}),), then="Booked: {result}.")])
BOOK = {"type": "function", "name": "book", "parameters": {"type": "object", "properties": {}}}


def message(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def test_a_session_begins_with_defaults_and_takes_what_the_client_wants() -> None:
    async def case() -> None:
        async with conversing() as client:
            created = await client.gets("session.created")
            assert created["session"]["type"] == "realtime"
            assert created["session"]["model"] == "gpt-realtime-2.1"
            session = {**CONVERSE, "instructions": "Be kind.", "tools": [BOOK]}
            await client.send("session.update", session=session)
            updated = (await client.gets("session.updated"))["session"]
            assert updated["instructions"] == "Be kind."
            assert updated["audio"]["output"]["format"] == PCMU
            assert updated["audio"]["output"]["voice"] == "marin"
            assert updated["tools"][0]["name"] == "book"

    asyncio.run(case())


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "transcription"}, "session.type"),
        ({"type": "realtime", "model": "another"}, "session.model"),
        ({"type": "realtime", "audio": {"output": {"format": {"type": "x"}}}}, "session"),
    ],
)
def test_a_session_refuses_what_it_cannot_be(session: dict[str, Any], param: str) -> None:
    async def case() -> None:
        async with conversing() as client:
            error = await client.refused("session.update", session=session)
            assert str(error["param"]).startswith(param)

    asyncio.run(case())


def test_a_spoken_question_is_noticed_understood_and_answered_in_the_vendors_order() -> None:
    async def case() -> None:
        async with conversing(QUESTION) as client:
            await client.configure()
            await client.speak(spoken())
            events = await client.until("response.done")
        assert kinds(events[:5]) == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        started, stopped, committed = events[:3]
        assert started["item_id"] == stopped["item_id"] == committed["item_id"]
        assert started["audio_start_ms"] < stopped["audio_end_ms"]
        final = "conversation.item.input_audio_transcription.completed"
        (heard,) = (event for event in events if event["type"] == final)
        assert heard["transcript"] == QUESTION
        reply = [event for event in events if "transcription" not in event["type"]][5:]
        assert kinds(reply)[:5] == [
            "response.created",
            "rate_limits.updated",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
        ]
        assert set(kinds(reply)[5:-6]) == {
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
        }
        assert kinds(reply)[-6:] == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        done = reply[-1]["response"]
        assert done["status"] == "completed"
        assert "open" in done["output"][0]["content"][0]["transcript"]
        assert len(audio_of(reply)) > 8000

    asyncio.run(case())


def test_speech_interrupts_a_response_and_the_client_cuts_it_to_what_was_heard() -> None:
    async def case() -> None:
        async with conversing(QUESTION, endless=True) as client:
            await client.configure()
            item = message("user", "count")
            await client.send("conversation.item.create", item=item)
            await client.send("response.create")
            item_id = (await client.gets("response.output_audio.delta"))["item_id"]
            await client.speak(spoken())
            cut = (await client.gets("response.done"))["response"]
            assert cut["status"] == "cancelled"
            assert cut["status_details"]["reason"] == "turn_detected"
            assert cut["output"][0]["status"] == "incomplete"
            place = {"item_id": item_id, "content_index": 0}
            await client.send("conversation.item.truncate", **place, audio_end_ms=150)
            truncated = await client.gets("conversation.item.truncated")
            assert truncated["audio_end_ms"] == 150
            await client.send("conversation.item.retrieve", item_id=item_id)
            kept = (await client.gets("conversation.item.retrieved"))["item"]
            assert len(kept["content"][0]["transcript"] or "") <= 10

    asyncio.run(case())


def test_without_turn_detection_the_client_commits_and_asks_for_the_response() -> None:
    async def case() -> None:
        async with conversing(QUESTION) as client:
            audio = {"input": {**CONVERSE["audio"]["input"], "turn_detection": None}}
            await client.configure({"type": "realtime", "audio": audio})
            error = await client.refused("input_audio_buffer.commit")
            assert error["code"] == "input_audio_buffer_commit_empty"
            await client.speak(spoken())
            await client.send("input_audio_buffer.clear")
            await client.gets("input_audio_buffer.cleared")
            await client.speak(spoken())
            await client.send("input_audio_buffer.commit")
            events = await client.until("conversation.item.input_audio_transcription.completed")
            assert "response.created" not in kinds(events)
            await client.send("response.create")
            done = (await client.gets("response.done"))["response"]
            assert "open" in done["output"][0]["content"][0]["transcript"]

    asyncio.run(case())


def test_a_text_is_read_out_word_for_word_beside_the_conversation() -> None:
    async def case() -> None:
        async with conversing() as client:
            await client.configure()
            response = {
                "conversation": "none",
                "instructions": "Read the user's text aloud exactly, word for word.",
                "input": [message("user", "Your appointment is at ten.")],
                "metadata": {"seq": "7"},
            }
            await client.send("response.create", response=response)
            events = await client.until("response.done")
            done = events[-1]["response"]
            said = done["output"][0]["content"][0]["transcript"]
            assert said == "Your appointment is at ten."
            assert done["metadata"] == {"seq": "7"}
            assert done["conversation_id"] is None
            assert "conversation.item.added" not in kinds(events)
            assert audio_of(events)

    asyncio.run(case())


def test_one_response_is_made_at_a_time_and_can_be_cancelled() -> None:
    async def case() -> None:
        async with conversing(endless=True) as client:
            await client.configure()
            error = await client.refused("response.cancel")
            assert error["code"] == "response_cancel_not_active"
            await client.send("conversation.item.create", item=message("user", "count"))
            await client.send("response.create")
            response_id = (await client.gets("response.created"))["response"]["id"]
            error = await client.refused("response.create")
            assert error["code"] == "conversation_already_has_active_response"
            await client.send("response.cancel", response_id=response_id)
            done = (await client.gets("response.done"))["response"]
            assert done["id"] == response_id
            assert done["status_details"]["reason"] == "client_cancelled"

    asyncio.run(case())


def test_a_response_beside_the_conversation_can_be_cancelled() -> None:
    async def case() -> None:
        async with conversing(endless=True) as client:
            await client.configure()
            response = {
                "conversation": "none",
                "instructions": "Read the user's text aloud exactly, word for word.",
                "input": [message("user", "one, two, three.")],
            }
            await client.send("response.create", response=response)
            response_id = (await client.gets("response.created"))["response"]["id"]
            await client.send("response.cancel", response_id=response_id)
            assert (await client.gets("response.done"))["response"]["status"] == "cancelled"

    asyncio.run(case())


def test_tools_are_used_and_their_results_answered() -> None:
    async def case() -> None:
        async with conversing(brain=BOOKING) as client:
            await client.configure({**CONVERSE, "tools": [BOOK]})
            events = await client.say("book a table")
            arguments = "response.function_call_arguments.done"
            (call,) = (event for event in events if event["type"] == arguments)
            assert (call["name"], call["arguments"]) == ("book", '{"at": "ten"}')
            (item,) = events[-1]["response"]["output"]
            assert item["call_id"] == call["call_id"]
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "ten"}
            await client.send("conversation.item.create", item=output)
            await client.send("response.create")
            done = (await client.gets("response.done"))["response"]
            assert done["output"][0]["content"][0]["transcript"] == "Booked: ten."
            error = await client.refused(
                "conversation.item.create", item={**output, "call_id": "never"}
            )
            assert "never" in error["message"]

    asyncio.run(case())


def test_tools_that_are_not_to_be_used_are_not() -> None:
    async def case() -> None:
        async with conversing(brain=BOOKING) as client:
            await client.configure({**CONVERSE, "tools": [BOOK], "tool_choice": "none"})
            (item,) = (await client.say("book a table"))[-1]["response"]["output"]
            assert item["type"] == "message"

    asyncio.run(case())


def test_answers_can_be_text() -> None:
    async def case() -> None:
        async with conversing() as client:
            await client.configure({**CONVERSE, "output_modalities": ["text"]})
            events = await client.say(QUESTION)
            assert "response.output_text.delta" in kinds(events)
            assert not audio_of(events)
            (item,) = events[-1]["response"]["output"]
            assert item["content"][0]["type"] == "output_text"

    asyncio.run(case())


def test_items_are_kept_in_the_order_the_client_wants() -> None:
    async def case() -> None:
        async with conversing() as client:
            await client.configure()

            async def add(item_id: str, after: str | None = None) -> Any:
                item = {**message("user", "x"), "id": item_id}
                place = {} if after is None else {"previous_item_id": after}
                await client.send("conversation.item.create", item=item, **place)
                return (await client.gets("conversation.item.done"))["previous_item_id"]

            assert await add("one") is None
            assert await add("three") == "one"
            assert await add("two", after="one") == "one"
            assert await add("zero", after="root") is None
            await client.send("conversation.item.delete", item_id="one")
            await client.gets("conversation.item.deleted")
            item = message("user", "x")
            after_gone = {"item": item, "previous_item_id": "one"}
            error = await client.refused("conversation.item.create", **after_gone)
            assert error["param"] == "previous_item_id"

    asyncio.run(case())


def test_truncation_is_refused_beyond_the_audio_and_of_what_is_no_audio() -> None:
    async def case() -> None:
        async with conversing() as client:
            await client.configure()
            item = {**message("user", "x"), "id": "user-item"}
            await client.send("conversation.item.create", item=item)
            await client.send("response.create")
            (said,) = (await client.gets("response.done"))["response"]["output"]
            for item_id, end_ms in ((said["id"], 10**6), ("user-item", 0), ("gone", 0)):
                place = {"item_id": item_id, "content_index": 0, "audio_end_ms": end_ms}
                await client.refused("conversation.item.truncate", **place)

    asyncio.run(case())


def test_the_voice_is_fixed_once_it_was_heard() -> None:
    async def case() -> None:
        async with conversing() as client:
            await client.configure()
            await client.say(QUESTION)
            session = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
            error = await client.refused("session.update", session=session)
            assert error["code"] == "cannot_update_voice"

    asyncio.run(case())


def test_a_caller_who_says_nothing_is_asked_whether_he_is_there() -> None:
    async def case() -> None:
        async with conversing() as client:
            detection = {"type": "server_vad", "idle_timeout_ms": 10}
            audio = {"input": {**CONVERSE["audio"]["input"], "turn_detection": detection}}
            await client.configure({"type": "realtime", "audio": audio})
            response = {
                "instructions": "Read the user's text aloud exactly, word for word.",
                "input": [message("user", "Hi.")],
            }
            await client.send("response.create", response=response)
            await client.gets("response.done")
            await client.gets("input_audio_buffer.timeout_triggered")
            assert (await client.gets("response.done"))["response"]["status"] == "completed"

    asyncio.run(case())


def test_what_exists_only_elsewhere_is_refused() -> None:
    async def case() -> None:
        async with conversing() as client:
            await client.refused("output_audio_buffer.clear")
            too_much = "x" * (15 * 1024 * 1024 + 1)
            assert (
                "15 MiB"
                in (await client.refused("input_audio_buffer.append", audio=too_much))["message"]
            )

    asyncio.run(case())
