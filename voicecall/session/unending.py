"""From a model that never stops sending to the caller's ear: kept close to the present."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.ports import Playback, ReplyText
from voicecall.session.rendition import Said
from voicecall.session.timing import TurnTiming

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from voicecall.ports import ReplyAudio, ReplyDone, Utterance
    from voicecall.session.rendition import Channel

_log = logging.getLogger("voicecall.session")

AHEAD_MS: Final = 400
"""How far the model's audio may be ahead of what is played."""

_MAX_CHARACTERS = 20_000


class Unending:
    """What a model without turns says; implements `replies.Output`.

    Its audio is one unbroken stream, silences included, and is played as it comes: a caller who
    interrupts is heard by the model, which stops by itself. What it says is told in pieces that end
    where the caller speaks, or at a pause.

    Overflow rules: audio that would play later than 400 ms after it came is dropped, so that the
    conversation does not fall behind for good after a burst; while nothing can be played the newest
    400 ms are kept.

    Args:
        channel: how it gets to the caller.
        on_begin: called with the first words of a piece.
        on_end: called once for each piece.
        pause_s: how long without a word ends a piece.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        on_begin: Callable[[str], None],
        on_end: Callable[[Said], None],
        pause_s: float = 1.0,
    ) -> None:
        self._path = channel.path
        self._clock = channel.clock
        self._conversion = channel.conversion()
        self._on_begin = on_begin
        self._on_end = on_end
        self._pause_s = pause_s
        self._audio: deque[bytes] = deque()
        self._audio_octets = 0
        self._played_until_ns = 0
        self._utterance: Utterance | None = None
        self._mouth = asyncio.Lock()
        self._came = asyncio.Event()
        self._text = ""
        self._reply_id = ""
        self._began_ns = 0
        self._pause: asyncio.TimerHandle | None = None
        self._silent = asyncio.Event()
        self._silent.set()
        self._begun = asyncio.Event()
        self.dropped_octets = 0
        """How much audio, as the path codes it, was not played."""

    @property
    def speaking(self) -> bool:
        """Whether the model is in the middle of saying something."""
        return not self._silent.is_set()

    async def run(self) -> None:
        """Play what comes until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            async with self._mouth:
                if self._utterance is None:
                    self._utterance = self._path.utterance()
                while self._audio:
                    audio = self._audio.popleft()
                    self._audio_octets -= len(audio)
                    await self._utterance.write(audio)

    def add(self, event: ReplyAudio | ReplyText) -> None:
        """Take more sound, or more words."""
        self._reply_id = event.reply_id
        if isinstance(event, ReplyText):
            self._add_text(event.text)
        else:
            self._add_audio(event.audio)

    def done(self, event: ReplyDone) -> bool:
        """The model has started afresh: what it was saying ends."""
        del event
        self._end(interrupted=False)
        return True

    def caller_spoke(self) -> None:
        """What the model was saying ends; if it goes on, that is another piece."""
        self._end(interrupted=False)

    def interrupt(self) -> None:
        """Nothing is cut: this model hears the caller, and stops by itself. The piece ends."""
        self._end(interrupted=True)

    def finish(self) -> None:
        """Nothing more comes."""
        self._end(interrupted=True)
        self._audio.clear()
        self._audio_octets = 0
        if self._utterance is not None:
            self._utterance.finish()
            self._utterance = None

    @asynccontextmanager
    async def hush(self) -> AsyncGenerator[None]:
        """Held, nothing is played, and what comes meanwhile is lost but for its end."""
        async with self._mouth:
            if self._utterance is not None:
                self._utterance.finish()
                self._utterance = None
            yield

    async def silent(self) -> None:
        """Wait until the model pauses."""
        await self._silent.wait()

    async def begun(self) -> None:
        """Wait until the model says something."""
        await self._begun.wait()

    def _add_audio(self, audio: bytes) -> None:
        if self._conversion is not None:
            audio = self._conversion.convert(audio)
        if not audio:
            return
        form, now_ns = self._path.audio, self._clock.now_ns()
        self._played_until_ns = max(self._played_until_ns, now_ns)
        if self._played_until_ns - now_ns > AHEAD_MS * NS_PER_MS:
            self._drop(len(audio))
            return
        self._played_until_ns += len(audio) * NS_PER_S // form.octets_per_second
        self._audio.append(audio)
        self._audio_octets += len(audio)
        while len(self._audio) > 1 and form.duration_ms(self._audio_octets) > AHEAD_MS:
            oldest = self._audio.popleft()
            self._audio_octets -= len(oldest)
            self._drop(len(oldest))
        self._came.set()

    def _drop(self, octets: int) -> None:
        if not self.dropped_octets:
            _log.info("audio of the model is dropped so as not to fall behind")
        self.dropped_octets += octets

    def _add_text(self, text: str) -> None:
        if not self._text and not text.strip():
            return
        if not self._text:
            self._began_ns = self._clock.now_ns()
            self._silent.clear()
            self._begun.set()
            self._on_begin(text.strip())
        if len(self._text) < _MAX_CHARACTERS:
            self._text += text
        self._forget_pause()
        loop = asyncio.get_running_loop()
        self._pause = loop.call_later(self._pause_s, self._end_at_pause)

    def _end_at_pause(self) -> None:
        self._end(interrupted=False)

    def _end(self, *, interrupted: bool) -> None:
        self._forget_pause()
        text, self._text = self._text.strip(), ""
        if not text:
            return
        # Its sound has no beginning and no end; its words came with it.
        spoken_ms = (self._clock.now_ns() - self._began_ns) // NS_PER_MS
        playback = Playback(spoken_ms, spoken_ms, interrupted=interrupted)
        self._on_end(Said(self._reply_id, text, text, playback, TurnTiming()))
        self._begun.clear()
        self._silent.set()

    def _forget_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
