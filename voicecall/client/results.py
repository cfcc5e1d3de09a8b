"""What a server's answers look like. The server describes its methods by these very types."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

Mode: TypeAlias = Literal["notify", "conversation"]

EndReason: TypeAlias = Literal[
    "completed", "hangup-user", "hangup-bot", "timeout", "error", "failed", "no-answer", "busy",
    "voicemail",
]  # fmt: skip

State: TypeAlias = Literal[
    "initiated", "ringing", "answered", "active", "speaking", "listening",
    "completed", "hangup-user", "hangup-bot", "timeout", "error", "failed", "no-answer", "busy",
    "voicemail",
]  # fmt: skip

# `from` is a word of the language, so that a class cannot have it as a field.
_Ends = TypedDict("_Ends", {"from": str, "to": str})


class Utterance(TypedDict):
    """One entry of a transcript.

    Attributes:
        timestamp: ms since the epoch.
        speaker: who said it.
        text: what was said; for the bot, what was heard of it.
        isFinal: whether the text stays as it is.
    """

    timestamp: int
    speaker: Literal["bot", "user"]
    text: str
    isFinal: bool


class Record(_Ends, TypedDict):
    """Everything kept about one call.

    Attributes:
        callId: our id of it, a UUID.
        providerCallId: the carrier's id, once known.
        provider: the carrier.
        direction: who placed it.
        state: where it stands; one of the end reasons once it is over.
        from: the caller, E.164 or a `sip:` address.
        to: the callee, likewise.
        sessionKey: whose conversation memory it continues.
        startedAt: ms since the epoch, when the record was made.
        answeredAt: ms since the epoch, once answered.
        endedAt: ms since the epoch, once over.
        endReason: why it is over, once it is.
        transcript: final utterances in order.
        metadata: `mode`, `turnCount`, `turns` (measurements) and whatever else is worth keeping.
    """

    callId: str
    providerCallId: str | None
    provider: str
    direction: Literal["inbound", "outbound"]
    state: State
    sessionKey: str
    startedAt: int
    answeredAt: int | None
    endedAt: int | None
    endReason: EndReason | None
    transcript: list[Utterance]
    metadata: dict[str, Any]


class Change(TypedDict):
    """Something that happened to a call.

    Attributes:
        type: `call.created`, `call.ringing`, `call.answered`, `call.speaking`, `call.spoken`,
            `call.speech`, `call.dtmf`, `call.ended` and others, or `gap`: changes are missing here.
        timestamp: ms since the epoch.
        callId: our id of the call; a gap has none.
        providerCallId: the carrier's id, once known.
        state: where the call stands after it.
        direction: of `call.created` and `call.restored`.
        text: of `call.speaking` and `call.spoken`: what is to be said.
        heard: of `call.spoken`: how much of it was heard.
        interrupted: of `call.spoken`: whether the caller cut it short.
        timing: of `call.spoken`: what was measured, in ms.
        transcript: of `call.speech`: what the caller said.
        isFinal: of `call.speech`: whether the words stay as they are.
        confidence: of `call.speech`: how sure the recogniser is, 0 to 1, where it says so.
        durationMs: of `call.silence`.
        digits: of `call.dtmf`: the keys.
        reason: of `call.ended`.
        transferredTo: of `call.ended`: whom the call was handed on to.
        message: of `call.error`.
        retryable: of `call.error`: whether the call goes on.
        dropped: of `gap`: how many changes are missing, where that is known.
        number: of stored changes: later ones have greater numbers.
    """

    type: str
    timestamp: int
    callId: NotRequired[str]
    providerCallId: NotRequired[str | None]
    state: NotRequired[State]
    direction: NotRequired[Literal["inbound", "outbound"]]
    text: NotRequired[str]
    heard: NotRequired[str]
    interrupted: NotRequired[bool]
    timing: NotRequired[dict[str, float]]
    transcript: NotRequired[str]
    isFinal: NotRequired[bool]
    confidence: NotRequired[float | None]
    durationMs: NotRequired[int]
    digits: NotRequired[str]
    reason: NotRequired[EndReason]
    transferredTo: NotRequired[str]
    message: NotRequired[str]
    retryable: NotRequired[bool]
    dropped: NotRequired[int | None]
    number: NotRequired[int]


class Changes(TypedDict):
    """A part of the stored changes.

    Attributes:
        changes: in the order in which they were stored.
        last: to be given as `since` to go on from here.
    """

    changes: list[Change]
    last: int


class Summary(TypedDict):
    """Some values summed up; without any there is only the count.

    Attributes:
        count: how many there are.
        min: the smallest.
        max: the greatest.
        avg: the mean.
        p50: the median, a value that occurs.
        p95: the smallest that 95 in a hundred do not exceed.
    """

    count: int
    min: NotRequired[float]
    max: NotRequired[float]
    avg: NotRequired[float]
    p50: NotRequired[float]
    p95: NotRequired[float]


class Latency(TypedDict):
    """How long callers waited for answers, and we for callers.

    Attributes:
        calls: how many calls were looked at.
        turns: how many turns they had.
        turnLatencyMs: from the caller's last word to the first sound of the answer.
        listenWaitMs: from the bot's last word until the caller had answered.
        steps: what a turn's latency is made of, by name.
    """

    calls: int
    turns: int
    turnLatencyMs: Summary
    listenWaitMs: Summary
    steps: dict[str, Summary]


class Placed(TypedDict):
    """A call was placed.

    Attributes:
        callId: our id of it.
        initiated: always true.
    """

    callId: str
    initiated: Literal[True]


class Done(TypedDict):
    """It was done.

    Attributes:
        success: always true.
    """

    success: Literal[True]


class Answer(TypedDict):
    """The caller answered.

    Attributes:
        success: always true.
        transcript: what he said.
    """

    success: Literal[True]
    transcript: str


class Begun(TypedDict):
    """A question is being asked.

    Attributes:
        operationId: by which its result is asked for.
    """

    operationId: str


class AskResult(TypedDict):
    """How a question stands.

    Attributes:
        status: whether the caller has answered.
        transcript: what he said, once done.
        error: why there is no answer, once failed.
    """

    status: Literal["pending", "done", "failed"]
    transcript: NotRequired[str]
    error: NotRequired[str]


class Status(TypedDict):
    """One call, or all live ones.

    Attributes:
        found: whether there is such a call, where one was asked for.
        call: the call, where it was found.
        calls: the calls that have not ended, where none was asked for.
    """

    found: NotRequired[bool]
    call: NotRequired[Record]
    calls: NotRequired[list[Record]]


class History(TypedDict):
    """The newest calls.

    Attributes:
        calls: newest first, live ones among them.
    """

    calls: list[Record]
