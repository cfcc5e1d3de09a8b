"""From the caller's mouth to recognition results, from when it rings until the call is over."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import AudioFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.ports import AudioPath, SpeechToText, SttEvent, SttStream
    from voicecall.session.speak import MakeConversion

_log = logging.getLogger("voicecall.session")

_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 16.0
_MAX_EARLY = 50

# Named, so that tests need not wait.
_sleep = asyncio.sleep


class Listener:
    """Listens to one call.

    The recogniser's stream can be opened before there is anything to hear. When it fails it is
    opened again, after half a second, then after twice as long each time, up to 16 s; what the
    caller says meanwhile is lost.

    Overflow rule: until the stream is open for the first time the newest 50 pieces of audio, as a
    rule one second, are kept for it.

    Args:
        stt: the recogniser.
        convert: makes conversions between audio formats.
        on_event: called with each result, in order.
        on_audio: called with each piece of the caller's audio, coded as `attach` has said.
    """

    def __init__(
        self,
        stt: SpeechToText,
        convert: MakeConversion,
        on_event: Callable[[SttEvent], None],
        on_audio: Callable[[bytes], None],
    ) -> None:
        self._stt = stt
        self._convert = convert
        self._on_event = on_event
        self._on_audio = on_audio
        self._path: AudioPath | None = None
        self._push: Callable[[bytes], None] | None = None
        self._early: deque[bytes] | None = deque(maxlen=_MAX_EARLY)
        self._pause_s = _FIRST_PAUSE_S
        self.ready = asyncio.Event()
        """Set when recognition works, and when it is certain that it does not."""

    def attach(self, path: AudioPath) -> AudioFormat:
        """The caller is there, and is listened to; to be called once.

        Returns:
            How his audio comes: as the carrier codes it where that is what the recogniser takes.
        """
        self._path = path
        coded = path.audio == self._stt.input
        heard = path.audio if coded else AudioFormat("pcm16", path.audio.rate_hz)
        path.listen(self._sink(heard), coded=coded)
        return heard

    async def run(self) -> None:
        """Listen until cancelled, or until recognition turns out not to be installed."""
        try:
            while await self._try_to_listen():
                self.ready.set()
                self._early = None
                await _sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        finally:
            if self._path is not None:
                self._path.listen(None)
            self.ready.set()

    async def _try_to_listen(self) -> bool:
        """Listen as long as it works; whether it is worth trying again."""
        try:
            await self._listen()
        except DependencyMissing as error:
            _log.warning("speech recognition is missing, the call goes on without", exc_info=error)
            return False
        except (SpeechError, TimeoutError) as error:
            # The call goes on speaking: a message delivered is better than a line cut.
            _log.warning("speech recognition failed, the call goes on without", exc_info=error)
        else:
            _log.warning("speech recognition ended by itself")
        return True

    async def _listen(self) -> None:
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            stream = await self._stt.open()
        try:
            self._begin(stream)
            async for event in stream:
                self._pause_s = _FIRST_PAUSE_S
                self._on_event(event)
        finally:
            self._push = None
            await _close(stream)

    def _begin(self, stream: SttStream) -> None:
        early, self._early = self._early, None
        for audio in early or ():
            stream.push(audio)
        self._push = stream.push
        self.ready.set()

    def _sink(self, heard: AudioFormat) -> Callable[[bytes], None]:
        wanted = self._stt.input
        if heard == wanted:

            def pass_on(audio: bytes) -> None:
                self._on_audio(audio)
                self._take(audio)

            return pass_on
        conversion = self._convert(heard, wanted)

        def convert(audio: bytes) -> None:
            self._on_audio(audio)
            if converted := conversion.convert(audio):
                self._take(converted)

        return convert

    def _take(self, audio: bytes) -> None:
        if self._push is not None:
            self._push(audio)
        elif self._early is not None:
            self._early.append(audio)


async def _close(stream: SttStream) -> None:
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await stream.close()
    except TimeoutError:
        _log.warning("speech recognition does not close")
    except SpeechError as error:
        _log.warning("speech recognition could not be closed", exc_info=error)
