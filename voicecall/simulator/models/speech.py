"""`POST /v1/audio/speech`: a voice, streamed as PCM or WAV at 24 kHz.

The pieces have odd lengths, as a network makes them, so that clients have to put samples together.
Speed and instructions are accepted and change nothing.
"""

from __future__ import annotations

import itertools
import struct
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from openai.types.audio.speech_create_params import SpeechCreateParams

from voicecall.audio import Transcoder
from voicecall.simulator.models.api import Answer, Chunk, endpoint
from voicecall.simulator.models.engines import MODEL_AUDIO
from voicecall.simulator.models.vendor_types import Unacceptable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.routing import BaseRoute

    from voicecall.simulator.models.world import World

SERVICE = "speech"
MAX_CHARACTERS = 4096
_SPEEDS = (0.25, 4.0)
_MEDIA_TYPES = {"pcm": "audio/pcm", "wav": "audio/wav"}
# The first is short, as little has been made by then; none holds whole samples.
_PIECES_OCTETS = (959, 2401, 4799)
_ENDLESS = 0xFFFFFFFF


def routes(world: World) -> list[BaseRoute]:
    """The endpoint."""

    def answer(params: dict[str, Any]) -> Answer:
        kind = params.get("response_format", "mp3")
        _refuse(params, kind)
        header = _wav_header() if kind == "wav" else b""
        return Answer(_MEDIA_TYPES[kind], _audio(world, params["input"], header))

    return [endpoint(world, SERVICE, "/v1/audio/speech", SpeechCreateParams, answer)]


def _refuse(params: dict[str, Any], kind: str) -> None:
    """Refuse what the vendor would, and what is not simulated."""
    if not params["input"] or len(params["input"]) > MAX_CHARACTERS:
        message = f"Invalid 'input': a text of 1 to {MAX_CHARACTERS} characters is expected."
        raise Unacceptable(message, param="input", code="string_above_max_length")
    if not _SPEEDS[0] <= params.get("speed", 1.0) <= _SPEEDS[1]:
        message = f"Invalid 'speed': a number from {_SPEEDS[0]} to {_SPEEDS[1]} is expected."
        raise Unacceptable(message, param="speed", code="decimal_out_of_range")
    if params.get("stream_format", "audio") != "audio":
        message = "Streams of events are not simulated."
        raise Unacceptable(message, param="stream_format", code="unsupported_value")
    if kind not in _MEDIA_TYPES:
        message = f"Only {', '.join(_MEDIA_TYPES)} are simulated, not {kind}."
        raise Unacceptable(message, param="response_format", code="unsupported_value")


async def _audio(world: World, text: str, header: bytes) -> AsyncGenerator[Chunk]:
    transcoder = Transcoder(world.engines.voice.output, MODEL_AUDIO)
    waiting = bytearray(header)
    lengths = itertools.chain(_PIECES_OCTETS, itertools.repeat(_PIECES_OCTETS[-1]))
    length = next(lengths)
    async with aclosing(_speech(world, text)) as speech:
        async for audio in speech:
            waiting += transcoder.convert(audio)
            while len(waiting) >= length:
                yield Chunk("", bytes(waiting[:length]))
                del waiting[:length]
                length = next(lengths)
    waiting += transcoder.convert(b"", last=True)
    if waiting:
        yield Chunk("", bytes(waiting))


async def _speech(world: World, text: str) -> AsyncGenerator[bytes]:
    """The voice; the port promises an iterator, whoever leaves early needs to close it."""
    async for audio in world.engines.voice.synthesize(text):
        yield audio


def _wav_header() -> bytes:
    """A header of endless audio: how long it is, is not known when it begins."""
    rate_hz, octets = MODEL_AUDIO.rate_hz, MODEL_AUDIO.sample_octets
    layout = struct.pack("<HHIIHH", 1, 1, rate_hz, rate_hz * octets, octets, octets * 8)
    return (
        struct.pack("<4sI4s4sI", b"RIFF", _ENDLESS, b"WAVE", b"fmt ", len(layout))
        + layout
        + struct.pack("<4sI", b"data", _ENDLESS)
    )
