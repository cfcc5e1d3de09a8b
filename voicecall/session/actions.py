"""What a model that speaks by itself does on the call: hang up, press keys, hand it on."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from voicecall.call.record import CallState
from voicecall.errors import VoicecallError
from voicecall.ports import HangUp, PressKeys, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.session.equipment import Surroundings
    from voicecall.session.replies import Output
    from voicecall.session.reply import Action
    from voicecall.session.work import Work

_log = logging.getLogger("voicecall.session")

_FAREWELL_TIMEOUT_S = 3.0
_INTERRUPTED = "Not done: the caller spoke in between."
_NO_KEYS = "Not done: the keys could not be sent."
_NO_TRANSFER = "Not done: the call could not be handed on. Tell the caller so."


class Actions:
    """Does things on one call, each after everything that was said before it has been heard.

    A caller who interrupts that is not hung up on: then nothing is done.

    Args:
        output: what the model says.
        work: the conversation's.
        surroundings: the rest of the system.
    """

    def __init__(self, output: Output, work: Work, surroundings: Surroundings) -> None:
        self._output = output
        self._work = work
        self._surroundings = surroundings
        self._interruptions = 0
        self._closed = False

    def interrupted(self) -> None:
        """The caller has interrupted what was being said."""
        self._interruptions += 1

    def close(self) -> None:
        """What still comes of what was begun changes nothing any more."""
        self._closed = True

    async def hang_up(self, reason: CallState = CallState.HANGUP_BOT) -> None:
        """End the call, once what was said last is recorded."""
        await self._work.flushed()
        self._surroundings.end(self._work.call_id, reason)

    async def perform(
        self, action: Action, output: str, answer: Callable[[str], None], *, answered: bool
    ) -> None:
        """Do what a tool asks for.

        Args:
            action: what.
            output: what the tool has for the model.
            answer: tells the model what came of it; not called when the call ends with it.
            answered: whether the model has said anything since the caller spoke.
        """
        interruptions = self._interruptions
        if isinstance(action, HangUp) and not answered:
            # It hangs up without a word, so it is given the chance of one.
            answer(output)
            answer = _nobody
            await self._begun()
        await self._output.silent()
        if interruptions != self._interruptions:
            answer(_INTERRUPTED)
            return
        match action:
            case HangUp():
                await self.hang_up()
            case PressKeys():
                answer(await self._press(action, output))
            case Transfer():
                await self._work.flushed()
                on_failure = partial(self._not_transferred, answer)
                self._surroundings.transfer(self._work.call_id, action.to, on_failure)

    async def _begun(self) -> None:
        """Wait, not for long, until the model says something."""
        try:
            async with asyncio.timeout(_FAREWELL_TIMEOUT_S):
                await self._output.begun()
        except TimeoutError:
            _log.info("the model says no goodbye", extra={"call_id": self._work.call_id})

    async def _press(self, action: PressKeys, output: str) -> str:
        try:
            await self._surroundings.calls.send_dtmf(self._work.call_id, action.digits)
        except VoicecallError as error:
            self._work.failed("keys could not be sent", error)
            return _NO_KEYS
        return output

    def _not_transferred(self, answer: Callable[[str], None], error: VoicecallError) -> None:
        if not self._closed:
            self._work.failed("the call could not be handed on", error)
            answer(_NO_TRANSFER)


def _nobody(output: str) -> None:
    """The model has its answer already."""
    del output
