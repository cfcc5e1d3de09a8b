from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.simulator.models.serving import serving, until
from voicecall.simulator.models.faults import MALFORMED, Close, Fail, Malformed, Refuse, Stall
from voicecall.simulator.models.realtime import checked_event, merged
from voicecall.simulator.models.vendor_types import Unacceptable

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.resources.realtime.realtime import AsyncRealtimeConnectionManager

pytestmark = pytest.mark.socket


def listen(client: AsyncOpenAI, **options: Any) -> AsyncRealtimeConnectionManager:
    return client.realtime.connect(extra_query={"intent": "transcription"}, **options)


def error_of(refused: pytest.ExceptionInfo[InvalidStatus]) -> Any:
    return json.loads(refused.value.response.body or b"")["error"]


def test_a_wrong_key_is_refused_by_the_handshake() -> None:
    async def case() -> None:
        async with serving(api_key="wrong") as (_, client):
            with pytest.raises(InvalidStatus) as refused:
                await listen(client).enter()
            assert refused.value.response.status_code == 401
            assert error_of(refused)["code"] == "invalid_api_key"

    asyncio.run(case())


def test_the_beta_is_refused_by_header_and_by_shape() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            with pytest.raises(InvalidStatus) as refused:
                await listen(client, extra_headers={"OpenAI-Beta": "realtime=v1"}).enter()
            assert refused.value.response.status_code == 400
            assert error_of(refused)["code"] == "beta_api_shape_disabled"
            async with listen(client) as connection:
                await connection.send_raw('{"type": "transcription_session.update"}')
                events = await until(connection, "error")
                assert events[-1].error.code == "beta_api_shape_disabled"
                with pytest.raises(ConnectionClosed) as closed:
                    await connection.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4000

    asyncio.run(case())


def test_a_url_that_names_no_session_is_refused() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            with pytest.raises(InvalidStatus) as refused:
                await client.realtime.connect().enter()
            assert refused.value.response.status_code == 400

    asyncio.run(case())


def test_a_planned_refusal_refuses_the_handshake() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("transcription", Refuse(429, retry_after_s=1))
            with pytest.raises(InvalidStatus) as refused:
                await listen(client).enter()
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["retry-after"] == "1"

    asyncio.run(case())


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[1]", "missing_required_parameter", "type"),
        ('{"event_id": "e1"}', "missing_required_parameter", "type"),
        ('{"type": "response.dance", "event_id": "e1"}', "invalid_value", "type"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": 3}', "invalid_type", "audio"),
        ('{"type": "input_audio_buffer.clear", "x": 3}', "unknown_parameter", "x"),
        ('{"type": "session.update", "session": {}}', "missing_required_parameter", None),
        ('{"type": 3}', "invalid_value", "type"),
    ],
)
def test_a_bad_event_is_answered_by_an_error_and_the_session_goes_on(
    raw: str, code: str, param: str | None
) -> None:
    async def case() -> None:
        async with serving() as (_, client), listen(client) as connection:
            await until(connection, "session.created")
            await connection.send_raw(raw)
            error = (await until(connection, "error"))[-1].error
            assert error.code == code
            assert error.type == "invalid_request_error"
            if param is not None:
                assert error.param == param
            await connection.input_audio_buffer.clear()
            await until(connection, "input_audio_buffer.cleared")

    asyncio.run(case())


def test_errors_name_the_event_that_caused_them() -> None:
    async def case() -> None:
        async with serving() as (_, client), listen(client) as connection:
            await connection.input_audio_buffer.commit(event_id="mine")
            error = (await until(connection, "error"))[-1].error
            assert error.event_id == "mine"
            await connection.input_audio_buffer.commit()
            error = (await until(connection, "error"))[-1].error
            assert error.event_id is None

    asyncio.run(case())


def test_every_event_has_an_id_of_its_own() -> None:
    async def case() -> None:
        async with serving() as (_, client), listen(client) as connection:
            for _ in range(3):
                await connection.input_audio_buffer.clear()
            events: list[Any] = [await connection.recv() for _ in range(4)]
            assert len({event.event_id for event in events}) == 4

    asyncio.run(case())


def test_the_socket_closes_where_it_was_planned() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("transcription", Close(code=4321, reason="so", after_chunks=1))
            async with listen(client) as connection:
                await until(connection, "session.created")
                with pytest.raises(ConnectionClosed) as closed:
                    await connection.recv()
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "so")

    asyncio.run(case())


def test_a_stalled_socket_says_nothing_more_and_still_lets_the_client_leave() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("transcription", Stall(after="session.created"))
            async with listen(client) as connection:
                await until(connection, "session.created")
                await connection.input_audio_buffer.clear()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await connection.recv()
            async with listen(client) as connection:
                await until(connection, "session.created")

    asyncio.run(case())


def test_something_malformed_and_an_error_come_in_between() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add(
                "transcription", Malformed(after_chunks=1), Fail(after_chunks=2, code="oops")
            )
            async with listen(client) as connection:
                await until(connection, "session.created")
                assert (await connection.recv_bytes()).decode() == MALFORMED
                await connection.input_audio_buffer.clear()
                events = await until(connection, "error")
                assert events[-1].error.code == "oops"
                assert events[-1].error.type == "server_error"

    asyncio.run(case())


def test_events_are_remembered_without_the_audio() -> None:
    async def case() -> None:
        async with serving() as (server, client), listen(client) as connection:
            await connection.input_audio_buffer.append(audio="AAAA")
            await connection.input_audio_buffer.clear()
            await until(connection, "input_audio_buffer.cleared")
            bodies = [received.body for received in server.received("transcription")]
            assert bodies == [
                {"intent": "transcription"},
                {"type": "input_audio_buffer.clear"},
            ]

    asyncio.run(case())


def test_an_update_changes_what_it_names() -> None:
    old = {"noise": {"type": "near", "strength": 1}, "vad": {"type": "a", "x": 1}, "keep": 1}
    update = {"noise": {"type": "near"}, "vad": {"type": "b"}, "new": None}
    assert merged(old, update) == {
        "noise": {"type": "near", "strength": 1},
        "vad": {"type": "b"},
        "keep": 1,
        "new": None,
    }


def test_what_is_turned_off_by_null_may_be_null() -> None:
    event = {
        "type": "session.update",
        "session": {
            "type": "transcription",
            "audio": {"input": {"noise_reduction": None, "turn_detection": None}},
        },
    }
    found = checked_event(json.loads(json.dumps(event)), "session.update")
    assert found == event
    with pytest.raises(Unacceptable):
        checked_event({"type": "session.update", "session": None}, "session.update")
