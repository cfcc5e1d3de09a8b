"""Turns found here, for recognisers that cannot tell by themselves when the caller has finished.

What the caller says goes to the recogniser, with a little from before and after; the silence in
between stays here. At the end of each turn the recogniser is asked for it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from voicecall.audio import to_pcm16
from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.ports import ULAW_8K, SpeechStarted, SpeechStopped
from voicecall.speech.stt.detect import Detection
from voicecall.speech.stt.sending import Piece
from voicecall.speech.timeline import Timeline
from voicecall.speech.vad import Segmenter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import ThreadPoolExecutor

    from voicecall.clock import Clock
    from voicecall.ports import SttEvent, VoiceActivity
    from voicecall.speech.stt.remote import RemoteSttStream
    from voicecall.speech.vad import Endpointing

Passed: TypeAlias = SpeechStarted | SpeechStopped | Piece


class TurnGate:
    """Lets one call's speech through, and tells where it begins and ends. Reads no clock.

    Memory is bounded by the pre-roll.

    Args:
        detector: this call's own.
        rules: thresholds and durations.
    """

    def __init__(self, detector: VoiceActivity, rules: Endpointing) -> None:
        self._detector = detector
        self._window_octets = detector.window_samples
        window_ms = ULAW_8K.duration_ms(self._window_octets)
        self._window_ns = round(window_ms * NS_PER_MS)
        self._segmenter = Segmenter(window_ms, rules)
        self._timeline = Timeline()
        # The windows that make speech certain come after its start, so they are kept as well.
        kept_ms = rules.preroll_ms + rules.min_speech_ms
        self._preroll: deque[bytes] = deque(maxlen=math.ceil(kept_ms / window_ms) + 1)
        self._rest = b""

    def push(self, audio: bytes, arrived_ns: int) -> list[Passed]:
        """Take more audio.

        Args:
            audio: mu-law at 8 kHz, any length.
            arrived_ns: when, on the monotonic clock.

        Returns:
            What became certain and what goes through, in order; the last piece of a turn comes
            before its `SpeechStopped`.
        """
        duration_ns = len(audio) * NS_PER_S // ULAW_8K.octets_per_second
        end_ns = self._timeline.date(duration_ns, arrived_ns)
        waiting = self._rest + audio
        windows = len(waiting) // self._window_octets
        self._rest = waiting[windows * self._window_octets :]
        rest_ns = len(self._rest) * NS_PER_S // ULAW_8K.octets_per_second
        passed: list[Passed] = []
        for index in range(windows):
            start = index * self._window_octets
            later_ns = (windows - 1 - index) * self._window_ns + rest_ns
            self._take(waiting[start : start + self._window_octets], end_ns - later_ns, passed)
        return passed

    def _take(self, window: bytes, end_ns: int, passed: list[Passed]) -> None:
        event = self._segmenter.feed(self._detector.probability(to_pcm16(window, "ulaw")), end_ns)
        match event:
            case SpeechStarted():
                passed += [event, Piece(b"".join(self._preroll) + window, end_ns)]
                self._preroll.clear()
            case SpeechStopped():
                passed += [Piece(window, end_ns, ends_turn=True), event]
            case None if self._segmenter.speaking:
                passed.append(Piece(window, end_ns))
            case None:
                self._preroll.append(window)


class CommittedSttStream:
    """One call's recognition elsewhere with turns found here; implements `ports.SttStream`.

    Args:
        remote: recognises what it is given until it is told that a turn has ended. Owned from now
            on.
        gate: finds the turns; used on the detector thread only.
        worker: the detector thread.
        clock: when audio arrives.
    """

    def __init__(
        self, remote: RemoteSttStream, gate: TurnGate, *, worker: ThreadPoolExecutor, clock: Clock
    ) -> None:
        self._remote = remote
        self._detection = Detection(
            gate.push, self._pass_on, remote.fail, worker=worker, clock=clock, audio=ULAW_8K
        )

    @property
    def dropped_octets(self) -> int:
        """Of audio that nobody heard: the detector was too slow, or there was no connection."""
        return self._detection.dropped_octets + self._remote.dropped_octets

    def push(self, audio: bytes) -> None:
        """Listen to more mu-law at 8 kHz. Never blocks."""
        self._detection.push(audio)

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        return aiter(self._remote)

    async def close(self) -> None:
        """Close the connection; iteration ends."""
        self._detection.close()
        await self._remote.close()

    def _pass_on(self, passed: list[Passed]) -> None:
        for each in passed:
            if isinstance(each, Piece):
                self._remote.send(each)
            else:
                self._remote.tell(each)
