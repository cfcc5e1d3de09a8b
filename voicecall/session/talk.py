"""One call's conversation, whatever carries its sound: it takes turns, answers, tells the call."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from voicecall.call.events import CallActive, CallErrored, CallSpeaking, CallSpoken
from voicecall.call.record import CallState, Direction, Speaker
from voicecall.clock import NS_PER_MS
from voicecall.dialog.turns import Hold, Interrupt, Resume, Turns, UserTurn
from voicecall.errors import NotConnected, RemoteError, SpeechError, VoicecallError
from voicecall.ports import HangUp, PressKeys, ReplyRequest, Transfer
from voicecall.session import wreckage
from voicecall.session.floor import SKIPPED, settle
from voicecall.session.reply import Reply
from voicecall.session.reports import Reports
from voicecall.session.timing import TurnTiming

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from voicecall.call.events import CallEvent
    from voicecall.call.record import CallRecord
    from voicecall.dialog.history import History
    from voicecall.dialog.turns import TurnOutput
    from voicecall.ports import Playback, Responder
    from voicecall.session.equipment import Equipment, Surroundings
    from voicecall.session.floor import Floor, Speech
    from voicecall.session.reply import Action

_log = logging.getLogger("voicecall.session")

_MAX_DIGITS = 32
_MAX_TIMINGS = 200
_FLUSH_TIMEOUT_S = 2.0
_CLOSE_TIMEOUT_S = 3.0


class Talk:
    """What all conversations have in common.

    One that can speak calls `_open`, and hands on what it hears. All its work happens in tasks of
    one group, which `close` ends.

    Args:
        record: the call; read only.
        opening: what to say first; None says nothing.
        equipment: what the call is held with.
        history: the memory it continues.
        surroundings: the rest of the system.

    Attributes:
        call_id: our id of the call.
        timings: of the newest answered turns, the oldest first.
    """

    def __init__(
        self,
        record: CallRecord,
        opening: str | None,
        equipment: Equipment,
        history: History,
        surroundings: Surroundings,
    ) -> None:
        self.call_id = record.call_id
        self.timings: deque[TurnTiming] = deque(maxlen=_MAX_TIMINGS)
        self._facts = {
            "direction": record.direction.value,
            "from": record.from_number,
            "to": record.to_number,
        }
        self._converses = record.metadata.get("mode", "conversation") != "notify"
        self._hold_by_program = surroundings.hold if self._converses else None
        if self._hold_by_program is not None and record.direction is Direction.INBOUND:
            # What a caller is greeted with is the program's business, too.
            opening = None
        self._opening = opening
        self._equipment = equipment
        self._settings = equipment.settings
        self._history = history
        self._surroundings = surroundings
        self._clock = surroundings.clock
        self._turns = Turns(self._settings.barge_in)
        self._reports = Reports(surroundings.calls)
        self._floor: Floor | None = None
        self._opened: asyncio.Future[Floor] = asyncio.get_running_loop().create_future()
        # The newest reply asked for; an older one that has not begun is no longer wanted.
        self._reply_number = 0
        self._answer: Speech | None = None
        self._unremembered: list[str] = []
        self._digits = ""
        self._closed = False
        self._listens = False
        self._group = asyncio.TaskGroup()
        self._main = asyncio.create_task(self._run(), name=f"session {self.call_id}")

    # --- the call's actor ---------------------------------------------------------------------

    async def say(self, text: str) -> Playback:
        """Say `text` after what is being said; returns when it was played or cut short.

        An interruption by the caller also skips texts that are still waiting.

        Raises:
            NotConnected: nothing can be said yet.
            SpeechError: it could not be synthesized, or eight texts are already waiting.
            CarrierError: the carrier, which was to say it, could not.
        """
        if self._floor is None or self._closed:
            raise NotConnected("nothing can be said on the call now", call_id=self.call_id)
        done: asyncio.Future[Playback] = asyncio.get_running_loop().create_future()
        saying = self._start(self._floor.queue(text, done))
        # Also when the task was cancelled before it had begun.
        saying.add_done_callback(lambda _: settle(done, SKIPPED))
        return await done

    async def press(self, digits: str) -> bool:
        """False: without a path of its own for sound, it is the carrier that sends keys."""
        del digits
        return False

    async def listen(self) -> None:
        """Have the caller understood from now on, if that is not so yet.

        Conversations that a program holds begin to listen when it first asks something.
        """
        if self._hold_by_program is not None and not self._listens and not self._closed:
            self._listens = True
            await self._begin_to_listen()

    def clear(self) -> None:
        """Fall silent at once: what is said is cut, what waits is skipped."""
        if self._floor is not None and not self._closed:
            self._interrupt()

    async def hang_up(self, reason: CallState) -> None:
        """Hang up once what was said last is recorded, or after two seconds."""
        if not self._closed:
            await self._hang_up(reason)

    async def close(self) -> None:
        """Stop speaking and listening and free everything. May be called again.

        Returns once what was heard last has been recorded, or could not be within two seconds.
        """
        if self._closed:
            return
        self._closed = True
        if self._floor is not None:
            self._floor.cut()
        self._main.cancel()
        _, pending = await asyncio.wait({self._main}, timeout=_CLOSE_TIMEOUT_S)
        if pending:
            _log.error("a conversation does not end", extra={"call_id": self.call_id})
        self._free()
        self._surroundings.on_closed(self.call_id)
        await self._reports.finish(_FLUSH_TIMEOUT_S)
        if not pending:
            self._let_go()

    def _free(self) -> None:
        """Give up what the conversation was held over."""

    def _let_go(self) -> None:
        """Drop what refers back here, so that an ended call is freed at once."""
        wreckage.clear(self._main)
        self._floor = self._answer = None
        del self._main, self._group, self._opened

    # --- the course of the call ---------------------------------------------------------------

    def _open(self, floor: Floor) -> None:
        """From now on the conversation can speak; to be called once."""
        self._floor = floor
        self._opened.set_result(floor)

    async def _run(self) -> None:
        async with self._group:
            self._begin(self._reports.run())
            self._get_ready()
            floor = await self._opened
            self._report(CallActive)
            await self._guarded(self._converse(floor) if self._converses else self._notify(floor))
            # The group ends when the session is closed, not when there is nothing to do.
            await asyncio.get_running_loop().create_future()

    async def _notify(self, floor: Floor) -> None:
        """Say the message, let it sink in, hang up."""
        reason = CallState.HANGUP_BOT
        try:
            async with floor:
                await self._say_opening(floor)
        except RemoteError as error:
            _log.exception("the message could not be said", extra={"call_id": self.call_id})
            self._report(CallErrored, message=str(error), retryable=True)
            reason = CallState.ERROR
        else:
            await asyncio.sleep(self._settings.notify_hangup_delay_ms / 1000)
        await self._hang_up(reason)

    async def _converse(self, floor: Floor) -> None:
        hold = self._hold_by_program
        try:
            async with floor:
                if hold is None:
                    await self._begin_to_listen()
                await self._say_opening(floor)
        except RemoteError as error:
            # The conversation goes on: they may say something, and a program may have other means.
            self._failed("what is said first could not be said", error)
        if hold is not None:
            hold(self.call_id)

    def _get_ready(self) -> None:
        """Begin what takes its time while it still rings."""

    async def _begin_to_listen(self) -> None:
        """Returns when the caller can be understood, or soon."""

    async def _say_opening(self, floor: Floor) -> None:
        if self._opening:
            await floor.say(self._opening, protected=True)

    async def _hang_up(self, reason: CallState = CallState.HANGUP_BOT) -> None:
        await self._reports.flushed(_FLUSH_TIMEOUT_S)
        self._surroundings.end(self.call_id, reason)

    # --- hearing ------------------------------------------------------------------------------

    def _act(
        self,
        outputs: Sequence[TurnOutput],
        on_turn: Callable[[str], None] = lambda _: None,
    ) -> None:
        for output in outputs:
            match output:
                case Hold():
                    self._hold()
                case Resume():
                    self._resume()
                case Interrupt():
                    self._interrupt()
                case UserTurn():
                    on_turn(output.text)

    def _take_turn(self, text: str, timing: TurnTiming, *, awaited: bool) -> None:
        """The caller has said something that is recorded, and that somebody may have awaited."""
        self._unremembered.append(text)
        # What the bot is saying was there first; it is remembered when it ends.
        if self._floor is None or not self._floor.audible:
            self._remember_caller()
        if not awaited:
            self._start_reply(timing)

    def _take_keys(self, digits: str, *, awaited: bool) -> None:
        """The caller has pressed keys, which is recorded."""
        if not self._converses:
            return
        self._digits = (self._digits + digits)[-_MAX_DIGITS:]
        self._act(self._turns.key_pressed())
        if not awaited:
            self._start_reply(TurnTiming(final_ns=self._clock.now_ns()))

    def _remember_caller(self) -> None:
        for text in self._unremembered:
            self._history.add(Speaker.USER, text)
        self._unremembered.clear()

    def _hold(self) -> None:
        """The caller may be taking the floor: fall silent, and keep what was going to be said."""
        if self._floor is not None:
            self._timed(self._floor.hold)

    def _resume(self) -> None:
        """The caller did not mean to take the floor."""
        if self._floor is not None:
            self._floor.resume()

    def _interrupt(self) -> None:
        """The caller takes the floor: nothing that was going to be said is said."""
        self._reply_number += 1
        if self._floor is not None:
            self._timed(self._floor.interrupt)

    def _timed(self, fall_silent: Callable[[], None]) -> None:
        noticed_ns = self._clock.now_ns()
        fall_silent()
        self._surroundings.on_cleared((self._clock.now_ns() - noticed_ns) / NS_PER_MS)

    # --- answering ----------------------------------------------------------------------------

    def _start_reply(self, timing: TurnTiming) -> None:
        """Answer what the caller said last, instead of anything they said before."""
        responder, floor = self._equipment.responder, self._floor
        held = self._hold_by_program is not None
        if responder is None or floor is None or held or not self._converses:
            return
        self._reply_number += 1
        if self._answer is not None and not self._answer.began:
            self._answer.stop()
        self._begin(self._reply(responder, floor, self._reply_number, timing))

    async def _reply(
        self, responder: Responder, floor: Floor, number: int, timing: TurnTiming
    ) -> None:
        async with floor:
            if number != self._reply_number:
                return
            digits = self._digits
            timeout_s = self._settings.response_timeout_ms / 1000
            parts = responder.reply(self._request(digits))
        reply = Reply(parts, timeout_s, self._clock, timing, self._history.add_tool)
        async with reply:
            while not reply.over:
                async with floor:
                    if not await self._say_stretch(floor, reply, number, timing):
                        return
                    self._digits = self._digits.removeprefix(digits)
                # What follows an action is no answer that the caller has waited for.
                digits, timing = "", TurnTiming()
                # Keys that we sound ourselves take the floor.
                if isinstance(reply.action, PressKeys):
                    await self._press_keys(reply.action)
        await self._conclude(reply.action)

    async def _say_stretch(
        self, floor: Floor, reply: Reply, number: int, timing: TurnTiming
    ) -> bool:
        """Say the reply up to its next action; False when it is no longer wanted."""
        if number != self._reply_number:
            return False
        self._answer = floor.new_speech(timing)
        try:
            playback = await floor.perform(self._answer, reply.texts())
        except SpeechError as error:
            self._failed("a reply could not be said", error)
            if number == self._reply_number:
                await floor.say(self._settings.apology)
            return False
        finally:
            self._answer = None
        if playback.interrupted or number != self._reply_number:
            return False
        if reply.failed:
            await floor.say(self._settings.apology)
        return True

    def _request(self, digits: str) -> ReplyRequest:
        return ReplyRequest(
            self.call_id,
            self._history.turns,
            digits,
            instructions=self._settings.instructions,
            call=self._facts,
        )

    async def _press_keys(self, action: PressKeys) -> None:
        """Send keys for the responder; that it cannot be done is told to whoever watches."""
        try:
            await self._surroundings.calls.send_dtmf(self.call_id, action.digits)
        except VoicecallError as error:
            self._failed("keys could not be sent", error)

    async def _conclude(self, action: Action | None) -> None:
        """Do what the reply ends with."""
        if isinstance(action, HangUp):
            await self._hang_up()
        elif isinstance(action, Transfer):
            # What was said last is recorded before the call is over.
            await self._reports.flushed(_FLUSH_TIMEOUT_S)
            self._surroundings.transfer(self.call_id, action.to, self._on_transfer_failed)

    def _on_transfer_failed(self, error: VoicecallError) -> None:
        self._failed("the call could not be handed on", error)
        if self._floor is not None and not self._closed:
            self._begin(self._apologise(self._floor, self._settings.transfer_apology))

    async def _apologise(self, floor: Floor, text: str) -> None:
        async with floor:
            await floor.say(text)

    def _failed(self, message: str, error: VoicecallError) -> None:
        _log.warning(message, exc_info=error, extra={"call_id": self.call_id})
        self._report(CallErrored, message=str(error), retryable=True)

    # --- speaking -----------------------------------------------------------------------------

    def _on_begin(self, text: str, protected: bool) -> None:
        self._turns.bot_started(self._clock.now_ns(), protected=protected)
        self._report(CallSpeaking, text=text)

    def _on_end(self, speech: Speech, interrupted: bool) -> None:
        if speech.began:
            self._turns.bot_finished()
            heard = speech.heard() if interrupted else speech.played_text
            self._history.add(Speaker.BOT, heard)
            self._report(
                CallSpoken,
                text=speech.text,
                heard=heard,
                interrupted=interrupted,
                timing=speech.timing.to_json(),
            )
            if speech.timing.final_ns is not None:
                self.timings.append(speech.timing)
                self._surroundings.on_turn(speech.timing)
        self._remember_caller()

    # --- tasks and reports --------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        _ = self._start(work)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(self._guarded(work))
        # One that is cancelled before its first step never comes to await it.
        task.add_done_callback(lambda _: work.close())
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """A task's boundary: one part that fails must not end the conversation."""
        try:
            await work
        except RemoteError as error:
            self._failed("speech failed", error)
        except Exception:  # noqa: BLE001  (a task's boundary)
            _log.exception("a conversation task failed", extra={"call_id": self.call_id})

    def _report(self, kind: Callable[..., CallEvent], **details: object) -> None:
        event_id = uuid4().hex
        self._reports.add(
            kind(
                id=event_id,
                dedupe_key=f"session:{event_id}",
                timestamp=self._clock.wall_ms(),
                call_id=self.call_id,
                **details,
            )
        )
