"""From the caller's mouth to a model that listens by itself."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from voicecall.ports import AudioFormat
from voicecall.speech.vad import level_dbfs

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.ports import AudioPath
    from voicecall.session.speak import MakeConversion

_LEVEL_FRAMES = 10
_SILENCE_DBFS = -96.0


class Ear:
    """One call's incoming audio, as the model wants it.

    Where the model takes what the carrier sends, it gets that untouched.

    Args:
        path: the call's audio.
        wanted: how the model wants it.
        convert: makes conversions between audio formats.
    """

    def __init__(self, path: AudioPath, wanted: AudioFormat, convert: MakeConversion) -> None:
        self._path = path
        self._wanted = wanted
        self._convert = convert
        self._linear = AudioFormat("pcm16", path.audio.rate_hz)
        self._source = path.audio if wanted == path.audio else self._linear
        self._recent: deque[bytes] = deque(maxlen=_LEVEL_FRAMES)

    def listen(self, push: Callable[[bytes], None]) -> None:
        """Hand everything that comes to `push`."""
        coded = self._source != self._linear
        self._path.listen(self._sink(push), coded=coded)

    def stop(self) -> None:
        """Listen no more."""
        self._path.listen(None)

    def level_dbfs(self) -> float:
        """How loud the caller has been over the last 200 ms."""
        if not self._recent:
            return _SILENCE_DBFS
        audio = b"".join(self._recent)
        if self._source != self._linear:
            # Only when it matters, which is while both speak.
            audio = self._convert(self._source, self._linear).convert(audio, True)
        return level_dbfs(audio)

    def _sink(self, push: Callable[[bytes], None]) -> Callable[[bytes], None]:
        recent = self._recent
        if self._source == self._wanted:

            def pass_on(audio: bytes) -> None:
                recent.append(audio)
                push(audio)

            return pass_on
        conversion = self._convert(self._source, self._wanted)

        def convert(audio: bytes) -> None:
            recent.append(audio)
            if converted := conversion.convert(audio):
                push(converted)

        return convert
