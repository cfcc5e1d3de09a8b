"""The conversation of a call whose media are streamed to us: we speak and listen ourselves."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from voicecall.call.events import CallDtmf, CallSpeech
from voicecall.call.record import CallState
from voicecall.clock import NS_PER_S
from voicecall.dialog.turns import Resume
from voicecall.errors import NotConnected, SpeechError
from voicecall.ports import FinalTranscript, PartialTranscript, SpeechStarted, SpeechStopped
from voicecall.session.attention import Attention, Words
from voicecall.session.floor import SKIPPED, Floor, settle
from voicecall.session.listen import Listener
from voicecall.session.raw_audio import RawAudio
from voicecall.session.speak import PathSpeech, Voice, rehearse
from voicecall.session.talk import Talk
from voicecall.session.timing import TurnTiming

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    from voicecall.call.record import CallRecord
    from voicecall.dialog.history import History
    from voicecall.ports import AudioPath, Playback, SttEvent
    from voicecall.session.equipment import Equipment, Surroundings
    from voicecall.session.floor import Speech
    from voicecall.session.raw_audio import CallerAudio

_log = logging.getLogger("voicecall.session")

_LISTENING_TIMEOUT_S = 0.5
_MAX_PRESSES = 8
# A murmur over the last words of a question answers it.
_ENDING_MS = 1000
# Recognisers without voice activity do not say when the caller began to speak.
_UTTERANCE_NS = 3 * NS_PER_S


class Session(Talk):
    """One call's conversation; implements `ports.Conversation` and `ports.PathEvents`.

    Args:
        record: the call; read only.
        opening: what to say first; None says nothing.
        equipment: what the call is held with.
        history: the memory it continues.
        surroundings: the rest of the system.
    """

    def __init__(
        self,
        record: CallRecord,
        opening: str | None,
        equipment: Equipment,
        history: History,
        surroundings: Surroundings,
    ) -> None:
        super().__init__(record, opening, equipment, history, surroundings)
        self._path: AudioPath | None = None
        self._listener: Listener | None = None
        if equipment.stt is not None and self._converses:
            self._listener = Listener(
                equipment.stt, surroundings.convert, self._on_speech, self._on_audio
            )
        self._attention: Attention | None = None
        self._raw = RawAudio(self.call_id, surroundings.convert)
        self._presses = 0
        self._caller_started_ns: int | None = None
        self._caller_stopped_ns: int | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # --- the call's actor ---------------------------------------------------------------------

    def answered(self) -> None:
        """Nothing: the conversation begins when its audio path opens."""

    def heard(self, text: str, *, awaited: bool) -> None:
        """Nothing: it was heard here first."""

    def pressed(self, digits: str) -> None:
        """Nothing: the audio path has told."""

    async def press(self, digits: str) -> bool:
        """Sound keys after what is being said; returns when they have, and nothing cuts them.

        Returns:
            False when it is the carrier that sends keys on this call.

        Raises:
            InvalidRequest: they are too many.
            NotConnected: nothing can be heard of us yet, or any more.
            SpeechError: eight sequences of keys are already waiting.
        """
        if self._surroundings.tones is None:
            return False
        if self._path is None or self._floor is None or self._closed:
            raise NotConnected("no keys can be heard on the call now", call_id=self.call_id)
        if self._presses >= _MAX_PRESSES:
            raise SpeechError("too many keys are waiting to be heard", retryable=True)
        tones = self._surroundings.tones(digits, self._path.audio)
        done: asyncio.Future[Playback] = asyncio.get_running_loop().create_future()
        work = self._sound(tones, self._path, self._floor, done)
        self._presses += 1
        sounding = self._start(work)
        sounding.add_done_callback(lambda _: self._sounded(done))
        if (await done).interrupted:
            raise NotConnected("the call's audio ended before its keys", call_id=self.call_id)
        return True

    async def _sound(
        self, tones: Iterable[bytes], path: AudioPath, floor: Floor, done: asyncio.Future[Playback]
    ) -> None:
        # Unlike speech they are no turn, so whatever the other side says does not cut them: that is
        # how one dials through a menu.
        async with floor:
            utterance = path.utterance()
            for tone in tones:
                await utterance.write(tone)
            utterance.finish()
            settle(done, await utterance.played())

    def _sounded(self, done: asyncio.Future[Playback]) -> None:
        self._presses -= 1
        # Also when the task was cancelled before it had begun.
        settle(done, SKIPPED)

    # --- a program with models of its own -----------------------------------------------------

    def audio(self, rate_hz: int) -> CallerAudio:
        """What the caller says from now on, or from when the call is answered."""
        return self._raw.listen(rate_hz)

    async def play(self, audio: AsyncIterable[bytes], rate_hz: int) -> Playback:
        """Play linear PCM16 after what is being said; returns when it was heard or cut short.

        Raises:
            NotConnected: nothing can be heard of us yet, or any more.
        """
        if self._floor is None or self._closed:
            raise NotConnected("nothing can be played on the call now", call_id=self.call_id)
        return await self._raw.play(audio, rate_hz, self._floor)

    def clear(self) -> None:
        """Fall silent at once: what is said or played is cut, what waits is skipped."""
        super().clear()
        self._raw.clear()

    # --- the audio path -----------------------------------------------------------------------

    def on_path_open(self, path: AudioPath) -> None:
        """The first media socket of the call has started."""
        if self._closed:
            path.close()
        elif self._floor is None:
            voice = Voice(self._equipment.tts, self._surroundings.convert)
            self._path = path
            self._raw.attach(path, None)
            if self._listener is not None and self._hold_by_program is None:
                self._attend(self._listener, path)
            new_speech = partial(PathSpeech, path, voice, clock=self._clock)
            self._open(Floor(new_speech, self._on_begin, self._on_end))

    def on_path_dtmf(self, digit: str) -> None:
        """The caller pressed a key."""
        if self._floor is None or self._closed:
            return
        awaited = self._surroundings.calls.awaits_transcript(self.call_id)
        self._report(CallDtmf, digits=digit)
        self._take_keys(digit, awaited=awaited)

    def on_path_lost(self, reason: str) -> None:
        """The socket dropped and did not come back: to the caller the call is over."""
        _log.info("audio path lost", extra={"call_id": self.call_id, "reason": reason})
        self._surroundings.end(self.call_id, CallState.HANGUP_USER)

    # --- hearing ------------------------------------------------------------------------------

    def _get_ready(self) -> None:
        """Connect the recogniser, so that no first word is lost, and make what is said first."""
        if self._listener is not None and self._hold_by_program is None:
            self._begin(self._recognise(self._listener))
        if self._opening:
            self._begin(rehearse(self._equipment.tts, self._opening))

    async def _recognise(self, listener: Listener) -> None:
        try:
            await listener.run()
        finally:
            if self._path is not None and not self._closed:
                # A program may listen on.
                self._raw.attach(self._path, None)

    def _attend(self, listener: Listener, path: AudioPath) -> None:
        """Have the caller's audio recognised."""
        heard = listener.attach(path)
        self._attention = Attention(heard, self._settings.barge_in, self._clock)
        self._raw.attach(path, heard)

    async def _begin_to_listen(self) -> None:
        """Returns when recognition works, at the latest after half a second."""
        if self._listener is None:
            return
        if self._hold_by_program is not None and self._path is not None:
            self._attend(self._listener, self._path)
            self._begin(self._recognise(self._listener))
        try:
            async with asyncio.timeout(_LISTENING_TIMEOUT_S):
                await self._listener.ready.wait()
        except TimeoutError:
            _log.info("greeting before recognition is ready", extra={"call_id": self.call_id})

    def _on_audio(self, audio: bytes) -> None:
        if self._attention is not None:
            self._attention.hear(audio)
        self._raw.hear(audio)

    def _on_speech(self, event: SttEvent) -> None:
        match event:
            case SpeechStarted():
                self._caller_started_ns = event.at_ns
                self._act(self._turns.speech_started(event.at_ns))
            case SpeechStopped():
                self._caller_stopped_ns = event.at_ns
                self._act(self._turns.speech_stopped(self._clock.now_ns()))
            case PartialTranscript():
                heard = self._callers(event.text)
                now_ns = self._clock.now_ns()
                self._act(self._turns.partial(heard.text, now_ns, doubtful=heard.doubtful))
            case FinalTranscript():
                self._on_final(event)
        self._watch_deadline()

    def _on_final(self, event: FinalTranscript) -> None:
        heard = self._callers(event.text)
        if not heard.text:
            # It was the bot's own voice; when that stopped is of no interest.
            self._caller_stopped_ns = None
            return
        on_turn = partial(self._on_turn, confidence=event.confidence)
        outputs = self._turns.final(
            heard.text,
            self._clock.now_ns(),
            bot_ends=self._bot_ends(),
            doubtful=heard.doubtful,
        )
        self._act(outputs, on_turn)

    def _callers(self, text: str) -> Words:
        """What of `text` is the caller's, and not the bot's own voice."""
        if self._attention is None:
            return Words(text)
        began_ns = self._caller_started_ns
        if began_ns is None:
            began_ns = self._clock.now_ns() - _UTTERANCE_NS
        return self._attention.words(text, began_ns)

    def _bot_ends(self) -> bool:
        """Whether what the bot is saying is almost over."""
        speech = self._said()
        return (
            speech is not None
            and (remaining_ms := speech.remaining_ms) is not None
            and remaining_ms <= _ENDING_MS
        )

    def _said(self) -> PathSpeech | None:
        """What is being said."""
        speech = None if self._floor is None else self._floor.speech
        return speech if isinstance(speech, PathSpeech) else None

    def _on_turn(self, text: str, confidence: float | None) -> None:
        timing = TurnTiming(self._caller_stopped_ns, self._clock.now_ns())
        self._caller_stopped_ns = None
        # Asked before the report, which ends the waiting.
        awaited = self._surroundings.calls.awaits_transcript(self.call_id)
        self._report(CallSpeech, text=text, confidence=confidence)
        self._take_turn(text, timing, awaited=awaited)

    def _on_begin(self, text: str, protected: bool) -> None:
        super()._on_begin(text, protected)
        if self._attention is not None:
            self._attention.attend(self._said())
        self._watch_deadline()

    def _on_end(self, speech: Speech, interrupted: bool) -> None:
        if self._attention is not None:
            self._attention.attend(None)
        super()._on_end(speech, interrupted)
        self._watch_deadline()

    # --- time ---------------------------------------------------------------------------------

    def _watch_deadline(self) -> None:
        """Ask the turn-taking again when it wants to be asked."""
        self._forget_deadline()
        at_ns = self._turns.deadline_ns
        if at_ns is not None and not self._closed:
            wait_s = max(0, at_ns - self._clock.now_ns()) / NS_PER_S
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(wait_s, self._on_deadline)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        if self._attention is not None:
            outputs = self._turns.elapsed(self._clock.now_ns(), self._attention.look())
            self._act(outputs)
            if Resume() in outputs:
                self._attention.false_alarm()
            self._watch_deadline()

    # --- end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop speaking and listening and free the audio path. May be called again.

        Returns once what was heard last has been recorded, or could not be within two seconds.
        """
        self._forget_deadline()
        await super().close()

    def _free(self) -> None:
        self._raw.close()
        if self._path is not None:
            self._path.close()

    def _let_go(self) -> None:
        super()._let_go()
        self._path = self._listener = self._attention = None
