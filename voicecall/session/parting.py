"""What our own voice says when the model that held a conversation is lost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from voicecall.call.events import CallSpeaking, CallSpoken
from voicecall.call.record import Speaker
from voicecall.errors import RemoteError
from voicecall.session.floor import Floor
from voicecall.session.speak import PathSpeech, Voice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voicecall.dialog.history import History
    from voicecall.ports import AudioPath, TextToSpeech
    from voicecall.session.equipment import Surroundings
    from voicecall.session.floor import Speech
    from voicecall.session.work import Work


class Parting:
    """Says the last words of a call. Nothing interrupts them.

    Args:
        tts: voices in the order they are tried; with none, nothing is said.
        path: where they are played.
        history: where they are remembered.
        work: whom they are told.
        surroundings: the rest of the system.
    """

    def __init__(
        self,
        tts: Sequence[TextToSpeech],
        path: AudioPath,
        history: History,
        work: Work,
        surroundings: Surroundings,
    ) -> None:
        self._history = history
        self._work = work
        self._floor: Floor | None = None
        if tts:
            voice = Voice(tts, surroundings.convert)
            new_speech = partial(PathSpeech, path, voice, clock=surroundings.clock)
            self._floor = Floor(new_speech, self._on_begin, self._on_end)

    async def say(self, text: str) -> bool:
        """Say `text`; whether it was said to its end. What fails is reported."""
        if self._floor is None:
            return False
        try:
            async with self._floor as floor:
                playback = await floor.say(text)
        except RemoteError as error:
            self._work.failed("nothing can be said any more", error)
            return False
        return not playback.interrupted

    def cut(self) -> None:
        """Stop at once."""
        if self._floor is not None:
            self._floor.cut()

    def _on_begin(self, text: str, protected: bool) -> None:
        del protected
        self._work.report(CallSpeaking, text=text)

    def _on_end(self, speech: Speech, interrupted: bool) -> None:
        if speech.began:
            heard = speech.heard() if interrupted else speech.played_text
            self._history.add(Speaker.BOT, heard)
            self._work.report(CallSpoken, text=speech.text, heard=heard, interrupted=interrupted)
