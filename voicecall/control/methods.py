"""The RPC methods: one table from name to what is taken, done, told and described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from voicecall.client import results
from voicecall.control import examples
from voicecall.control.latency import latencies
from voicecall.control.params import Given, Number, Param, Text, checked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from voicecall.call.record import Mode
    from voicecall.control.examples import Example
    from voicecall.control.services import Calls

Action: TypeAlias = "Callable[[Calls, Given], Awaitable[Mapping[str, Any]]]"

MOST: Final = 1000
"""How many calls or changes are told at once."""

# The greatest whole number that every JSON reader understands (RFC 8259, section 6).
_GREATEST: Final = 2**53 - 1

_MESSAGE: Final = Text("message", "What to say.")
_TO: Final = Text("to", "Whom to call: E.164 (+15550001234), or a sip: address with Plivo.")
_MODE: Final = Text(
    "mode",
    "notify: say the message and hang up. conversation: go on until somebody ends it.",
    ("notify", "conversation"),
)
_SEQUENCE: Final = Text("dtmfSequence", "Keys to press once answered, before anything is said.")
_CALL_ID: Final = Text("callId", "The call: our id or the carrier's.")
_SID: Final = Text("sid", "The same as callId.")
_DIGITS: Final = Text("digits", "Keys: 0-9, * and #; w or W is a pause of half a second.")
_OPERATION: Final = Text("operationId", "What voicecall.continue.start has returned.")

_ANY_CALL: Final = ("invalid_request", "unknown_call")
_LIVE_CALL: Final = (*_ANY_CALL, "not_connected", "call_ended")
_CARRIER: Final = ("carrier_refused", "carrier_unreachable")
_DIAL: Final = ("invalid_request", "capacity_reached", *_CARRIER, "store_failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One RPC method.

    Attributes:
        run: what it does, with checked parameters.
        summary: what it does, in a sentence.
        result: the type of what it tells; one of `voicecall.client.results`, or any object.
        required: parameters it cannot do without.
        optional: parameters it can do without.
        errors: names of what may go wrong, as in `FAULTS`; besides these, anything may have
            `failed`.
        examples: that work.
        deprecated: whether another method is to be preferred.
    """

    run: Action
    summary: str
    result: object
    required: tuple[Param, ...] = ()
    optional: tuple[Param, ...] = ()
    errors: tuple[str, ...] = ("invalid_request",)
    examples: tuple[Example, ...] = ()
    deprecated: bool = False

    async def __call__(self, calls: Calls, params: Mapping[str, object]) -> Mapping[str, Any]:
        """Check `params`, then run.

        Raises:
            InvalidRequest: a required parameter is missing or empty, or one is wrong.
            VoicecallError: whatever the calls raise.
        """
        return await self.run(calls, checked(params, self.required, self.optional))


async def _initiate(calls: Calls, given: Given) -> results.Placed:
    record = await calls.initiate(
        given.texts.get("message", ""),
        to=given.texts.get("to"),
        # It is one of the choices.
        mode=cast("Mode | None", given.texts.get("mode")),
        dtmf_sequence=given.texts.get("dtmfSequence"),
    )
    return {"callId": record.call_id, "initiated": True}


async def _continue(calls: Calls, given: Given) -> results.Answer:
    transcript = await calls.ask(given.texts["callId"], given.texts["message"])
    return {"success": True, "transcript": transcript}


async def _continue_start(calls: Calls, given: Given) -> results.Begun:
    return {"operationId": await calls.start_ask(given.texts["callId"], given.texts["message"])}


async def _continue_result(calls: Calls, given: Given) -> Mapping[str, Any]:
    result = calls.ask_result(given.texts["operationId"])
    told = {"status": result.status, "transcript": result.transcript, "error": result.error}
    return {name: value for name, value in told.items() if value is not None}


async def _speak(calls: Calls, given: Given) -> results.Done:
    await calls.speak(given.texts["callId"], given.texts["message"])
    return {"success": True}


async def _dtmf(calls: Calls, given: Given) -> results.Done:
    await calls.send_dtmf(given.texts["callId"], given.texts["digits"])
    return {"success": True}


async def _transfer(calls: Calls, given: Given) -> results.Done:
    await calls.transfer(given.texts["callId"], given.texts["to"])
    return {"success": True}


async def _end(calls: Calls, given: Given) -> results.Done:
    await calls.end(given.texts["callId"])
    return {"success": True}


async def _status(calls: Calls, given: Given) -> Mapping[str, Any]:
    wanted = given.texts.get("callId") or given.texts.get("sid")
    if wanted is None:
        return {"calls": [record.to_json() for record in calls.live()]}
    record = await calls.lookup(wanted)
    return {"found": False} if record is None else {"found": True, "call": record.to_json()}


async def _history(calls: Calls, given: Given) -> Mapping[str, Any]:
    newest = await calls.recent(given.numbers["last"])
    since = given.numbers["since"]
    return {"calls": [record.to_json() for record in newest if record.started_at >= since]}


