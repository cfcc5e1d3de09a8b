from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosedError

from tests.simulator.models.serving import serving, until
from tests.simulator.models.speaking_client import append, silence, spoken, texts, tone
from voicecall.clock import ManualClock
from voicecall.ports import ALAW_8K, ULAW_8K
from voicecall.simulator.models.engines import MODEL_AUDIO, InstantEngines, LocalEngines
from voicecall.simulator.models.faults import Close

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai import AsyncOpenAI
    from openai.resources.realtime.realtime import (
        AsyncRealtimeConnection,
        AsyncRealtimeConnectionManager,
    )

    from voicecall.ports import AudioFormat

pytestmark = pytest.mark.socket

COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"
PCM: dict[str, Any] = {"type": "audio/pcm", "rate": 24000}


def listen(client: AsyncOpenAI) -> AsyncRealtimeConnectionManager:
    return client.realtime.connect(extra_query={"intent": "transcription"})


async def configure(connection: AsyncRealtimeConnection, **audio_input: Any) -> Any:
    """The session after an update, or the error."""
    audio_input = {
        "format": {"type": "audio/pcmu"},
        "transcription": {"model": "gpt-transcribe", "language": "en"},
        **audio_input,
    }
    session: Any = {"type": "transcription", "audio": {"input": audio_input}}
    await connection.session.update(session=session)
    last = (await until(connection, "session.updated", "error"))[-1]
    return last.session if last.type == "session.updated" else last.error


@pytest.fixture(scope="module")
def local() -> Iterator[LocalEngines]:
    pytest.importorskip("hibari")
    pytest.importorskip("moonshine_voice")
    engines = LocalEngines(ManualClock())
    yield engines
    asyncio.run(engines.close())


@pytest.mark.parametrize(
    ("audio", "coding"),
    [(ULAW_8K, {"type": "audio/pcmu"}), (ALAW_8K, {"type": "audio/pcma"}), (MODEL_AUDIO, PCM)],
)
def test_a_spoken_sentence_is_found_and_understood(
    local: LocalEngines, audio: AudioFormat, coding: dict[str, Any]
) -> None:
    async def case() -> None:
        async with serving(engines=local) as (_, client), listen(client) as connection:
            await until(connection, "session.created")
            await configure(connection, format=coding, noise_reduction={"type": "near_field"})
            speech = await spoken(local.voice, "I would like to book an appointment.", audio)
            speech = silence(1000, audio) + speech + silence(1000, audio)
            await append(connection, speech, audio)
            events = await until(connection, COMPLETED)
            kinds = [event.type for event in events]
            assert kinds[:5] == [
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.done",
            ]
            assert set(kinds[5:-1]) == {DELTA}
            started, stopped, committed = events[:3]
            assert {event.item_id for event in (started, stopped, committed)} == {
                events[-1].item_id
            }
            # The second of silence less the padding, and what the voice itself begins with;
            # the end includes the silence waited for.
            assert 700 <= started.audio_start_ms <= 1500
            length_ms = audio.duration_ms(len(speech))
            assert length_ms - 1000 < stopped.audio_end_ms <= length_ms
            assert "book an appointment" in events[-1].transcript.lower()
            assert "".join(texts(events, DELTA, "delta")) == events[-1].transcript
            assert events[-1].usage.seconds > 1

    asyncio.run(case())


def test_without_server_vad_the_client_commits_each_turn() -> None:
    async def case() -> None:
        engines = InstantEngines(["One.", "Two."])
        async with serving(engines=engines) as (_, client), listen(client) as connection:
            session = await configure(connection, turn_detection=None)
            assert session.audio.input.turn_detection is None
            items = []
            for expected in ("One.", "Two."):
                await append(connection, tone(500) + silence(1000))
                await connection.input_audio_buffer.commit()
                events = await until(connection, COMPLETED)
                assert events[0].type == "input_audio_buffer.committed"
                assert events[-1].transcript == expected
                assert events[-1].usage.seconds == pytest.approx(1.5, abs=0.01)
                items.append((events[0].item_id, events[0].previous_item_id))
            assert items[0][1] is None
            assert items[1][1] == items[0][0]

    asyncio.run(case())


def test_the_first_event_tells_the_defaults() -> None:
    async def case() -> None:
        async with serving() as (_, client), listen(client) as connection:
            session: Any = (await until(connection, "session.created"))[-1].session
            assert session.type == "transcription"
            assert session.object == "realtime.transcription_session"
            assert session.audio.input.format.rate == 24000
            assert session.audio.input.turn_detection.type == "server_vad"
            assert session.audio.input.turn_detection.silence_duration_ms == 500
            assert session.audio.input.transcription is None

    asyncio.run(case())


