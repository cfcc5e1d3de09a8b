"""Texts that a model which speaks by itself is asked to say."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voicecall.errors import RemoteError, SpeechError
from voicecall.session.floor import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from voicecall.ports import Playback
    from voicecall.session.rendition import Said
    from voicecall.session.replies import Output

_MAX_WAITING_TEXTS = 8
_WORD = re.compile(r"[\w']+")


def resembles(said: str, text: str, *, interrupted: bool = False) -> bool:
    """Whether `said` is likely to be `text`, perhaps in other words.

    Args:
        said: what was said.
        text: what was to be said.
        interrupted: whether `said` may be only its beginning.
    """
    if not said:
        # What is known of it speaks neither for nor against.
        return True
    wanted, got = set(_WORD.findall(text.lower())), set(_WORD.findall(said.lower()))
    size = min(len(wanted), len(got)) if interrupted else len(wanted)
    return 2 * len(wanted & got) >= size


@dataclass(slots=True)
class _Expected:
    """A text that the model has been asked to say.

    Attributes:
        text: what it is to say.
        done: how it was played, or why it was not.
        other: how something else was, which may have been it in quite other words.
    """

    text: str
    done: asyncio.Future[Playback | str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    other: Playback | None = None


class Sayings:
    """Has the model say one text at a time, in the order they were asked for.

    A model does not tell which of its replies is the text, and an answer to the caller may have
    been on its way before; so it is the first reply that resembles it. If none does, it is the
    second one, or the only one for some time.

    Overflow rule: at most eight texts wait; one more is refused.

    Args:
        output: what the model says.
        utter: asks the model to say a text; raises `SpeechError` when it cannot be asked.
        patience_s: how long the model may take to begin.
    """

    def __init__(self, output: Output, utter: Callable[[str], None], patience_s: float) -> None:
        self._output = output
        self._utter = utter
        self._patience_s = patience_s
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._expected: _Expected | None = None
        # Raised by an interruption: texts that were waiting then are skipped.
        self._interruptions = 0

    @property
    def expected(self) -> bool:
        """Whether the model has been asked to say something and has not."""
        return self._expected is not None

    def queue(self, text: str, done: asyncio.Future[Playback]) -> Coroutine[Any, Any, None]:
        """Queue `text`; the result has it said when its turn comes, and settles `done`.

        Raises:
            SpeechError: eight texts are already waiting.
        """
        if self._waiting >= _MAX_WAITING_TEXTS:
            raise SpeechError("too many texts are waiting to be said", retryable=True)
        self._waiting += 1
        return self._say_queued(text, done, self._interruptions)

    async def say(self, text: str) -> Playback:
        """Have `text` said when its turn comes; returns when it was played or cut short.

        Raises:
            SpeechError: the model did not.
        """
        async with self._lock:
            return await self._say(text)

    def interrupt(self) -> None:
        """Texts that wait are skipped; what the model was asked for already, it will say."""
        self._interruptions += 1

    def said(self, said: Said) -> None:
        """The model has said something."""
        expected = self._expected
        if expected is None or expected.done.done():
            return
        interrupted = said.playback.interrupted
        if expected.other or resembles(said.text, expected.text, interrupted=interrupted):
            expected.done.set_result(said.playback)
        else:
            expected.other = said.playback

    def fail(self, reason: str) -> None:
        """The model cannot say what it was asked to say, because of `reason`."""
        if self._expected is not None and not self._expected.done.done():
            self._expected.done.set_result(reason)

    async def _say_queued(
        self, text: str, done: asyncio.Future[Playback], interruptions: int
    ) -> None:
        async with self._lock:
            self._waiting -= 1
            if interruptions != self._interruptions:
                return
            try:
                playback = await self._say(text)
            except RemoteError as error:
                if done.done():
                    raise
                done.set_exception(error)
            else:
                settle(done, playback)

    async def _say(self, text: str) -> Playback:
        await self._output.silent()
        expected = self._expected = _Expected(text)
        try:
            self._utter(text)
            return await self._settled(expected)
        finally:
            self._expected = None

    async def _settled(self, expected: _Expected) -> Playback:
        while True:
            await asyncio.wait({expected.done}, timeout=self._patience_s)
            if expected.done.done():
                outcome = expected.done.result()
            elif self._output.speaking:
                continue
            else:
                outcome = expected.other or "the model did not say what it was to say"
            if isinstance(outcome, str):
                raise SpeechError(outcome, retryable=True)
            return outcome
