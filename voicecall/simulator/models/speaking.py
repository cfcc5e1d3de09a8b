"""How a simulated model speaks: the words of its brain as sentences, and sentences as audio."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from voicecall.audio import Transcoder
from voicecall.dialog.sentences import SentenceSplitter, speakable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from voicecall.ports import AudioFormat, TextToSpeech
    from voicecall.simulator.models.brain import Use

_STEP_MS = 200


async def sentences(answer: AsyncGenerator[str | Use]) -> AsyncGenerator[str | Use]:
    """An answer with its words put together as sentences; uses of tools stay in their place."""
    splitter = SentenceSplitter()
    async with aclosing(answer):
        async for part in answer:
            if isinstance(part, str):
                for sentence in splitter.feed(part):
                    yield sentence
                continue
            for sentence in splitter.flush():
                yield sentence
            yield part
    for sentence in splitter.flush():
        yield sentence


async def spoken(voice: TextToSpeech, sentence: str, audio: AudioFormat) -> AsyncGenerator[bytes]:
    """One sentence as audio, in pieces of at most 200 ms; none when it cannot be said.

    Raises:
        SpeechError: it could not be synthesized.
    """
    words = speakable(sentence)
    if not words:
        return
    transcoder = Transcoder(voice.output, audio)
    step = voice.output.octets_per_second * _STEP_MS // 1000
    async for piece in voice.synthesize(words):
        for start in range(0, len(piece), step):
            if converted := transcoder.convert(piece[start : start + step]):
                yield converted
    if tail := transcoder.convert(b"", last=True):
        yield tail
