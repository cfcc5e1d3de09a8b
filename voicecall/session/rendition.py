"""One reply of a model that speaks by itself, on its way to the caller's ear."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.dialog.history import SpokenText, heard_text
from voicecall.errors import CodecError
from voicecall.ports import Playback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, AudioPath, Utterance
    from voicecall.session.speak import Conversion, MakeConversion
    from voicecall.session.timing import TurnTiming

_log = logging.getLogger("voicecall.session")

_MAX_AHEAD_S = 60
_MAX_CHARACTERS = 20_000
# Of longer audio this much is converted at a time: a few hundredths of a millisecond.
_STEP_MS = 200
# What a carrier may still hold when we have handed over everything.
_PLAYOUT_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """One thing the model has said, or would have.

    Attributes:
        reply_id: which reply it was.
        text: what was to be said, as far as it is known.
        heard: as much of it as the caller heard, in whole words.
        playback: how its playing ended.
        timing: when its steps happened.
        began: whether any of it was played.
        cut: whether the model believes to have said more than was heard.
    """

    reply_id: str
    text: str
    heard: str
    playback: Playback
    timing: TurnTiming
    began: bool = True
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """How a model's audio gets to the caller.

    Attributes:
        path: where it is played.
        source: how the model codes it.
        convert: makes conversions between audio formats.
        clock: the time.
    """

    path: AudioPath
    source: AudioFormat
    convert: MakeConversion
    clock: Clock

    def conversion(self) -> Conversion | None:
        """From the model's format to the path's; None when they are the same."""
        if self.source == self.path.audio:
            return None
        return self.convert(self.source, self.path.audio)


class Rendition:
    """One reply as it is played.

    Overflow rule: a model is faster than speech, so 60 s of audio may wait here; once they do, the
    rest of the reply is dropped. What is heard then ends early, but has no holes.

    Args:
        reply_id: which reply.
        channel: how it gets to the caller.
        timing: where the first audio and the first frame are noted.
        protected: whether it may not be interrupted.
    """

    def __init__(
        self, reply_id: str, channel: Channel, timing: TurnTiming, *, protected: bool
    ) -> None:
        self.reply_id = reply_id
        self.timing = timing
        self.protected = protected
        self.complete = False
        """Whether no more of it is wanted or to be expected."""
        self.truncated = False
        """Whether the model made more of it than was kept."""
        self.stopped = False
        """Whether it was cut here."""
        self._interrupted = False
        self._channel = channel
        self._utterance: Utterance | None = None
        self._pieces: deque[bytes] = deque()
        self._waiting_octets = 0
        self._octets = 0
        self._came = asyncio.Event()
        self._text = ""

    @property
    def began(self) -> bool:
        """Whether any of it has been handed to the path."""
        return self._utterance is not None

    @property
    def text(self) -> str:
        """What it says, as far as it has come."""
        return self._text.strip()

    def add_audio(self, audio: bytes) -> None:
        """More of its sound."""
        if self.complete or self.stopped:
            return
        if self.timing.first_audio_ns is None:
            self.timing.first_audio_ns = self._channel.clock.now_ns()
        limit = self._channel.source.octets_per_second * _MAX_AHEAD_S
        if self._waiting_octets + len(audio) > limit:
            _log.warning("a reply of the model is too long", extra={"kept_octets": self._octets})
            self.truncated = True
            self.end()
            return
        self._pieces.append(audio)
        self._octets += len(audio)
        self._waiting_octets += len(audio)
        self._came.set()

    def add_text(self, text: str) -> None:
        """More of its words."""
        timing = self.timing
        # Its steps are told in their order; words that come after the sound are none.
        if timing.first_token_ns is None and timing.first_audio_ns is None:
            timing.first_token_ns = self._channel.clock.now_ns()
        if len(self._text) < _MAX_CHARACTERS:
            self._text += text

    def end(self, *, interrupted: bool = False) -> None:
        """No more of it follows; `interrupted`: because the model stopped in its middle."""
        self.complete = True
        self._interrupted = self._interrupted or interrupted
        self._came.set()

    def stop(self) -> None:
        """It is not wanted any more; what the path has of it is the caller's to clear."""
        self.stopped = True
        self._pieces.clear()
        self._came.set()

    async def play(self, on_begin: Callable[[Rendition], None], patience_s: float) -> Playback:
        """Play it; returns when it was heard or cut.

        Args:
            on_begin: called when its first audio is played.
            patience_s: how long the model may take for its next piece.
        """
        conversion = self._channel.conversion()
        while (piece := await self._next(patience_s)) is not None:
            for audio in self._converted(piece, conversion):
                await self._write(audio, on_begin)
        if conversion is not None and not self.stopped:
            await self._write(_tail(conversion), on_begin)
        if self._utterance is None:
            return Playback(heard_ms=0, total_ms=0, interrupted=self.stopped)
        self._utterance.finish()
        try:
            async with asyncio.timeout(self._received_ms() / 1000 + _PLAYOUT_GRACE_S):
                playback = await self._utterance.played()
        except TimeoutError:
            _log.warning("the carrier never confirmed that speech was played")
            return self._cut_short()
        if self._interrupted:
            return Playback(playback.heard_ms, playback.total_ms, interrupted=True)
        return playback

    def said(self, playback: Playback | None = None) -> Said:
        """What became of it.

        Args:
            playback: how its playing ended; None when it is cut now.
        """
        playback = playback or self._cut_short()
        # If the model stopped, what it had made by then was heard to its end.
        whole = not self.stopped and playback.heard_ms >= playback.total_ms
        heard = self.text
        if not whole:
            stretch = SpokenText(self.text, self._received_ms())
            heard = heard_text([stretch], playback.heard_ms) if self.began else ""
        return Said(
            self.reply_id,
            self.text,
            heard,
            playback,
            self.timing,
            began=self.began,
            cut=self.truncated or not whole,
        )

    def _cut_short(self) -> Playback:
        heard_ms = 0 if self._utterance is None else self._utterance.heard_ms()
        return Playback(heard_ms, round(self._received_ms()), interrupted=True)

    def _received_ms(self) -> float:
        return self._channel.source.duration_ms(self._octets)

    async def _next(self, patience_s: float) -> bytes | None:
        while not self._pieces:
            if self.complete or self.stopped:
                return None
            self._came.clear()
            try:
                async with asyncio.timeout(patience_s):
                    await self._came.wait()
            except TimeoutError:
                _log.warning("a reply of the model stopped in its middle")
                self.end(interrupted=True)
        piece = self._pieces.popleft()
        self._waiting_octets -= len(piece)
        return piece

    def _converted(self, piece: bytes, conversion: Conversion | None) -> Iterator[bytes]:
        if conversion is None:
            yield piece
            return
        step = self._channel.source.octets_per_second * _STEP_MS // 1000
        for start in range(0, len(piece), step):
            yield conversion.convert(piece[start : start + step])

    async def _write(self, audio: bytes, on_begin: Callable[[Rendition], None]) -> None:
        if not audio or self.stopped:
            return
        if self._utterance is None:
            self._utterance = self._channel.path.utterance()
            self.timing.first_frame_ns = self._channel.clock.now_ns()
            on_begin(self)
        await self._utterance.write(audio)


def _tail(conversion: Conversion) -> bytes:
    try:
        return conversion.convert(b"", True)
    except CodecError:
        # Half a sample at the very end cannot be heard.
        return b""
