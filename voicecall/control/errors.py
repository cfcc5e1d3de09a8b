"""How our errors look to RPC clients: the one place where they become numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voicecall import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

# JSON-RPC 2.0, section 5.1.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

# The range section 5.1 leaves to servers. Numbers are part of the interface: never reuse one.
_CODES: Mapping[str, int] = {
    errors.InvalidRequest.code: INVALID_PARAMS,
    errors.UnknownCall.code: -32001,
    errors.NotConnected.code: -32002,
    errors.CallHasEnded.code: -32003,
    errors.TurnPending.code: -32004,
    errors.TranscriptTimeout.code: -32005,
    errors.CapacityReached.code: -32006,
    errors.IllegalTransition.code: INTERNAL_ERROR,
    "carrier_refused": -32010,
    "carrier_unreachable": -32011,
    "speech_failed": -32012,
    "store_failed": -32013,
    "failed": -32000,
}


class RpcFault(Exception):
    """A JSON-RPC error object.

    Attributes:
        code: JSON-RPC's number.
        message: a sentence for people.
        data: `code`, a stable name, and `callId` where known; empty for errors of the protocol.
    """

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = dict(data or {})

    def to_json(self) -> dict[str, Any]:
        """The error object of a response."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        return body | {"data": self.data} if self.data else body


def fault_of(error: errors.VoicecallError, call_id: str | None = None) -> RpcFault:
    """What a client is told about `error`.

    Args:
        error: what was raised.
        call_id: the call the request named; used where the error names none.
    """
    name = _name_of(error)
    data: dict[str, Any] = {"code": name}
    concerned = getattr(error, "call_id", None) or call_id
    if concerned:
        data["callId"] = concerned
    if isinstance(error, errors.RemoteError):
        data |= {"status": error.status, "retryable": error.retryable}
    return RpcFault(_CODES.get(name, _CODES["failed"]), str(error), data)


def _name_of(error: errors.VoicecallError) -> str:
    match error:
        case errors.CallError() | errors.CarrierError():
            return error.code
        case errors.SpeechError():
            return "speech_failed"
        case errors.StoreError():
            return "store_failed"
        case _:
            return "failed"
