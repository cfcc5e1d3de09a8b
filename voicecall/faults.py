"""Errors as they travel between a server and its clients: one table, read in both directions.

A JSON-RPC error object has a number, a sentence for people, and under `data` at least `code`, a
stable name. Names and numbers are part of the interface: none is ever given another meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from voicecall import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

# JSON-RPC 2.0, section 5.1.
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of error.

    Attributes:
        name: stable, machine-readable; `data.code` of the error object.
        number: `code` of the error object.
        kind: what is raised, on both sides.
        meaning: a sentence for people.
    """

    name: str
    number: int
    kind: type[errors.VoicecallError]
    meaning: str


def _call_error(number: int, kind: type[errors.CallError], meaning: str) -> Fault:
    return Fault(kind.code, number, kind, meaning)


# The range from -32000 down is what section 5.1 leaves to servers.
_ALL: Final = (
    _call_error(INVALID_PARAMS, errors.InvalidRequest, "A parameter is missing or malformed."),
    _call_error(-32001, errors.UnknownCall, "No call has that id."),
    _call_error(-32002, errors.NotConnected, "The call is not answered, or not heard yet."),
    _call_error(-32003, errors.CallHasEnded, "The call is over."),
    _call_error(-32004, errors.TurnPending, "Somebody already waits for the caller's answer."),
    _call_error(-32005, errors.TranscriptTimeout, "The caller said nothing in time."),
    _call_error(-32006, errors.CapacityReached, "No more calls are taken at the moment."),
    _call_error(INTERNAL_ERROR, errors.IllegalTransition, "A bug of the server."),
    Fault("carrier_refused", -32010, errors.CarrierError, "The carrier refused; see `status`."),
    Fault("carrier_unreachable", -32011, errors.CarrierError, "The carrier did not answer."),
    Fault("speech_failed", -32012, errors.SpeechError, "Speech could not be made or understood."),
    Fault("store_failed", -32013, errors.StoreError, "The call could not be read or stored."),
    Fault("failed", -32000, errors.RemoteError, "Something else went wrong."),
)

FAULTS: Final[Mapping[str, Fault]] = {fault.name: fault for fault in _ALL}
"""Every kind of error by its name."""


def fault_for(error: errors.VoicecallError) -> Fault:
    """What kind of error a client is told about."""
    match error:
        case errors.CallError() | errors.CarrierError():
            return FAULTS.get(error.code, FAULTS["failed"])
        case errors.SpeechError():
            return FAULTS["speech_failed"]
        case errors.StoreError():
            return FAULTS["store_failed"]
        case _:
            return FAULTS["failed"]


def error_of(body: Mapping[str, Any]) -> errors.VoicecallError:
    """The exception that a server's error object stands for.

    Args:
        body: the error object; what is missing or of a newer version is made the best of.
    """
    message = str(body.get("message") or "the server did not say what is wrong")
    told = body.get("data")
    data: Mapping[str, Any] = told if isinstance(told, dict) else {}
    name = data.get("code")
    fault = FAULTS.get(name) if isinstance(name, str) else None
    kind = errors.RemoteError if fault is None else fault.kind
    if fault is None and body.get("code") == INVALID_PARAMS:
        kind = errors.InvalidRequest
    if issubclass(kind, errors.CallError):
        return kind(message, call_id=_text(data.get("callId")))
    if issubclass(kind, errors.RemoteError):
        status = data.get("status")
        return kind(
            message,
            retryable=data.get("retryable") is True,
            status=status if isinstance(status, str | int) else None,
        )
    return kind(message)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
