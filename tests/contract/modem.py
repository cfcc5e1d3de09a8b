"""Words as sound: a voice and ears for both ends of a call, so that what was said can be compared.

Each octet sounds for 20 ms as two tones, one for each half of it. So a sentence takes about as long
as if somebody hurried through it, and a missing or repeated frame makes it another sentence. A
frame that comes late does not: what is tested here is what is said, and not how smoothly.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from voicecall.clock import SystemClock
from voicecall.ports import PCM16_8K, FinalTranscript, SpeechStarted, SpeechStopped
from voicecall.speech.stt.results import ResultQueue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from numpy.typing import NDArray

    from voicecall.ports import AudioFormat, SttEvent

RATE_HZ = 8000
SYMBOL = RATE_HZ * 20 // 1000
BLOCK = RATE_HZ * 10 // 1000
PAUSE = RATE_HZ * 60 // 1000
# What never comes to its end was cut.
CUT = RATE_HZ * 500 // 1000
# Tones are never as quiet for as long.
GAP = RATE_HZ * 8 // 1000
END = "\x04"
# Of a symbol only the middle is looked at, since nobody knows where exactly it begins.
EDGE = 20
LEVEL = 7000
AUDIBLE = 400
TONES_HZ = 300 + 90 * np.arange(32)
EARS = np.exp(-2j * np.pi * np.outer(TONES_HZ, np.arange(SYMBOL - 2 * EDGE)) / RATE_HZ)


def sound(text: str) -> bytes:
    """`text` and its end as PCM16 at 8 kHz, with a pause after it."""
    times = np.arange(SYMBOL) / RATE_HZ
    symbols = []
    for octet in (text + END).encode("ascii"):
        low, high = TONES_HZ[octet & 15], TONES_HZ[16 + (octet >> 4)]
        symbols.append(np.sin(2 * np.pi * low * times) + np.sin(2 * np.pi * high * times))
    pause = np.zeros(PAUSE)
    return bytes((np.concatenate([*symbols, pause]) * LEVEL).astype("<i2").tobytes())


def words(burst: NDArray[np.int16]) -> str:
    """What `sound` made, without the pause; it may have lost a few samples at both ends."""
    loud = audible(burst)
    holes = [slice(loud[at] + 1, loud[at + 1]) for at in np.flatnonzero(np.diff(loud) > GAP)]
    burst = np.delete(burst, np.r_[tuple(holes)] if holes else [])
    heard = bytearray()
    for number in range(round(len(burst) / SYMBOL)):
        begin = number * SYMBOL + EDGE
        middle = burst[begin : begin + EARS.shape[1]]
        tones = np.abs(EARS[:, : len(middle)] @ middle)
        if tones[16:].max() < tones[:16].max() / 4:
            # A key of a telephone, which has both its tones in the lower half.
            continue
        heard.append(int(tones[:16].argmax()) | int(tones[16:].argmax()) << 4)
    return heard.decode("ascii", "replace")


def audible(samples: NDArray[np.int16]) -> NDArray[np.intp]:
    """Where it is not silent."""
    return np.flatnonzero(np.abs(samples.astype(np.int32)) > AUDIBLE)


class ModemVoice:
    """Speaks so that `ModemEars` understand every letter."""

    @property
    def output(self) -> AudioFormat:
        return PCM16_8K

    async def prepare(self) -> None:
        pass

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        audio = sound(text)
        for begin in range(0, len(audio), RATE_HZ):
            yield audio[begin : begin + RATE_HZ]
            await asyncio.sleep(0)

    async def close(self) -> None:
        pass


class ModemEars:
    """Understands `ModemVoice`."""

    @property
    def input(self) -> AudioFormat:
        return PCM16_8K

    async def prepare(self) -> None:
        pass

    async def open(self) -> ModemStream:
        return ModemStream()

    async def close(self) -> None:
        pass


class ModemStream:
    """One line that is listened to."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._results = ResultQueue()
        self._rest = b""
        self._burst: list[NDArray[np.int16]] = []
        self._quiet = 0

    def push(self, audio: bytes) -> None:
        samples = np.frombuffer(self._rest + audio, "<i2")
        whole = len(samples) - len(samples) % BLOCK
        self._rest = samples[whole:].tobytes()
        for begin in range(0, whole, BLOCK):
            self._hear(samples[begin : begin + BLOCK])

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        return self._results

    async def close(self) -> None:
        self._results.close()

    def _hear(self, block: NDArray[np.int16]) -> None:
        loud = audible(block)
        if not self._burst:
            if not loud.size:
                return
            self._results.put(SpeechStarted(self._clock.now_ns()))
            block, loud = block[loud[0] :], loud - loud[0]
        self._burst.append(block)
        self._quiet = len(block) - 1 - int(loud[-1]) if loud.size else self._quiet + len(block)
        # Looked at once in each silence, and when it has become too long.
        if BLOCK <= self._quiet < 2 * BLOCK or self._quiet >= CUT:
            text = words(np.concatenate(self._burst)[: -self._quiet])
            if text.endswith(END) or self._quiet >= CUT:
                self._burst.clear()
                self._results.put(SpeechStopped(self._clock.now_ns()))
                if text := text.removesuffix(END):
                    self._results.put(FinalTranscript(text, 1.0))
