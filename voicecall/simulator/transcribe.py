"""What can be understood in a recording, by a recogniser that had no part in the call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from voicecall.clock import NS_PER_S
from voicecall.ports import PCM16_8K
from voicecall.speech.stt.local import default_detector
from voicecall.speech.vad import Endpointer, Endpointing, SpokenAudio

if TYPE_CHECKING:
    from voicecall.speech.stt.local import LocalSpeechToText

# Ends the last utterance.
_REST = bytes(2 * PCM16_8K.octets_per_second)


async def transcribe(engine: LocalSpeechToText, pcm: bytes) -> list[str]:
    """The utterances of a recording, in order and faster than real time.

    Args:
        engine: recognition; its rules about the ends of utterances do not matter here.
        pcm: PCM16 at 8 kHz.

    Raises:
        DependencyMissing: the local engines are not installed.
        SpeechError: recognition failed.
    """
    utterances = await asyncio.to_thread(_utterances, pcm)
    texts = [await engine.transcribe(utterance) for utterance in utterances]
    return [text for text in texts if text]


def _utterances(pcm: bytes) -> list[bytes]:
    endpointer = Endpointer(default_detector(), Endpointing(early_ms=0))
    audio = pcm + _REST
    end_ns = len(audio) * NS_PER_S // PCM16_8K.octets_per_second
    found = endpointer.push(audio, end_ns)
    return [each.pcm for each in found if isinstance(each, SpokenAudio) and each.complete]
