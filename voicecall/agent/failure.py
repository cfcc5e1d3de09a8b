"""What went wrong, in words that tell a model what to do about it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from voicecall.control.errors import fault_of
from voicecall.errors import CallHasEnded, ConfigError, VoicecallError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.agent.control import CallControl

_log = logging.getLogger("voicecall.agent")

_HINTS: Final[Mapping[str, str]] = {
    "invalid_request": "Correct the arguments and try again.",
    "unknown_call": "Use the callId that initiate_call returned; get_status without a callId "
    "lists the calls that have not ended.",
    "not_connected": "Nobody has answered, or nothing can be heard yet. Look at get_status.",
    "call_ended": "Nothing more can be said on it; get_status has its transcript. Call again only "
    "if that is wanted.",
    "turn_pending": "An earlier continue_call still waits for the answer. Wait for that one.",
    "transcript_timeout": "The other person said nothing, but the call goes on. Ask once more in "
    "simple words, or say goodbye and use end_call.",
    "capacity_reached": "Too many calls are going on. Try again in some minutes.",
    "carrier_refused": "Trying the same again will not help. Tell your user what the carrier says.",
    "carrier_unreachable": "It is not known whether it was done. Look at get_status before "
    "anything is repeated.",
    "speech_failed": "It was not said. It may work when tried once more.",
}


def failure(error: VoicecallError, call_id: str | None = None) -> dict[str, Any]:
    """The result that tells of an error.

    Args:
        error: what was raised.
        call_id: the call that was meant, used where the error names none.

    Returns:
        `{"error": {...}}` with `code`, stable, and `message`; `callId`, `status`, `retryable` and
        `hint` where they are known.
    """
    fault = fault_of(error, call_id)
    told = {"code": fault.data["code"], "message": fault.message, **fault.data}
    if isinstance(error, ConfigError):
        told["code"] = "not_configured"
    if hint := _HINTS.get(told["code"]):
        told["hint"] = hint
    return {"error": {name: value for name, value in told.items() if value is not None}}


def unexpected() -> dict[str, Any]:
    """The result that tells of a bug of ours. To be called where it is handled; it is logged."""
    _log.exception("tool failed")
    return {"error": {"code": "internal_error", "message": "something went wrong in the tool"}}


async def explained(
    error: VoicecallError, call_id: str | None, control: CallControl
) -> dict[str, Any]:
    """`failure`, and for a call that has ended also why it did, as far as that can be seen."""
    told = failure(error, call_id)
    if isinstance(error, CallHasEnded) and call_id is not None:
        try:
            record = await control.status(call_id)
        except VoicecallError:
            # What is told already is true without it.
            return told
        if record is not None and record["endReason"]:
            told["error"]["endReason"] = record["endReason"]
    return told
