"""Synthesis on this machine: the hibari voice, no key, no network.

The engine reads about 200 seconds of text in one second on one core, so one instance in one worker
thread serves every call; sentences of different calls take turns.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import AudioFormat

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    import numpy.typing as npt

_OUTPUT = AudioFormat("pcm16", 24000)
_PIECE_OCTETS = _OUTPUT.octets_per_second // 5
_PCM16_MAX = 32767
_MAX_WAITING = 64
# A name that no dictionary has, a number and a mark: everything that is loaded at first use.
_FIRST_WORDS = "Voicecall, number 1."
# The engine puts 0.3 s of silence before each sentence and 0.4 s after it. Callers would wait for
# the one; of the other, what remains is the pause between two sentences.
_AUDIBLE = 0.003
_LEAD_SAMPLES = _OUTPUT.rate_hz * 30 // 1000
_PAUSE_SAMPLES = _OUTPUT.rate_hz * 200 // 1000

T = TypeVar("T")


class _Engine(Protocol):
    def stream(self, text: str, *, seed: int) -> Iterator[npt.NDArray[np.float32]]: ...


class LocalTextToSpeech:
    """The local voice, shared by all calls.

    The model is loaded with the first text, or by `prepare`. At most 64 sentences wait for the
    worker; one more is refused, which the caller sees as a retryable `SpeechError`.

    Args:
        gain_db: added to the voice, which is recorded about 7 dB below a telephone's usual level;
            peaks beyond full scale are clipped.
        seed: the same seed and text give the same octets.
    """

    def __init__(self, *, gain_db: float = 7.0, seed: int = 0) -> None:
        self._gain = 10 ** (gain_db / 20)
        self._seed = seed
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="voicecall-tts")
        self._waiting = 0
        self._engine: _Engine | None = None

    @property
    def output(self) -> AudioFormat:
        """PCM16 at 24 kHz."""
        return _OUTPUT

    async def prepare(self) -> None:
        """Load the model now, about half a second, instead of with the first text.

        Raises:
            DependencyMissing: the package is not installed.
            SpeechError: the model cannot be loaded.
        """
        await self._in_worker(self._load)

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`: pieces of at most 200 ms.

        Closing the iterator stops the synthesis between two sentences.

        Raises:
            DependencyMissing: the package is not installed.
            SpeechError: the engine failed, or too much is waiting for it.
        """
        sentences = await self._in_worker(partial(self._begin, text))
        while (audio := await self._in_worker(partial(self._next_sentence, sentences))) is not None:
            for start in range(0, len(audio), _PIECE_OCTETS):
                yield audio[start : start + _PIECE_OCTETS]

    async def close(self) -> None:
        """Let the running sentence end, forget waiting ones and free the engine."""
        stop = partial(self._worker.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(stop)
        self._engine = None

    async def _in_worker(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MAX_WAITING:
            raise SpeechError("local speech synthesis is overloaded", retryable=True)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except DependencyMissing:
            raise
        except Exception as error:
            # The engine documents no errors of its own; whatever it raises, this text failed.
            raise SpeechError("local speech synthesis failed") from error
        finally:
            self._waiting -= 1

    def _load(self) -> _Engine:
        if self._engine is None:
            try:
                # An optional package that takes a tenth of a second to import.
                from hibari import Hibari  # noqa: PLC0415
            except ImportError as error:
                raise DependencyMissing(
                    "hibari-tts is not installed: pip install 'voicecall[local]'"
                ) from error
            engine: _Engine = Hibari(threads=1)
            # Its dictionaries are read with the first words, which holds the interpreter, and with
            # it every call, for a tenth of a second.
            for _ in engine.stream(_FIRST_WORDS, seed=self._seed):
                pass
            self._engine = engine
        return self._engine

    def _begin(self, text: str) -> Iterator[npt.NDArray[np.float32]]:
        return iter(self._load().stream(text, seed=self._seed))

    def _next_sentence(self, sentences: Iterator[npt.NDArray[np.float32]]) -> bytes | None:
        samples = next(sentences, None)
        if samples is None:
            return None
        amplified = np.clip(_trimmed(samples * self._gain), -1.0, 1.0) * _PCM16_MAX
        pcm: bytes = amplified.astype("<i2").tobytes()
        return pcm


def _trimmed(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A sentence without most of the silence that the engine puts around it."""
    loud = np.flatnonzero(np.abs(samples) >= _AUDIBLE)
    if not loud.size:
        return samples
    return samples[max(0, loud[0] - _LEAD_SAMPLES) : loud[-1] + _PAUSE_SAMPLES]
