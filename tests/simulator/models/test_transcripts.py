from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.simulator.models.serving import serving, until
from tests.simulator.models.speaking_client import append, texts, tone
from voicecall.errors import SpeechError
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.faults import Fail, Fault, Refuse, Stall

pytestmark = pytest.mark.socket

COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"
DELTA = "conversation.item.input_audio_transcription.delta"


class Deaf(InstantEngines):
    async def transcribe(self, pcm: bytes) -> str:
        raise SpeechError("deaf")


async def turn(
    *faults: Fault, engines: InstantEngines | None = None, model: str = "gpt-transcribe"
) -> list[Any]:
    """The events of one turn's transcript, after which the session still answers."""
    engines = engines or InstantEngines(["One two three."])
    async with serving(engines=engines) as (server, client):
        if faults:
            server.faults.add("transcript", *faults)
        async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
            await connection.session.update(
                session={
                    "type": "transcription",
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcmu"},
                            "transcription": {"model": model},
                            "turn_detection": None,
                        }
                    },
                }
            )
            await append(connection, tone(200))
            await connection.input_audio_buffer.commit()
            await until(connection, "conversation.item.done")
            events = await until(connection, COMPLETED, FAILED)
            await connection.input_audio_buffer.clear()
            await until(connection, "input_audio_buffer.cleared")
            return events


def test_deltas_are_words_or_with_whisper_all_at_once() -> None:
    words = asyncio.run(turn())
    assert texts(words, DELTA, "delta") == ["One ", "two ", "three."]
    whole = asyncio.run(turn(model="whisper-1"))
    assert texts(whole, DELTA, "delta") == ["One two three."]


def test_a_transcript_can_fail_and_the_session_goes_on() -> None:
    (refused,) = asyncio.run(turn(Refuse(500, "too_busy")))
    assert (refused.type, refused.error.code) == (FAILED, "too_busy")
    partly = asyncio.run(turn(Fail(after_chunks=2, code="lost")))
    assert [event.type for event in partly] == [DELTA, DELTA, FAILED]
    assert partly[-1].error.code == "lost"


def test_an_engine_that_fails_fails_the_transcript() -> None:
    (failed,) = asyncio.run(turn(engines=Deaf()))
    assert failed.type == FAILED
    assert failed.error.type == "transcription_error"


def test_a_transcript_can_come_late() -> None:
    events = asyncio.run(turn(Stall(after_chunks=1, for_ms=10)))
    assert events[-1].transcript == "One two three."
