"""The RPC methods: one table from name to what is required, said when missing, and done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from voicecall.call.record import Mode
from voicecall.control.latency import latencies
from voicecall.control.services import Calls
from voicecall.errors import InvalidRequest

Params: TypeAlias = Mapping[str, str]
Action: TypeAlias = Callable[[Calls, Params], Awaitable[Mapping[str, Any]]]

_Name = Literal[
    "message", "to", "mode", "dtmfSequence", "callId", "sid", "digits", "operationId", "last"
]
_NAMES: tuple[str, ...] = get_args(_Name)
_COUNTS = frozenset({"last"})
_DEFAULT_LAST = 200
_MOST_LAST = 1000
_MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC method.

    Attributes:
        run: what it does; gets trimmed, non-empty strings only, counts in digits.
        required: parameters it cannot do without.
    """

    run: Action
    required: tuple[_Name, ...] = ()

    async def __call__(self, calls: Calls, params: Mapping[str, object]) -> Mapping[str, Any]:
        """Check and trim `params`, then run.

        Raises:
            InvalidRequest: a required parameter is missing or empty, or one is no string.
            VoicecallError: whatever the calls raise.
        """
        given = _trimmed(params)
        if any(name not in given for name in self.required):
            raise InvalidRequest(
                f"{' and '.join(self.required)} required", call_id=given.get("callId")
            )
        return await self.run(calls, given)


def _trimmed(params: Mapping[str, object]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name in _NAMES:
        value = params.get(name)
        if value is None:
            continue
        if name in _COUNTS and isinstance(value, int) and not isinstance(value, bool):
            given[name] = str(value)
            continue
        if not isinstance(value, str):
            raise InvalidRequest(f"{name} must be a string")
        if value.strip():
            given[name] = value.strip()
    return given


def _mode(params: Params) -> Mode | None:
    if "mode" not in params:
        return None
    for mode in _MODES:
        if params["mode"] == mode:
            return mode
    raise InvalidRequest(f"mode must be {' or '.join(_MODES)}")


async def _initiate(calls: Calls, params: Params) -> Mapping[str, Any]:
    record = await calls.initiate(
        params.get("message", ""),
        to=params.get("to"),
        mode=_mode(params),
        dtmf_sequence=params.get("dtmfSequence"),
    )
    return {"callId": record.call_id, "initiated": True}


async def _continue(calls: Calls, params: Params) -> Mapping[str, Any]:
    transcript = await calls.ask(params["callId"], params["message"])
    return {"success": True, "transcript": transcript}


async def _continue_start(calls: Calls, params: Params) -> Mapping[str, Any]:
    return {"operationId": await calls.start_ask(params["callId"], params["message"])}


async def _continue_result(calls: Calls, params: Params) -> Mapping[str, Any]:
    result = calls.ask_result(params["operationId"])
    told = {"status": result.status, "transcript": result.transcript, "error": result.error}
    return {name: value for name, value in told.items() if value is not None}


async def _speak(calls: Calls, params: Params) -> Mapping[str, Any]:
    await calls.speak(params["callId"], params["message"])
    return {"success": True}


async def _dtmf(calls: Calls, params: Params) -> Mapping[str, Any]:
    await calls.send_dtmf(params["callId"], params["digits"])
    return {"success": True}


async def _transfer(calls: Calls, params: Params) -> Mapping[str, Any]:
    await calls.transfer(params["callId"], params["to"])
    return {"success": True}


async def _end(calls: Calls, params: Params) -> Mapping[str, Any]:
    await calls.end(params["callId"])
    return {"success": True}


async def _status(calls: Calls, params: Params) -> Mapping[str, Any]:
    wanted = params.get("callId") or params.get("sid")
    if wanted is None:
        return {"calls": [record.to_json() for record in calls.live()]}
    record = await calls.lookup(wanted)
    return {"found": False} if record is None else {"found": True, "call": record.to_json()}


async def _latency(calls: Calls, params: Params) -> Mapping[str, Any]:
    return latencies(await calls.recent(_last(params)))


def _last(params: Params) -> int:
    last = params.get("last", str(_DEFAULT_LAST))
    if not (last.isascii() and last.isdecimal() and 1 <= int(last[:5]) <= _MOST_LAST):
        raise InvalidRequest(f"last must be a number of calls, 1 to {_MOST_LAST}")
    return int(last)


METHODS: Mapping[str, Method] = {
    "voicecall.initiate": Method(_initiate, ("message",)),
    "voicecall.start": Method(_initiate, ("to",)),
    "voicecall.continue": Method(_continue, ("callId", "message")),
    "voicecall.continue.start": Method(_continue_start, ("callId", "message")),
    "voicecall.continue.result": Method(_continue_result, ("operationId",)),
    "voicecall.speak": Method(_speak, ("callId", "message")),
    "voicecall.dtmf": Method(_dtmf, ("callId", "digits")),
    "voicecall.transfer": Method(_transfer, ("callId", "to")),
    "voicecall.end": Method(_end, ("callId",)),
    "voicecall.status": Method(_status),
    "voicecall.latency": Method(_latency),
}
