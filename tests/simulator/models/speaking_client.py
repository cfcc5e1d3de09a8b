"""A client of a Realtime session that speaks."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from voicecall.audio import Transcoder
from voicecall.ports import PCM16_8K, ULAW_8K

if TYPE_CHECKING:
    from openai.resources.realtime.realtime import AsyncRealtimeConnection

    from voicecall.ports import AudioFormat, TextToSpeech

FRAME_MS = 20


def tone(ms: int, audio: AudioFormat = ULAW_8K) -> bytes:
    """Something the simplest detector takes for speech."""
    samples = np.sin(np.arange(8 * ms) * 0.5) * 8000
    pcm = samples.astype("<i2").tobytes()
    return Transcoder(PCM16_8K, audio).convert(pcm, last=True)


def silence(ms: int, audio: AudioFormat = ULAW_8K) -> bytes:
    """Digital silence."""
    return Transcoder(PCM16_8K, audio).convert(bytes(16 * ms), last=True)


async def spoken(voice: TextToSpeech, text: str, audio: AudioFormat = ULAW_8K) -> bytes:
    """`text` in the voice."""
    transcoder = Transcoder(voice.output, audio)
    speech = bytearray()
    async for piece in voice.synthesize(text):
        speech += transcoder.convert(piece)
    return bytes(speech + transcoder.convert(b"", last=True))


async def append(
    connection: AsyncRealtimeConnection, speech: bytes, audio: AudioFormat = ULAW_8K
) -> None:
    """Send it in frames, as fast as it goes."""
    octets = audio.octets_per_second * FRAME_MS // 1000
    for start in range(0, len(speech), octets):
        frame = base64.b64encode(speech[start : start + octets]).decode()
        await connection.input_audio_buffer.append(audio=frame)


def texts(events: list[Any], kind: str, field: str) -> list[str]:
    """One field of all events of a kind."""
    return [getattr(event, field) for event in events if event.type == kind]
