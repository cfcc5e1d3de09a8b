"""One real call, followed from its dial to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from voicecall.call.record import CallState
from voicecall.errors import VoicecallError

if TYPE_CHECKING:
    from voicecall.call.record import Mode

MESSAGE: Final = "Hello. This is a test call by voicecall. It works. Goodbye."
"""What is said when nothing else is asked for."""

_HANG_UP_S: Final = 5.0
_FINE: Final = frozenset({CallState.COMPLETED, CallState.HANGUP_BOT, CallState.HANGUP_USER})

Tell = Callable[[str, Mapping[str, Any]], None]


class Caller(Protocol):
    """Places calls and tells of them; `voicecall.Client` is one."""

    async def initiate(self, message: str, to: str | None = None, mode: Mode | None = None) -> str:
        """Place a call; its id."""
        ...

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[Mapping[str, Any]]]:
        """Changes of all calls from now on."""
        ...

    async def status(self, call_id: str, /) -> Mapping[str, Any] | None:
        """The call's record."""
        ...

    async def end(self, call_id: str, /) -> object:
        """Hang up."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """The call that is wanted.

    Attributes:
        to: whom to call, E.164.
        message: what to say.
        deadline_s: when the call is hung up from here, however it stands.
    """

    to: str
    message: str
    deadline_s: float


@dataclass(slots=True)
class Outcome:
    """What came of the call. Times are milliseconds since the epoch, None for what did not happen.

    Attributes:
        dialled_at: it was asked for.
        call_id: ours, once the carrier has taken it.
        rang_at, answered_at, ended_at: as the carrier reports.
        speaking_at, spoken_at: when our words began, and when they were over.
        heard: what was played of the message.
        end_reason: the call's last state.
        error: what went wrong.
    """

    dialled_at: int
    call_id: str | None = None
    rang_at: int | None = None
    answered_at: int | None = None
    speaking_at: int | None = None
    spoken_at: int | None = None
    ended_at: int | None = None
    heard: list[str] = field(default_factory=list)
    end_reason: str | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it was answered, heard something, and ended as calls do."""
        ended_well = self.end_reason in _FINE
        return self.answered_at is not None and bool(self.heard) and ended_well and not self.error

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON; without phone numbers."""
        return {
            "ok": self.ok,
            "callId": self.call_id,
            "rang": self.rang_at is not None or self.answered_at is not None,
            "answered": self.answered_at is not None,
            "played": bool(self.heard),
            "heard": " ".join(self.heard),
            "hungUp": self.ended_at is not None,
            "endReason": self.end_reason,
            "error": self.error,
            "latencyMs": {
                "dialToRing": _between(self.dialled_at, self.rang_at),
                "dialToAnswer": _between(self.dialled_at, self.answered_at),
                "answerToSpeech": _between(self.answered_at, self.speaking_at),
                "speech": _between(self.speaking_at, self.spoken_at),
                "endOfSpeechToHangUp": _between(self.spoken_at, self.ended_at),
                "call": _between(self.answered_at, self.ended_at),
            },
        }

    def note(self, change: Mapping[str, Any]) -> None:
        """Take in a change of the call."""
        at = change["timestamp"]
        match change["type"]:
            case "call.ringing":
                self.rang_at = self.rang_at or at
            case "call.answered":
                self.answered_at = self.answered_at or at
            case "call.speaking":
                self.speaking_at = self.speaking_at or at
            case "call.spoken":
                self.spoken_at = at
                self.heard += [change["heard"]] if change["heard"] else []
            case "call.error":
                self.error = str(change["message"])
            case "call.ended":
                self.ended_at, self.end_reason = at, change["reason"]

    def settle(self, record: Mapping[str, Any]) -> None:
        """Take in the record of the call: what was missed of its changes."""
        self.answered_at = self.answered_at or record["answeredAt"]
        self.ended_at = self.ended_at or record["endedAt"]
        self.end_reason = self.end_reason or record["endReason"]
        self.heard = [each["text"] for each in record["transcript"] if each["speaker"] == "bot"]


async def call(
    caller: Caller,
    order: Order,
    now_ms: Callable[[], int],
    tell: Tell = lambda _, __: None,
) -> Outcome:
    """Place one call, once, and follow it to its end.

    Whoever stops waiting hangs up.

    Args:
        caller: places it.
        order: the call.
        now_ms: the time, milliseconds since the epoch.
        tell: told the type of each change of the call, and the change.

    Raises:
        VoicecallError: there is no server, before anything was dialled.
    """
    async with caller.events() as changes:
        outcome = Outcome(now_ms())
        try:
            outcome.call_id = await _dial(caller, order)
        except VoicecallError as error:
            outcome.error = str(error)
            return outcome
        try:
            async with asyncio.timeout(order.deadline_s):
                await _follow(changes, caller, outcome, tell)
        except TimeoutError:
            outcome.error = f"it was not over after {order.deadline_s:.0f} s and was hung up"
        except VoicecallError as error:
            outcome.error = f"it was lost sight of: {error}"
        finally:
            if outcome.ended_at is None:
                await _hang_up(caller, outcome.call_id)
    record = await caller.status(outcome.call_id)
    if record is not None:
        outcome.settle(record)
    return outcome


async def _dial(caller: Caller, order: Order) -> str:
    """Place the call; its id. Whoever stops waiting hangs up, once it is known what.

    Nothing is ever repeated: an answer that is lost may belong to a phone that rings.
    """
    dialling = asyncio.create_task(_initiate(caller, order), name="dial")
    try:
        return await asyncio.shield(dialling)
    except asyncio.CancelledError:
        with contextlib.suppress(VoicecallError, TimeoutError):
            await _hang_up(caller, await asyncio.wait_for(dialling, _HANG_UP_S))
        raise


async def _initiate(caller: Caller, order: Order) -> str:
    return await caller.initiate(order.message, to=order.to, mode="notify")


async def _follow(
    changes: AsyncIterator[Mapping[str, Any]], caller: Caller, outcome: Outcome, tell: Tell
) -> None:
    async for change in changes:
        if change["type"] == "gap":
            record = await caller.status(outcome.call_id or "")
            if record is not None and record["endedAt"] is not None:
                outcome.settle(record)
                return
        elif change.get("callId") == outcome.call_id:
            outcome.note(change)
            tell(change["type"], change)
            if outcome.ended_at is not None:
                return


async def _hang_up(caller: Caller, call_id: str) -> None:
    """End the call, even while this is being cancelled; a server that is gone cannot be told."""
    with contextlib.suppress(VoicecallError, TimeoutError):
        await asyncio.shield(asyncio.wait_for(caller.end(call_id), _HANG_UP_S))


def _between(begin_ms: int | None, end_ms: int | None) -> int | None:
    return None if begin_ms is None or end_ms is None else end_ms - begin_ms
