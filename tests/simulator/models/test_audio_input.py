from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.models.serving import serving, until
from tests.simulator.models.speaking_client import append, silence, tone
from voicecall.simulator.models.audio_input import MAX_APPEND_OCTETS
from voicecall.simulator.models.engines import InstantEngines

if TYPE_CHECKING:
    from openai.resources.realtime.realtime import AsyncRealtimeConnection

pytestmark = pytest.mark.socket

COMPLETED = "conversation.item.input_audio_transcription.completed"


class Counting(InstantEngines):
    """Counts what it was asked to recognise."""

    def __init__(self) -> None:
        super().__init__()
        self.utterances: list[int] = []

    async def transcribe(self, pcm: bytes) -> str:
        self.utterances.append(len(pcm) // 16)
        return await super().transcribe(pcm)


async def configure(connection: AsyncRealtimeConnection, detection: Any) -> None:
    await connection.session.update(
        session={
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "transcription": {"model": "gpt-transcribe"},
                    "turn_detection": detection,
                }
            },
        }
    )
    await until(connection, "session.updated")


def session(case: Any, detection: Any, engines: InstantEngines | None = None) -> None:
    async def run() -> None:
        async with (
            serving(engines=engines) as (_, client),
            client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
        ):
            await configure(connection, detection)
            await case(connection)

    asyncio.run(run())


SERVER_VAD = {"type": "server_vad", "silence_duration_ms": 400, "prefix_padding_ms": 200}


def test_utterances_are_found_where_they_are() -> None:
    async def case(connection: AsyncRealtimeConnection) -> None:
        for number in range(2):
            await append(connection, silence(1000) + tone(600) + silence(1000))
            events = await until(connection, COMPLETED)
            started, stopped = events[0], events[1]
            begins_ms = 1000 + 2600 * number
            assert started.audio_start_ms == pytest.approx(begins_ms - 200, abs=40)
            assert stopped.audio_end_ms == pytest.approx(begins_ms + 600 + 400, abs=60)

    session(case, SERVER_VAD)


def test_an_utterance_is_recognised_once_although_in_advance() -> None:
    engines = Counting()

    async def case(connection: AsyncRealtimeConnection) -> None:
        await append(connection, silence(500) + tone(600) + silence(1000))
        await until(connection, COMPLETED)

    session(case, SERVER_VAD, engines)
    assert len(engines.utterances) == 1
    assert engines.utterances[0] == pytest.approx(200 + 600 + 200, abs=80)


def test_a_client_may_commit_before_the_server_does() -> None:
    async def case(connection: AsyncRealtimeConnection) -> None:
        await append(connection, silence(500) + tone(600))
        await connection.input_audio_buffer.commit()
        events = await until(connection, COMPLETED)
        kinds = [event.type for event in events]
        assert "input_audio_buffer.committed" in kinds
        assert "input_audio_buffer.speech_stopped" not in kinds
        await append(connection, silence(1000) + tone(600) + silence(1000))
        again = await until(connection, COMPLETED)
        assert again[-1].item_id != events[-1].item_id

    session(case, SERVER_VAD)


def test_what_is_cleared_is_gone() -> None:
    engines = Counting()

    async def case(connection: AsyncRealtimeConnection) -> None:
        await append(connection, tone(3000))
        await connection.input_audio_buffer.clear()
        await append(connection, tone(200))
        await connection.input_audio_buffer.commit()
        await until(connection, COMPLETED)

    session(case, None, engines)
    assert engines.utterances == [200]


def test_too_little_cannot_be_committed() -> None:
    async def case(connection: AsyncRealtimeConnection) -> None:
        for speech in (b"", tone(80)):
            await append(connection, speech)
            await connection.input_audio_buffer.commit()
            error = (await until(connection, "error"))[-1].error
            assert error.code == "input_audio_buffer_commit_empty"
            assert "at least 100ms" in error.message

    session(case, None)


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        ("not base64!", "invalid_value"),
        ("A" * (MAX_APPEND_OCTETS + 4), "string_above_max_length"),
    ],
)
def test_what_is_no_audio_is_refused(audio: str, code: str) -> None:
    async def case(connection: AsyncRealtimeConnection) -> None:
        await connection.input_audio_buffer.append(audio=audio)
        error = (await until(connection, "error"))[-1].error
        assert (error.code, error.param) == (code, "audio")

    session(case, None)


def test_samples_may_be_torn_apart() -> None:
    engines = Counting()

    async def case(connection: AsyncRealtimeConnection) -> None:
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}},
            }
        )
        for octets in (4799, 4801):
            audio = base64.b64encode(bytes(octets)).decode()
            await connection.input_audio_buffer.append(audio=audio)
        await connection.input_audio_buffer.commit()
        await until(connection, COMPLETED)

    session(case, None, engines)
    assert engines.utterances[0] == pytest.approx(200, abs=5)


def test_semantic_detection_waits_by_its_eagerness() -> None:
    async def case(connection: AsyncRealtimeConnection) -> None:
        for eagerness, waits_ms in (("high", 500), ("low", 1200)):
            await configure(connection, {"type": "semantic_vad", "eagerness": eagerness})
            await append(connection, silence(300) + tone(600) + silence(1600))
            events = await until(connection, COMPLETED)
            started, stopped = events[0], events[1]
            spoken_ms = stopped.audio_end_ms - started.audio_start_ms - 300 - 600
            assert spoken_ms == pytest.approx(waits_ms, abs=60)

    session(case, SERVER_VAD)
