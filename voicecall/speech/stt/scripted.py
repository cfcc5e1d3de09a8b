"""Recognition that hears only that somebody speaks, and takes the words from a list.

For tests and demonstrations without neural models: starts, stops and silences are the caller's own,
at their real times; the words are given.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from voicecall.ports import PCM16_8K, FinalTranscript, SpeechStarted, SpeechStopped
from voicecall.speech.stt.results import ResultQueue
from voicecall.speech.vad import Endpointer, Endpointing, EnergyVad

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, SttEvent


class ScriptedSpeechToText:
    """Gives the next of `transcripts` whenever the caller has finished speaking.

    Args:
        transcripts: what the caller is taken to say, in order, in each call anew; after the last
            comes the first again. With none, only starts and stops are told.
        clock: when audio arrives.
        rules: when speech counts as begun and as over.
    """

    def __init__(
        self, transcripts: Sequence[str], *, clock: Clock, rules: Endpointing | None = None
    ) -> None:
        self._transcripts = tuple(transcripts)
        self._clock = clock
        self._rules = rules or Endpointing()

    @property
    def input(self) -> AudioFormat:
        """PCM16 at 8 kHz."""
        return PCM16_8K

    async def prepare(self) -> None:
        """Nothing has to be loaded."""

    async def open(self) -> ScriptedSttStream:
        """Begin a call."""
        return ScriptedSttStream(cycle(self._transcripts), self._clock, self._rules)

    async def close(self) -> None:
        """Nothing is held."""


class ScriptedSttStream:
    """One call's scripted recognition.

    Args:
        transcripts: what to give.
        clock: when audio arrives.
        rules: when speech counts as begun and as over.
    """

    def __init__(self, transcripts: Iterator[str], clock: Clock, rules: Endpointing) -> None:
        self._transcripts = transcripts
        self._clock = clock
        self._endpointer = Endpointer(EnergyVad(), rules)
        self._results = ResultQueue()

    def push(self, audio: bytes) -> None:
        """Listen to more PCM16 at 8 kHz."""
        for endpoint in self._endpointer.push(audio, self._clock.now_ns()):
            if isinstance(endpoint, SpeechStarted | SpeechStopped):
                self._results.put(endpoint)
            elif endpoint.complete and (text := next(self._transcripts, "")):
                self._results.put(FinalTranscript(text, 1.0))

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        return self._results

    async def close(self) -> None:
        """End the iteration."""
        self._results.close()
