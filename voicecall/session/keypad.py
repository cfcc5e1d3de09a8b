"""Keys, in both directions: which of them belong together, and how ours are sounded."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from voicecall.errors import NotConnected, SpeechError
from voicecall.session.floor import SKIPPED, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from voicecall.ports import AudioPath, Playback
    from voicecall.session.replies import Output
    from voicecall.session.work import Work

_MAX_DIGITS = 32
_MAX_PRESSES = 8


class Keypad:
    """Gathers the keys a caller presses into what they mean together.

    Overflow rule: of more than 32 keys the newest count.

    Args:
        pause_ms: how long after a key another one belongs to it; `#` ends them at once.
        on_keys: called with all of them.
    """

    def __init__(self, pause_ms: int, on_keys: Callable[[str], None]) -> None:
        self._pause_s = pause_ms / 1000
        self._on_keys = on_keys
        self._digits = ""
        self._due: asyncio.TimerHandle | None = None

    def pressed(self, digit: str) -> None:
        """The caller pressed a key."""
        self._digits = (self._digits + digit)[-_MAX_DIGITS:]
        self.close()
        wait_s = 0 if digit == "#" else self._pause_s
        self._due = asyncio.get_running_loop().call_later(wait_s, self._tell)

    def close(self) -> None:
        """Tell of no more keys."""
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _tell(self) -> None:
        digits, self._digits, self._due = self._digits, "", None
        self._on_keys(digits)


class Dialler:
    """Sounds keys on a call while the model is silent, and nothing cuts them.

    Overflow rule: eight sequences of keys may wait; one more is refused.

    Args:
        path: where they are played.
        output: the model's, which is silent meanwhile.
        work: whose task it is.
    """

    def __init__(self, path: AudioPath, output: Output, work: Work) -> None:
        self._path = path
        self._output = output
        self._work = work
        self._presses = 0

    async def press(self, tones: Iterable[bytes]) -> None:
        """Sound keys after what is being said; returns when they have.

        Args:
            tones: what they sound like, coded as the path is.

        Raises:
            NotConnected: the call's audio ended before.
            SpeechError: eight sequences of keys are already waiting.
        """
        if self._presses >= _MAX_PRESSES:
            raise SpeechError("too many keys are waiting to be heard", retryable=True)
        done: asyncio.Future[Playback] = asyncio.get_running_loop().create_future()
        self._presses += 1
        self._work.start(self._sound(tones, done), partial(self._sounded, done))
        if (await done).interrupted:
            raise NotConnected("the call's audio ended before its keys", call_id=self._work.call_id)

    async def _sound(self, tones: Iterable[bytes], done: asyncio.Future[Playback]) -> None:
        async with self._output.hush():
            utterance = self._path.utterance()
            for tone in tones:
                await utterance.write(tone)
            utterance.finish()
            settle(done, await utterance.played())

    def _sounded(self, done: asyncio.Future[Playback]) -> None:
        self._presses -= 1
        settle(done, SKIPPED)
