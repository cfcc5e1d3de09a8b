"""From a model that speaks by itself to the caller's ear: its replies, one after another."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from voicecall.ports import ReplyAudio, ReplyText
from voicecall.session.rendition import Rendition

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from voicecall.ports import Playback, ReplyDone
    from voicecall.session.rendition import Channel, Said
    from voicecall.session.timing import TurnTiming

_log = logging.getLogger("voicecall.session")

_MAX_REPLIES = 8
_MAX_KNOWN = 64


class Output(Protocol):
    """What a model says, on its way to the caller."""

    @property
    def speaking(self) -> bool:
        """Whether something is being said, or is about to be."""
        ...

    async def run(self) -> None:
        """Play what comes, until cancelled."""
        ...

    def add(self, event: ReplyAudio | ReplyText) -> None:
        """Take more of a reply. Never blocks."""
        ...

    def done(self, event: ReplyDone) -> bool:
        """No more of a reply follows; False when nothing was known of it."""
        ...

    def caller_spoke(self) -> None:
        """The caller has said a word."""
        ...

    def interrupt(self) -> None:
        """Stop what is being said, and what was going to be; the ends are told at once."""
        ...

    def finish(self) -> None:
        """Nothing more comes, neither of what is being said nor anything else."""
        ...

    def hush(self) -> AbstractAsyncContextManager[None]:
        """Held, nothing is said; what is being said comes to its end before."""
        ...

    async def silent(self) -> None:
        """Wait until nothing is being said, nor about to be."""
        ...

    async def begun(self) -> None:
        """Wait until something is being said, or about to be."""
        ...


class Replies:
    """What a model that takes turns says; implements `Output`.

    Overflow rule: at most eight replies are played or waiting; one more is not played.

    Args:
        channel: how it gets to the caller.
        plan: where the steps of the next reply are noted, and whether it may not be interrupted.
        on_begin: called with a reply when it begins to play.
        on_end: called once for each reply, before anything that follows it.
        cancel: called when the reply that is being made is not wanted any more.
        patience_s: how long the model may take for its next piece.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        plan: Callable[[], tuple[TurnTiming, bool]],
        on_begin: Callable[[Rendition], None],
        on_end: Callable[[Said], None],
        cancel: Callable[[], None],
        patience_s: float,
    ) -> None:
        self._channel = channel
        self._plan = plan
        self._on_begin = on_begin
        self._on_end = on_end
        self._cancel = cancel
        self._patience_s = patience_s
        self._queue: deque[Rendition] = deque()
        # Of these no more is wanted, or to be expected.
        self._over: deque[str] = deque(maxlen=_MAX_KNOWN)
        self._mouth = asyncio.Lock()
        self._silent = asyncio.Event()
        self._silent.set()
        self._begun = asyncio.Event()

    @property
    def speaking(self) -> bool:
        """Whether a reply is being played or waiting."""
        return bool(self._queue)

    async def run(self) -> None:
        """Play replies in their order until cancelled."""
        while True:
            await self._begun.wait()
            async with self._mouth:
                if self._queue:
                    rendition = self._queue[0]
                    playback = await rendition.play(self._on_begin, self._patience_s)
                    self._end(rendition, playback)

    def add(self, event: ReplyAudio | ReplyText) -> None:
        """Take more of a reply; of one that was cut it is dropped."""
        rendition = self._rendition(event.reply_id)
        if rendition is None:
            return
        if isinstance(event, ReplyText):
            rendition.add_text(event.text)
            return
        rendition.add_audio(event.audio)
        if rendition.truncated:
            self._over.append(event.reply_id)
            self._cancel()

    def done(self, event: ReplyDone) -> bool:
        """No more of a reply follows; False when nothing was known of it."""
        if event.reply_id in self._over:
            return True
        self._over.append(event.reply_id)
        rendition = self._find(event.reply_id)
        if rendition is None:
            return False
        interrupted = event.interrupted or event.failure is not None
        rendition.end(interrupted=interrupted)
        return True

    def caller_spoke(self) -> None:
        """Nothing: replies have ends of their own."""

    def interrupt(self) -> None:
        """Cut the reply that is played and those that wait."""
        cut = list(self._queue)
        if not cut:
            return
        self._queue.clear()
        if cut[0].began:
            # First of all: until then the caller talks against us.
            self._channel.path.clear()
        if not all(rendition.complete for rendition in cut):
            self._cancel()
        for rendition in cut:
            self._over.append(rendition.reply_id)
            rendition.stop()
            self._on_end(rendition.said())
        self._fall_silent()

    def finish(self) -> None:
        """Nothing more comes: what is there is played."""
        for rendition in self._queue:
            rendition.end(interrupted=not rendition.complete)

    @asynccontextmanager
    async def hush(self) -> AsyncGenerator[None]:
        """Held, no reply is played; one that is being played comes to its end before."""
        async with self._mouth:
            yield

    async def silent(self) -> None:
        """Wait until no reply is played or waiting."""
        await self._silent.wait()

    async def begun(self) -> None:
        """Wait until a reply is played or waiting."""
        await self._begun.wait()

    def _find(self, reply_id: str) -> Rendition | None:
        return next((each for each in self._queue if each.reply_id == reply_id), None)

    def _rendition(self, reply_id: str) -> Rendition | None:
        if reply_id in self._over:
            return None
        rendition = self._find(reply_id)
        if rendition is not None:
            return rendition
        if len(self._queue) >= _MAX_REPLIES:
            _log.warning("too many replies of the model wait to be played")
            self._over.append(reply_id)
            return None
        timing, protected = self._plan()
        rendition = Rendition(reply_id, self._channel, timing, protected=protected)
        self._queue.append(rendition)
        self._silent.clear()
        self._begun.set()
        return rendition

    def _end(self, rendition: Rendition, playback: Playback) -> None:
        # One that was interrupted has been told of.
        if rendition.stopped:
            return
        self._queue.popleft()
        if not rendition.complete:
            self._over.append(rendition.reply_id)
        self._on_end(rendition.said(playback))
        self._fall_silent()

    def _fall_silent(self) -> None:
        if not self._queue:
            self._begun.clear()
            self._silent.set()
