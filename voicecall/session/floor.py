"""Who may speak: one thing is said at a time, in the order it was asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from voicecall.errors import RemoteError, SpeechError
from voicecall.ports import Playback
from voicecall.session.timing import TurnTiming

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from types import TracebackType

_MAX_WAITING_TEXTS = 8

SKIPPED = Playback(heard_ms=0, total_ms=0, interrupted=True)
"""What becomes of a text that is never said."""


class Speech(Protocol):
    """One thing being said, from its text to how much of it was heard."""

    @property
    def timing(self) -> TurnTiming:
        """When its steps happened."""
        ...

    @property
    def failure(self) -> RemoteError | None:
        """Why it ended early, if something failed."""
        ...

    @property
    def began(self) -> bool:
        """Whether any of it has been handed over to be heard."""
        ...

    @property
    def text(self) -> str:
        """What was to be said, as far as it is known."""
        ...

    @property
    def played_text(self) -> str:
        """What of it has been handed over."""
        ...

    def heard(self) -> str:
        """What of it has been heard up to now, as far as that can be known."""
        ...

    def stop(self) -> None:
        """Cut it: take no more text, and have what was handed over fall silent."""
        ...

    async def run(self, pieces: AsyncGenerator[str]) -> Playback:
        """Say the text that `pieces` bring; returns when it was heard or stopped.

        A failure ends it early and is left in `failure`.

        Args:
            pieces: text as it comes; closed at the end.
        """
        ...


@runtime_checkable
class Pausable(Speech, Protocol):
    """A speech that can fall silent and go on later."""

    def hold(self) -> None:
        """Fall silent, and keep what has not been heard; harmless when it is silent or over."""
        ...

    def resume(self) -> None:
        """Go on from where it was held; harmless when it is not."""
        ...


class NewSpeech(Protocol):
    """Makes what is to be said next."""

    def __call__(self, *, timing: TurnTiming, on_begin: Callable[[str], None]) -> Speech:
        """Something to be said.

        Args:
            timing: where its steps are noted.
            on_begin: called with the first text when that begins to be heard.
        """
        ...


class Floor:
    """The right to speak on one call; taken with `async with`, first come, first served.

    Overflow rule: at most eight texts wait; one more is refused.

    Args:
        new_speech: makes what is said here.
        on_begin: called with the first sentence when its audio starts, and whether it may not be
            interrupted.
        on_end: called once for each speech, before anything that follows it, and whether it was
            interrupted; also for one that never began.
    """

    def __init__(
        self,
        new_speech: NewSpeech,
        on_begin: Callable[[str, bool], None],
        on_end: Callable[[Speech, bool], None],
    ) -> None:
        self._new_speech = new_speech
        self._on_begin = on_begin
        self._on_end = on_end
        self._lock = asyncio.Lock()
        self._waiting_texts = 0
        # Raised by an interruption: texts that were waiting then are skipped.
        self._interruptions = 0
        # What is being said or prepared, until its end has been told.
        self._speech: Speech | None = None

    @property
    def speech(self) -> Speech | None:
        """What is being said or prepared."""
        return self._speech

    @property
    def audible(self) -> bool:
        """Whether something is being played that has not ended."""
        return self._speech is not None and self._speech.began

    async def __aenter__(self) -> Self:
        await self._lock.acquire()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def queue(self, text: str, done: asyncio.Future[Playback]) -> Coroutine[Any, Any, None]:
        """Queue `text`; the result says it when its turn comes, and settles `done`.

        Raises:
            SpeechError: eight texts are already waiting.
        """
        if self._waiting_texts >= _MAX_WAITING_TEXTS:
            raise SpeechError("too many texts are waiting to be said", retryable=True)
        self._waiting_texts += 1
        return self._say(text, done, self._interruptions)

    def new_speech(self, timing: TurnTiming | None = None, *, protected: bool = False) -> Speech:
        """Something to be said with `perform`."""
        return self._new_speech(
            timing=timing or TurnTiming(),
            on_begin=lambda text: self._on_begin(text, protected),
        )

    async def perform(self, speech: Speech, pieces: AsyncGenerator[str]) -> Playback:
        """Say something; the floor has to be taken. Raises `RemoteError`."""
        self._speech = speech
        interrupted = True
        try:
            playback = await speech.run(pieces)
            interrupted = playback.interrupted
        finally:
            self._end(speech, interrupted=interrupted)
        if speech.failure is not None:
            raise speech.failure
        return playback

    async def say(self, text: str, *, protected: bool = False) -> Playback:
        """Say `text`; the floor has to be taken. Raises `RemoteError`."""
        return await self.perform(self.new_speech(protected=protected), whole(text))

    def hold(self) -> None:
        """Have what is being said fall silent, if it can; nothing else is said meanwhile."""
        if isinstance(self._speech, Pausable):
            self._speech.hold()

    def resume(self) -> None:
        """Have what was held go on."""
        if isinstance(self._speech, Pausable):
            self._speech.resume()

    def interrupt(self) -> None:
        """Stop what is being said, and skip the texts that wait."""
        self._interruptions += 1
        self.cut()

    def cut(self) -> None:
        """Stop what is being said; its end is told at once, not when it has wound up."""
        speech = self._speech
        if speech is None:
            return
        speech.stop()
        self._end(speech, interrupted=True)

    async def _say(self, text: str, done: asyncio.Future[Playback], interruptions: int) -> None:
        async with self:
            self._waiting_texts -= 1
            if interruptions != self._interruptions:
                return
            try:
                playback = await self.say(text)
            except RemoteError as error:
                if done.done():
                    raise
                done.set_exception(error)
            else:
                settle(done, playback)

    def _end(self, speech: Speech, *, interrupted: bool) -> None:
        if self._speech is speech:
            self._speech = None
            self._on_end(speech, interrupted)


def settle(done: asyncio.Future[Playback], playback: Playback) -> None:
    """Give `done` its result, unless it has one or nobody waits for it any more."""
    if not done.done():
        done.set_result(playback)


async def whole(text: str) -> AsyncGenerator[str]:
    """A text that is all there, as `Speech.run` takes it."""
    yield text
