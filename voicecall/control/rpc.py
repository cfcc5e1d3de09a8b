"""JSON-RPC 2.0 over bytes: envelopes, batches, notifications and errors.

Source: the JSON-RPC 2.0 specification; section numbers below are its.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from voicecall.control.describe import METHODS
from voicecall.control.errors import RpcFault, fault_of
from voicecall.errors import VoicecallError
from voicecall.faults import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.control.methods import Method
    from voicecall.control.services import Calls

MAX_BATCH = 50

RequestId: TypeAlias = str | int | float | None
Response: TypeAlias = dict[str, Any]

logger = logging.getLogger("voicecall.control")


class RpcDispatcher:
    """Answers JSON-RPC messages, whatever carried them here.

    Args:
        calls: what the methods act on.
        methods: by name.
    """

    def __init__(self, calls: Calls, methods: Mapping[str, Method] = METHODS) -> None:
        self._calls = calls
        self._methods = methods

    async def answer(self, message: bytes | str) -> bytes | None:
        """The response to one message; None where none is due (notifications).

        A batch is worked through in order, so that one message can rely on what the one before
        it did. Nothing but cancellation is raised.
        """
        try:
            decoded = orjson.loads(message)
        except orjson.JSONDecodeError:
            return orjson.dumps(_refusal(RpcFault(PARSE_ERROR, "The message is not JSON.")))
        if not isinstance(decoded, list):
            response = await self._one(decoded)
            return None if response is None else orjson.dumps(response)
        if not 0 < len(decoded) <= MAX_BATCH:
            fault = RpcFault(INVALID_REQUEST, f"A batch holds 1 to {MAX_BATCH} requests.")
            return orjson.dumps(_refusal(fault))
        responses = [await self._one(request) for request in decoded]
        due = [response for response in responses if response is not None]
        return orjson.dumps(due) if due else None

    async def _one(self, request: object) -> Response | None:
        """Answer one request object (section 4)."""
        if not isinstance(request, dict) or not _is_id(request.get("id")):
            return _refusal(RpcFault(INVALID_REQUEST, "The request is not a JSON-RPC 2.0 object."))
        request_id: RequestId = request.get("id")
        try:
            response = {"jsonrpc": "2.0", "result": await self._result(request), "id": request_id}
        except RpcFault as fault:
            # Section 5: a broken request is answered even where no id could be found in it.
            if fault.code == INVALID_REQUEST:
                return _refusal(fault, request_id)
            response = _refusal(fault, request_id)
        return response if "id" in request else None

    async def _result(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        name = request.get("method")
        params = request.get("params", {})
        if request.get("jsonrpc") != "2.0" or not isinstance(name, str):
            raise RpcFault(INVALID_REQUEST, "The request is not a JSON-RPC 2.0 object.")
        method = self._methods.get(name)
        if method is None:
            raise RpcFault(METHOD_NOT_FOUND, "There is no such method.")
        if not isinstance(params, dict):
            raise RpcFault(INVALID_PARAMS, "Parameters are given by name, as an object.")
        try:
            return await method(self._calls, params)
        except VoicecallError as error:
            call_id = params.get("callId")
            raise fault_of(error, call_id if isinstance(call_id, str) else None) from error
        except Exception as error:  # the boundary of a request
            logger.exception("rpc method failed", extra={"method": name})
            raise RpcFault(INTERNAL_ERROR, "Something went wrong in the server.") from error


def notification(method: str, params: Mapping[str, Any]) -> bytes:
    """A message to a client that expects no response (section 4.1)."""
    return orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params})


def _refusal(fault: RpcFault, request_id: RequestId = None) -> Response:
    return {"jsonrpc": "2.0", "error": fault.to_json(), "id": request_id}


def _is_id(value: object) -> bool:
    return value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))
