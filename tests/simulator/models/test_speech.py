from __future__ import annotations

import asyncio
import struct
from typing import Any

import httpx2
import openai
import pytest

from tests.simulator.models.serving import PATIENCE_S, serving
from voicecall.audio import Transcoder
from voicecall.clock import ManualClock
from voicecall.ports import PCM16_8K
from voicecall.simulator.models.engines import MODEL_AUDIO, InstantEngines, LocalEngines
from voicecall.simulator.models.faults import Close, Stall

pytestmark = pytest.mark.socket

STALLED_S = 0.2
SAY: dict[str, Any] = {"model": "any", "voice": "marin"}


def test_speech_is_streamed_in_odd_pieces_and_understood() -> None:
    pytest.importorskip("hibari")
    pytest.importorskip("moonshine_voice")

    async def case() -> None:
        engines = LocalEngines(ManualClock())
        try:
            async with (
                serving(engines=engines) as (_, client),
                client.audio.speech.with_streaming_response.create(
                    **SAY, input="The next free appointment is on Tuesday.", response_format="pcm"
                ) as response,
            ):
                assert response.headers["content-type"].startswith("audio/pcm")
                pieces = [piece async for piece in response.iter_bytes()]
            pcm = b"".join(pieces)
            assert any(len(piece) % 2 for piece in pieces)
            assert len(pcm) % 2 == 0
            narrow = Transcoder(MODEL_AUDIO, PCM16_8K).convert(pcm, last=True)
            words = await engines.transcribe(narrow)
            assert "appointment is on tuesday" in words.lower()
        finally:
            await engines.close()

    asyncio.run(case())


def test_wav_has_a_header_of_its_rate() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            pcm = await client.audio.speech.create(**SAY, input="Hello", response_format="pcm")
            wav = await client.audio.speech.create(**SAY, input="Hello", response_format="wav")
            header, audio = wav.content[:44], wav.content[44:]
            assert header[:4] == b"RIFF"
            assert struct.unpack("<HHI", header[20:28]) == (1, 1, 24000)
            assert header[36:40] == b"data"
            assert audio == pcm.content
            assert MODEL_AUDIO.duration_ms(len(audio)) == 400

    asyncio.run(case())


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"speed": 5.0}, "speed"),
        ({"response_format": "opus"}, "response_format"),
        ({"stream_format": "sse"}, "stream_format"),
        ({"response_format": "ulaw"}, "response_format"),
    ],
)
def test_what_cannot_be_spoken_is_refused(wrong: dict[str, Any], param: str) -> None:
    async def case() -> None:
        async with serving() as (_, client):
            asked = {**SAY, "input": "Hello", "response_format": "pcm", **wrong}
            with pytest.raises(openai.BadRequestError) as refused:
                await client.audio.speech.create(**asked)
            assert refused.value.param == param

    asyncio.run(case())


def test_speech_stalls_and_breaks_off_after_a_piece() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            for fault in (Stall(after_chunks=1), Close(after_chunks=1)):
                server.faults.add("speech", fault)
                async with client.audio.speech.with_streaming_response.create(
                    **SAY, input="Hello", response_format="pcm"
                ) as response:
                    pieces = response.iter_bytes()
                    assert len(await anext(pieces)) == 959
                    stalls = isinstance(fault, Stall)
                    error = TimeoutError if stalls else httpx2.RemoteProtocolError
                    with pytest.raises(error):
                        await asyncio.wait_for(anext(pieces), STALLED_S if stalls else PATIENCE_S)

    asyncio.run(case())


def test_a_client_that_leaves_stops_the_synthesis() -> None:
    class Endless(InstantEngines):
        left = asyncio.Event()

        @property
        def voice(self) -> Any:
            return self

        output = MODEL_AUDIO

        async def synthesize(self, text: str) -> Any:
            try:
                while True:
                    yield bytes(9600)
                    await asyncio.sleep(0)
            finally:
                self.left.set()

    async def case() -> None:
        engines = Endless()
        async with serving(engines=engines) as (_, client):
            async with client.audio.speech.with_streaming_response.create(
                **SAY, input="Hello", response_format="pcm"
            ) as response:
                await anext(response.iter_bytes())
            async with asyncio.timeout(5):
                await engines.left.wait()

    asyncio.run(case())
