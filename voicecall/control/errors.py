"""How our errors look to RPC clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voicecall.errors import RemoteError
from voicecall.faults import fault_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.errors import VoicecallError


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


def fault_of(error: VoicecallError, call_id: str | None = None) -> RpcFault:
    """What a client is told about `error`; the names and numbers are those of `FAULTS`.

    Args:
        error: what was raised.
        call_id: the call the request named; used where the error names none.
    """
    fault = fault_for(error)
    data: dict[str, Any] = {"code": fault.name}
    concerned = getattr(error, "call_id", None) or call_id
    if concerned:
        data["callId"] = concerned
    if isinstance(error, RemoteError):
        data |= {"status": error.status, "retryable": error.retryable}
    return RpcFault(fault.number, str(error), data)