@pytest.mark.parametrize("model", ["gpt-live-transcribe", "gpt-realtime-whisper"])
def test_models_without_vad_refuse_it_and_have_none_by_default(model: str) -> None:
    async def case() -> None:
        async with serving() as (_, client), listen(client) as connection:
            transcription = {"model": model}
            error = await configure(
                connection, transcription=transcription, turn_detection={"type": "server_vad"}
            )
            assert error.param == "session.audio.input.turn_detection"
            session = await configure(connection, transcription=transcription)
            assert session.audio.input.turn_detection is None

    asyncio.run(case())


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"transcription": {"model": "whisper-1", "keywords": ["a"]}}, "transcription.keywords"),
        (
            {"transcription": {"model": "gpt-realtime-whisper", "prompt": "x"}},
            "transcription.prompt",
        ),
        ({"transcription": {"model": "gpt-transcribe", "delay": "low"}}, "transcription.delay"),
        ({"format": {"type": "g711_ulaw"}}, "format.type"),
        ({"noise_reduction": {"type": "loud"}}, "noise_reduction.type"),
        ({"voice": "marin"}, "voice"),
    ],
)
def test_what_a_session_cannot_do_is_refused_and_changes_nothing(
    wrong: dict[str, Any], param: str
) -> None:
    async def case() -> None:
        async with serving() as (_, client), listen(client) as connection:
            error = await configure(connection, **wrong)
            assert error.param == f"session.audio.input.{param}"
            await connection.session.update(session={"type": "transcription"})
            session = (await until(connection, "session.updated"))[-1].session
            assert session.audio.input.transcription is None

    asyncio.run(case())


def test_a_conversation_cannot_be_had_here() -> None:
    async def case() -> None:
        async with serving() as (_, client), listen(client) as connection:
            await connection.session.update(session={"type": "realtime"})
            assert (await until(connection, "error"))[-1].error.param == "session.type"
            await connection.response.create()
            assert (await until(connection, "error"))[-1].error.param == "type"

    asyncio.run(case())


def test_an_update_leaves_what_it_does_not_name() -> None:
    async def case() -> None:
        async with serving() as (_, client), listen(client) as connection:
            await configure(
                connection,
                noise_reduction={"type": "far_field", "strength": 0.5},
                turn_detection={"type": "semantic_vad", "eagerness": "high"},
            )
            session = await configure(connection, noise_reduction={"type": "near_field"})
            assert session.audio.input.turn_detection.eagerness == "high"
            assert session.audio.input.noise_reduction.type == "near_field"
            session = await configure(connection, noise_reduction=None)
            assert session.audio.input.noise_reduction is None

    asyncio.run(case())


def test_probabilities_are_told_when_asked_for() -> None:
    async def case() -> None:
        engines = InstantEngines(["One two."])
        async with serving(engines=engines) as (_, client), listen(client) as connection:
            await connection.session.update(
                session={
                    "type": "transcription",
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcmu"},
                            "transcription": {"model": "gpt-transcribe"},
                            "turn_detection": None,
                        }
                    },
                    "include": ["item.input_audio_transcription.logprobs"],
                }
            )
            await append(connection, tone(200))
            await connection.input_audio_buffer.commit()
            completed = (await until(connection, COMPLETED))[-1]
            assert [prob.token for prob in completed.logprobs] == ["One ", "two."]

    asyncio.run(case())


def test_without_a_model_items_are_made_and_not_transcribed() -> None:
    async def case() -> None:
        async with serving() as (_, client), listen(client) as connection:
            await append(connection, silence(300, MODEL_AUDIO), MODEL_AUDIO)
            await connection.input_audio_buffer.commit()
            await until(connection, "conversation.item.done")
            await connection.input_audio_buffer.clear()
            events = await until(connection, "input_audio_buffer.cleared")
            assert [event.type for event in events] == ["input_audio_buffer.cleared"]

    asyncio.run(case())


def test_a_socket_can_die_in_the_middle_of_a_word() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("transcription", Close(after="input_audio_buffer.speech_started"))
            async with listen(client) as connection:
                await configure(connection)
                await append(connection, silence(200) + tone(300))
                assert (await connection.recv()).type == "input_audio_buffer.speech_started"
                with pytest.raises(ConnectionClosedError) as closed:
                    await connection.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1011

    asyncio.run(case())