async def _changes(calls: Calls, given: Given) -> Mapping[str, Any]:
    stored, last = await calls.changes(given.numbers["since"], given.numbers["limit"])
    return {"changes": [{"number": number, **change} for number, change in stored], "last": last}


async def _latency(calls: Calls, given: Given) -> Mapping[str, Any]:
    return latencies(await calls.recent(given.numbers["last"]))


METHODS: Mapping[str, Method] = {
    "voicecall.initiate": Method(
        run=_initiate,
        summary="Place a call; answers once the carrier has accepted it. Never sent twice.",
        result=results.Placed,
        required=(_MESSAGE,),
        optional=(_TO, _MODE, _SEQUENCE),
        errors=_DIAL,
        examples=(examples.INITIATE,),
    ),
    "voicecall.start": Method(
        run=_initiate,
        summary="Place a call that may begin with nothing to say; the older form of initiate.",
        result=results.Placed,
        required=(_TO,),
        optional=(_MESSAGE, _MODE, _SEQUENCE),
        errors=_DIAL,
        examples=(examples.START,),
        deprecated=True,
    ),
    "voicecall.continue": Method(
        run=_continue,
        summary="Say something and wait for the caller's answer.",
        result=results.Answer,
        required=(_CALL_ID, _MESSAGE),
        errors=(
            *_LIVE_CALL,
            "turn_pending",
            "transcript_timeout",
            "speech_failed",
            "store_failed",
        ),
        examples=(examples.CONTINUE,),
    ),
    "voicecall.continue.start": Method(
        run=_continue_start,
        summary="Begin to say something and wait for the answer; does not wait itself.",
        result=results.Begun,
        required=(_CALL_ID, _MESSAGE),
        errors=(*_LIVE_CALL, "turn_pending"),
        examples=(examples.CONTINUE_START,),
    ),
    "voicecall.continue.result": Method(
        run=_continue_result,
        summary="How a question stands that was begun.",
        result=results.AskResult,
        required=(_OPERATION,),
        examples=(examples.CONTINUE_RESULT,),
    ),
    "voicecall.speak": Method(
        run=_speak,
        summary="Say something; answers when it was played or cut short.",
        result=results.Done,
        required=(_CALL_ID, _MESSAGE),
        errors=(*_LIVE_CALL, "speech_failed"),
        examples=(examples.SPEAK,),
    ),
    "voicecall.dtmf": Method(
        run=_dtmf,
        summary="Press keys.",
        result=results.Done,
        required=(_CALL_ID, _DIGITS),
        errors=(*_LIVE_CALL, *_CARRIER, "speech_failed"),
        examples=(examples.DTMF,),
    ),
    "voicecall.transfer": Method(
        run=_transfer,
        summary="Have the carrier connect the other side with somebody else; then it is over here.",
        result=results.Done,
        required=(_CALL_ID, _TO),
        errors=(*_LIVE_CALL, *_CARRIER, "store_failed"),
        examples=(examples.TRANSFER,),
    ),
    "voicecall.end": Method(
        run=_end,
        summary="Hang up; a call that is over already is a success.",
        result=results.Done,
        required=(_CALL_ID,),
        errors=(*_ANY_CALL, "store_failed"),
        examples=(examples.END,),
    ),
    "voicecall.status": Method(
        run=_status,
        summary="One call as far back as calls are kept; without an id, all that have not ended.",
        result=results.Status,
        optional=(_CALL_ID, _SID),
        errors=("invalid_request", "store_failed"),
        examples=(examples.STATUS, examples.STATUS_OF_ALL),
    ),
    "voicecall.history": Method(
        run=_history,
        summary="The newest calls, newest first, live ones among them.",
        result=results.History,
        optional=(
            Number("last", "How many calls at most.", 1, MOST, 20),
            Number("since", "Only those that began then or later, ms since 1970.", 0, _GREATEST, 0),
        ),
        errors=("invalid_request", "store_failed"),
        examples=(examples.HISTORY,),
    ),
    "voicecall.changes": Method(
        run=_changes,
        summary="What happened to all calls, in the order in which it was stored.",
        result=results.Changes,
        optional=(
            Number(
                "since",
                "The number of the last change that is known; a negative one looks back so many "
                "changes from the newest.",
                -_GREATEST,
                _GREATEST,
                0,
            ),
            Number("limit", "How many changes at most.", 1, MOST, 100),
        ),
        errors=("invalid_request", "store_failed"),
        examples=(examples.CHANGES,),
    ),
    "voicecall.latency": Method(
        run=_latency,
        summary="How long callers waited for answers, and we for callers.",
        result=results.Latency,
        optional=(Number("last", "How many calls to look at, the newest.", 1, MOST, 200),),
        errors=("invalid_request", "store_failed"),
        examples=(examples.LATENCY,),
    ),
}
"""Every method but the one that describes them, by name."""
