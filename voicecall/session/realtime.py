"""The conversation of a call that is left to a model which listens and speaks by itself."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from voicecall.call.events import CallActive, CallDtmf, CallSpeaking, CallSpeech, CallSpoken
from voicecall.call.record import CallState
from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.errors import NotConnected, SpeechError
from voicecall.llm.prompt import system_prompt
from voicecall.llm.tools import ToolContext
from voicecall.ports import (
    Briefing,
    FinalTranscript,
    PartialTranscript,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolUse,
)
from voicecall.session.actions import Actions
from voicecall.session.ear import Ear
from voicecall.session.errands import Errands, ErrandSettings
from voicecall.session.exchange import Exchange
from voicecall.session.floor import SKIPPED, settle
from voicecall.session.keypad import Dialler, Keypad
from voicecall.session.overlap import Overlap
from voicecall.session.parting import Parting
from voicecall.session.rendition import Channel
from voicecall.session.replies import Replies
from voicecall.session.sayings import Sayings
from voicecall.session.timing import TurnTiming
from voicecall.session.unending import Unending
from voicecall.session.work import Work

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord
    from voicecall.dialog.history import History
    from voicecall.ports import (
        AudioPath,
        Playback,
        SpeechToSpeech,
        SpeechToSpeechEvent,
        SpeechToSpeechStream,
    )
    from voicecall.session.equipment import Equipment, Surroundings
    from voicecall.session.errands import Tools
    from voicecall.session.rendition import Rendition, Said
    from voicecall.session.replies import Output

_log = logging.getLogger("voicecall.session")

KEYS_PRESSED: Final = "[The caller pressed {} on the keypad.]"
"""What the model is told of keys."""

_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Model:
    """Whom a conversation is left to.

    Attributes:
        engine: the model; shared with other calls, so the session does not close it.
        tools: what it may use; None for nothing. Likewise shared.
        errands: how long tools may take.
        key_pause_ms: how long after a key another one belongs to it; `#` ends them at once.
        last_words: what our own voice says before it hangs up, when the model is lost.
    """

    engine: SpeechToSpeech
    tools: Tools | None = None
    errands: ErrandSettings = field(default_factory=ErrandSettings)
    key_pause_ms: int = 600
    last_words: str = "I am sorry, we have a technical problem and have to end this call. Goodbye."


@dataclass(frozen=True, slots=True)
class _Stage:
    """What there is once the call has an audio path.

    Attributes:
        path: the call's audio.
        ear: the caller's side of it.
        output: the model's.
        sayings: what the model is asked to say.
        dialler: keys of ours.
        actions: what the model does on the call.
        parting: what is said when the model is lost.
    """

    path: AudioPath
    ear: Ear
    output: Output
    sayings: Sayings
    dialler: Dialler
    actions: Actions
    parting: Parting


class RealtimeSession:
    """One call's conversation; implements `ports.Conversation` and `ports.PathEvents`.

    The model is connected as soon as the session is made, so that it is there when the call is
    answered. It hears the caller, and answers by itself: also while somebody waits for the caller's
    words, who gets them all the same. When it is lost for good, a voice of our own, if there is
    one, says so, and the call ends.

    Args:
        record: the call; read only.
        opening: what to say first; None says nothing.
        equipment: its `settings`, and as `tts` the voice that speaks when the model cannot.
        history: the memory it continues.
        surroundings: the rest of the system.
        model: whom it is left to.

    Attributes:
        call_id: our id of the call.
    """

    def __init__(
        self,
        record: CallRecord,
        opening: str | None,
        equipment: Equipment,
        history: History,
        surroundings: Surroundings,
        model: Model,
    ) -> None:
        self.call_id = record.call_id
        self._opening = opening
        self._direction = record.direction.value
        self._converses = record.metadata.get("mode", "conversation") != "notify"
        self._equipment = equipment
        self._settings = equipment.settings
        self._patience_s = self._settings.response_timeout_ms / 1000
        self._history = history
        self._surroundings = surroundings
        self._clock = surroundings.clock
        self._model = model
        self._errands = Errands(model.tools, _context(record), model.errands, self._on_filler)
        self._keypad = Keypad(model.key_pause_ms, self._on_keys)
        self._overlap = Overlap(self._settings.barge_in)
        self._exchange = Exchange(history)
        self._stream: SpeechToSpeechStream | None = None
        self._stage: _Stage | None = None
        self._staged = asyncio.Event()
        # Set when the model is there, and when it is certain that it is not.
        self._ready = asyncio.Event()
        self._greeting = False
        self._lost = False
        self._deadline: asyncio.TimerHandle | None = None
        self._closed = False
        self._work = Work(self.call_id, surroundings.calls, self._clock)
        self._work.start(self._hold())

    # --- the call's actor ---------------------------------------------------------------------

    def answered(self) -> None:
        """Nothing: the conversation begins when its audio path opens."""

    def heard(self, text: str, *, awaited: bool) -> None:
        """Nothing: it was heard here first."""

    def pressed(self, digits: str) -> None:
        """Nothing: the audio path has told."""

    async def say(self, text: str) -> Playback:
        """Have the model say `text` after what is being said; returns when it was played or cut.

        The model may choose other words. An interruption by the caller also skips texts that are
        still waiting.

        Raises:
            NotConnected: nothing can be said yet, or any more.
            SpeechError: the model did not say it, or eight texts are already waiting.
        """
        stage = self._stage
        if stage is None or self._stream is None or self._closed:
            raise NotConnected("nothing can be said on the call now", call_id=self.call_id)
        done: asyncio.Future[Playback] = asyncio.get_running_loop().create_future()
        self._work.start(stage.sayings.queue(text, done), lambda: settle(done, SKIPPED))
        return await done

    async def press(self, digits: str) -> bool:
        """Sound keys after what is being said; returns when they have, and nothing cuts them.

        Returns:
            False when it is the carrier that sends keys on this call.

        Raises:
            InvalidRequest: they are too many.
            NotConnected: nothing can be heard of us yet, or any more.
            SpeechError: eight sequences of keys are already waiting.
        """
        stage, tones = self._stage, self._surroundings.tones
        if tones is None:
            return False
        if stage is None or self._closed:
            raise NotConnected("no keys can be heard on the call now", call_id=self.call_id)
        await stage.dialler.press(tones(digits, stage.path.audio))
        return True

    async def close(self) -> None:
        """Stop speaking and listening and free everything. May be called again.

        Returns once what was heard last has been recorded, or could not be within two seconds.
        """
        if self._closed:
            return
        self._closed = True
        self._keypad.close()
        stage = self._stage
        if stage is not None:
            stage.output.interrupt()
            stage.parting.cut()
            stage.actions.close()
        self._forget_deadline()
        await self._work.stop()
        if stage is not None:
            stage.ear.stop()
            stage.path.close()
        self._surroundings.on_closed(self.call_id)
        await self._work.finish()
        # What refers back here, so that an ended call is freed at once.
        self._stage = self._stream = None
        del self._errands, self._keypad

    # --- the audio path -----------------------------------------------------------------------

    def on_path_open(self, path: AudioPath) -> None:
        """The first media socket of the call has started."""
        if self._closed:
            path.close()
        elif self._stage is None:
            self._work.report(CallActive)
            stage = self._stage = self._staged_on(path)
            self._staged.set()
            self._work.start(stage.output.run())
            self._work.start(self._begin(stage))

    def on_path_dtmf(self, digit: str) -> None:
        """The caller pressed a key."""
        if self._stage is None or self._closed:
            return
        # Asked before the report, which ends the waiting.
        awaited = self._surroundings.calls.awaits_transcript(self.call_id)
        self._work.report(CallDtmf, digits=digit)
        if not self._converses:
            return
        if self._settings.barge_in.enabled and not self._greeting:
            self._interrupt(self._stage)
        if not awaited:
            self._keypad.pressed(digit)

    def on_path_lost(self, reason: str) -> None:
        """The socket dropped and did not come back: to the caller the call is over."""
        _log.info("audio path lost", extra={"call_id": self.call_id, "reason": reason})
        self._surroundings.end(self.call_id, CallState.HANGUP_USER)

    def _on_keys(self, digits: str) -> None:
        if self._stream is not None:
            self._exchange.caller_ended(TurnTiming(final_ns=self._clock.now_ns()))
            self._stream.prompt(KEYS_PRESSED.format(digits))

    # --- the course of the call ---------------------------------------------------------------

    def _staged_on(self, path: AudioPath) -> _Stage:
        engine, surroundings = self._model.engine, self._surroundings
        channel = Channel(path, engine.audio, surroundings.convert, self._clock)
        output: Output
        if engine.takes_turns:
            output = Replies(
                channel,
                plan=self._plan,
                on_begin=self._on_begin,
                on_end=self._on_end,
                cancel=self._cancel,
                patience_s=self._patience_s,
            )
        else:
            output = Unending(channel, on_begin=self._on_words, on_end=self._on_end)
        return _Stage(
            path,
            Ear(path, engine.audio, surroundings.convert),
            output,
            Sayings(output, self._utter, self._patience_s),
            Dialler(path, output, self._work),
            Actions(output, self._work, surroundings),
            Parting(self._equipment.tts, path, self._history, self._work, surroundings),
        )

    async def _hold(self) -> None:
        """Stay connected with the model; when that fails for good, the call ends."""
        try:
            await self._converse()
        except Exception as error:  # noqa: BLE001  (a task's boundary: engines are anybody's code)
            self._work.failed("the model was lost", error)
            # Engines may keep what they raise, and with it all that was at work.
            traceback.clear_frames(error.__traceback__)
        finally:
            self._stream = None
            self._ready.set()
        # While it rings there is nobody to be told.
        await self._staged.wait()
        if self._stage is not None:
            await self._part(self._stage)

    async def _converse(self) -> None:
        """Never returns; raises when the model is lost."""
        tools = self._errands.specs()
        instructions = system_prompt(
            self._settings.instructions,
            direction=self._direction,
            tools=[tool.name for tool in tools],
        )
        briefing = Briefing(instructions, history=self._history.turns, tools=tools)
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            stream = await self._model.engine.open(briefing)
        try:
            self._stream = stream
            self._ready.set()
            async for event in stream:
                self._on_event(event, stream)
        finally:
            await _close(stream)
        raise SpeechError("the model ended the conversation")

    async def _begin(self, stage: _Stage) -> None:
        """What the call begins with, once the model is there."""
        await self._ready.wait()
        stream = self._stream
        if stream is None:
            return
        if self._converses:
            stage.ear.listen(stream.push)
            await self._greet(stage)
        elif await self._greet(stage):
            # A message is heard to its end, and nobody is listened to; let it sink in.
            await self._linger()
            await stage.actions.hang_up()
        else:
            await self._part(stage)

    async def _greet(self, stage: _Stage) -> bool:
        """Say the opening; False when it could not be said."""
        if not self._opening:
            return True
        self._greeting = True
        try:
            await stage.sayings.say(self._opening)
        except SpeechError as error:
            # That the model was lost is told already.
            if not self._lost:
                self._work.failed("the opening could not be said", error)
            return False
        finally:
            self._greeting = False
        return True

    async def _linger(self) -> None:
        await asyncio.sleep(self._settings.notify_hangup_delay_ms / 1000)

    async def _part(self, stage: _Stage) -> None:
        """The model is lost: say what there is still to say, and hang up."""
        if self._lost or self._closed:
            return
        self._lost = True
        stage.ear.stop()
        stage.sayings.fail("the model was lost")
        self._overlap.bot_finished()
        stage.output.finish()
        # What the model had said is heard to its end.
        await stage.output.silent()
        message = None if self._converses else self._opening
        async with stage.output.hush():
            said = await stage.parting.say(message or self._model.last_words)
        if said and message:
            await self._linger()
            await stage.actions.hang_up()
        else:
            await stage.actions.hang_up(CallState.ERROR)

    # --- hearing ------------------------------------------------------------------------------

    def _on_event(self, event: SpeechToSpeechEvent, stream: SpeechToSpeechStream) -> None:
        match event:
            case ToolCall():
                self._work.start(self._use(event, answered=self._exchange.answered))
            case SpeechStarted():
                self._exchange.caller_began(event.at_ns)
                self._overlap.speech_started(event.at_ns)
                self._watch()
            case SpeechStopped():
                self._exchange.caller_ended(TurnTiming(caller_stopped_ns=event.at_ns))
                self._overlap.speech_stopped()
                self._watch()
            case _ if self._stage is not None:
                self._on_words_or_sound(event, self._stage, stream)

    def _on_words_or_sound(
        self, event: SpeechToSpeechEvent, stage: _Stage, stream: SpeechToSpeechStream
    ) -> None:
        match event:
            case ReplyAudio() | ReplyText():
                self._exchange.answered = True
                stage.output.add(event)
            case ReplyDone():
                self._on_done(event, stage, stream)
            case PartialTranscript():
                stage.output.caller_spoke()
            case FinalTranscript():
                self._on_final(event, stage)

    def _on_final(self, event: FinalTranscript, stage: _Stage) -> None:
        text = event.text.strip()
        if text:
            stage.output.caller_spoke()
            self._exchange.transcribed(text, self._clock.now_ns())
            self._work.report(CallSpeech, text=text, confidence=event.confidence)

    def _on_done(self, event: ReplyDone, stage: _Stage, stream: SpeechToSpeechStream) -> None:
        if event.failure is not None:
            extra = {"call_id": self.call_id, "reason": event.failure}
            _log.warning("the model could not make a reply", extra=extra)
        if stage.output.done(event) or event.failure is None:
            return
        # Nothing of it came, so nobody knows what it was to be.
        if stage.sayings.expected:
            stage.sayings.fail(f"the model could not say it: {event.failure}")
        elif not self._exchange.apologised:
            self._exchange.apologised = True
            stream.say(self._settings.apology)

    def _interrupt(self, stage: _Stage) -> None:
        """The caller takes the floor: nothing that was going to be said is said."""
        if not self._model.engine.takes_turns or not stage.output.speaking:
            return
        noticed_ns = self._clock.now_ns()
        stage.sayings.interrupt()
        stage.actions.interrupted()
        stage.output.interrupt()
        self._surroundings.on_cleared((self._clock.now_ns() - noticed_ns) / NS_PER_MS)

    def _watch(self) -> None:
        """Decide whether the caller interrupts, now and whenever it has to be decided again."""
        self._forget_deadline()
        stage, at_ns = self._stage, self._overlap.deadline_ns
        if stage is None or at_ns is None or self._closed:
            return
        now_ns = self._clock.now_ns()
        if at_ns <= now_ns:
            if self._overlap.interrupts(now_ns, stage.ear.level_dbfs()):
                self._interrupt(stage)
                return
            # The caller is too soft to be sure; so look again.
            at_ns = self._overlap.deadline_ns or now_ns
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later((at_ns - now_ns) / NS_PER_S, self._watch)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # --- speaking -----------------------------------------------------------------------------

    def _plan(self) -> tuple[TurnTiming, bool]:
        """The next reply answers what the caller said last, if nothing has."""
        return self._exchange.take_timing(), self._greeting

    def _utter(self, text: str) -> None:
        if self._stream is None:
            raise SpeechError("the model is not there")
        self._stream.say(text)

    def _cancel(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    def _on_begin(self, rendition: Rendition) -> None:
        now_ns = self._clock.now_ns()
        self._overlap.bot_started(now_ns, protected=rendition.protected)
        self._exchange.bot_began(now_ns)
        self._work.report(CallSpeaking, text=rendition.text)
        self._watch()

    def _on_words(self, text: str) -> None:
        self._exchange.bot_began(self._clock.now_ns())
        self._work.report(CallSpeaking, text=text)

    def _on_end(self, said: Said) -> None:
        self._overlap.bot_finished()
        if said.cut and self._stream is not None:
            self._stream.heard(said.reply_id, said.playback.heard_ms)
        if self._stage is not None:
            self._stage.sayings.said(said)
        self._exchange.bot_ended(said.heard if said.began else "")
        if not said.began:
            return
        self._work.report(
            CallSpoken,
            text=said.text,
            heard=said.heard,
            interrupted=said.playback.interrupted,
            timing=said.timing.to_json(),
        )
        if said.timing.caller_stopped_ns is not None or said.timing.final_ns is not None:
            self._surroundings.on_turn(said.timing)

    # --- tools --------------------------------------------------------------------------------

    async def _use(self, call: ToolCall, *, answered: bool) -> None:
        """Use a tool, and tell the model what came of it.

        Args:
            call: what the model wants.
            answered: whether it has said anything since the caller spoke.
        """
        output, action = await self._errands.run(call)
        self._history.add_tool(ToolUse(call.name, call.arguments, output))
        answer = partial(self._answer, call.id)
        if action is None or self._stage is None:
            answer(output)
        else:
            await self._stage.actions.perform(action, output, answer, answered=answered)

    def _answer(self, tool_call_id: str, output: str) -> None:
        if self._stream is not None:
            self._stream.tool_result(tool_call_id, output)

    def _on_filler(self, text: str) -> None:
        """A tool takes long; if nothing is being said, the caller is told to wait."""
        if self._stream is not None and self._stage is not None and not self._stage.output.speaking:
            self._stream.say(text)


def _context(record: CallRecord) -> ToolContext:
    return ToolContext(record.call_id, record.direction.value, record.from_number, record.to_number)


async def _close(stream: SpeechToSpeechStream) -> None:
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await stream.close()
    except TimeoutError:
        _log.warning("the model's stream does not close")
