"""pipecat as its guide for Twilio sets it up, with a tone in the place of the speech services.

    python -m benchmarks.peers.pipecat_tone --port 3336

The pipeline of a call is: transport input, `Tone`, transport output, `Played`. Inbound audio
reaches `Tone` as PCM16 at 8000 Hz and ends there, as it would in a recogniser. `Tone` gives the
transport speech in pieces of 200 ms, faster than real time as a synthesizer does, and at most 2 s
ahead of what `Played`, which sits where an assistant aggregator would, has seen go out. Cutting
into messages, pacing, mu-law, base64 and JSON are pipecat's own.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import TYPE_CHECKING

from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

from benchmarks.peers.tone import RATE_HZ, tone_pcm16
from benchmarks.peers.uvicorn_process import run

if TYPE_CHECKING:
    from benchmarks.peers.uvicorn_process import Lifespan

PIECE_OCTETS = RATE_HZ * 2 // 5
AHEAD_OCTETS = RATE_HZ * 2 * 2


class Room:
    """How much audio may still be given to the transport: AHEAD_OCTETS less what it holds."""

    def __init__(self) -> None:
        self._held_octets = 0
        self._changed = asyncio.Event()

    async def take(self, octets: int) -> None:
        """Wait until the transport may hold `octets` more."""
        while self._held_octets + octets > AHEAD_OCTETS:
            self._changed.clear()
            await self._changed.wait()
        self._held_octets += octets

    def give(self, octets: int) -> None:
        """`octets` went out."""
        self._held_octets -= octets
        self._changed.set()


# pipecat is not installed where the types are checked, so its classes are Any there.
class Tone(FrameProcessor):  # type: ignore[misc]
    """Where the speech services would be: swallows the caller's audio and speaks for ever."""

    def __init__(self, pieces: list[bytes], room: Room) -> None:
        super().__init__()
        self._pieces = pieces
        self._room = room
        self._task: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Start with the pipeline, end with it, and pass on all that is not inbound audio."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            return
        if isinstance(frame, (EndFrame, CancelFrame)):
            await self._stop()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._task = self.create_task(self._speak())

    async def cleanup(self) -> None:
        """End the speech of a pipeline that was torn down without a frame that says so."""
        await super().cleanup()
        await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            await self.cancel_task(self._task)
            self._task = None

    async def _speak(self) -> None:
        await self.push_frame(TTSStartedFrame())
        for piece in itertools.cycle(self._pieces):
            await self._room.take(len(piece))
            await self.push_frame(TTSAudioRawFrame(piece, RATE_HZ, 1))


class Played(FrameProcessor):  # type: ignore[misc]
    """Behind the transport: makes room for what it has sent."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._room = room

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Count the audio that comes by."""
        await super().process_frame(frame, direction)
        if isinstance(frame, OutputAudioRawFrame):
            self._room.give(len(frame.audio))
        await self.push_frame(frame, direction)


async def hold_call(websocket: WebSocket, pieces: list[bytes]) -> None:
    """Run the pipeline of one call until the caller hangs up."""
    await websocket.accept()
    _, call = await parse_telephony_websocket(websocket)
    serializer = TwilioFrameSerializer(
        stream_sid=call["stream_id"],
        call_sid=call["call_id"],
        # Hanging up is a request to Twilio; there is no account here.
        params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
    )
    transport = FastAPIWebsocketTransport(
        websocket,
        FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            add_wav_header=False,
            serializer=serializer,
        ),
    )
    room = Room()
    pipeline = Pipeline([transport.input(), Tone(pieces, room), transport.output(), Played(room)])
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        # A phone speaks no RTVI and nobody asks for turns here: what they would cost is left out.
        enable_rtvi=False,
        enable_turn_tracking=False,
    )

    async def hang_up(*_: object) -> None:
        await worker.cancel()

    transport.add_event_handler("on_client_disconnected", hang_up)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


def app(lifespan: Lifespan) -> FastAPI:
    """The ASGI app."""
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    pcm = tone_pcm16()
    pieces = [pcm[at : at + PIECE_OCTETS] for at in range(0, len(pcm), PIECE_OCTETS)]

    async def stream(websocket: WebSocket) -> None:
        await hold_call(websocket, pieces)

    fastapi = FastAPI(lifespan=lifespan)
    fastapi.add_api_websocket_route("/voice/stream", stream)
    return fastapi


if __name__ == "__main__":
    run("pipecat", app, __doc__)
