"""From the caller's mouth to recognition results."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import AudioFormat
from voicecall.speech.vad import level_dbfs

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.ports import AudioPath, SpeechToText, SttEvent, SttStream
    from voicecall.session.speak import MakeConversion

_log = logging.getLogger("voicecall.session")

_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2.0
_LEVEL_FRAMES = 10
_SILENCE_DBFS = -96.0


class Listener:
    """Listens to one call.

    Args:
        path: the call's audio.
        stt: the recogniser.
        convert: makes conversions between audio formats.
        on_event: called with each result, in order.
    """

    def __init__(
        self,
        path: AudioPath,
        stt: SpeechToText,
        convert: MakeConversion,
        on_event: Callable[[SttEvent], None],
    ) -> None:
        self._path = path
        self._stt = stt
        self._convert = convert
        self._on_event = on_event
        self._recent: deque[bytes] = deque(maxlen=_LEVEL_FRAMES)
        self.ready = asyncio.Event()
        """Set when recognition works, and when it is certain that it does not."""

    def level_dbfs(self) -> float:
        """How loud the caller has been over the last 200 ms."""
        return level_dbfs(b"".join(self._recent)) if self._recent else _SILENCE_DBFS

    async def run(self) -> None:
        """Listen until cancelled, or until recognition fails, which is logged once."""
        try:
            await self._listen()
        except (SpeechError, DependencyMissing, TimeoutError) as error:
            # The call goes on speaking: a message delivered is better than a line cut.
            _log.warning("speech recognition failed, the call goes on without", exc_info=error)
        finally:
            self._path.listen(None)
            self.ready.set()

    async def _listen(self) -> None:
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            stream = await self._stt.open()
        try:
            self._path.listen(self._sink(stream.push))
            self.ready.set()
            async for event in stream:
                self._on_event(event)
        finally:
            self._path.listen(None)
            await _close(stream)

    def _sink(self, push: Callable[[bytes], None]) -> Callable[[bytes], None]:
        source = AudioFormat("pcm16", self._path.audio.rate_hz)
        recent = self._recent
        if source == self._stt.input:

            def pass_on(pcm: bytes) -> None:
                recent.append(pcm)
                push(pcm)

            return pass_on
        conversion = self._convert(source, self._stt.input)

        def convert(pcm: bytes) -> None:
            recent.append(pcm)
            if converted := conversion.convert(pcm):
                push(converted)

        return convert


async def _close(stream: SttStream) -> None:
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await stream.close()
    except TimeoutError:
        _log.warning("speech recognition does not close")
