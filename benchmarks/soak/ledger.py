"""What a server has acknowledged, and whether its store has it.

A call is known by the number at its other end, which is in no other call: what a client asked for,
what the carrier holds and what the store keeps are compared by it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

from benchmarks.soak.people import number_of
from voicecall.call.machine import ALIAS
from voicecall.call.record import CallState
from voicecall.store import rows
from voicecall.store.database import open_to_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from voicecall.simulator.exchange import Delivery, Exchange, Line

Kind: TypeAlias = Literal["known", "answered", "words", "keys", "ended"]
Told: TypeAlias = "tuple[Kind, str]"
Record: TypeAlias = dict[str, Any]

# Words, keys and the like that come when the call is over for us change nothing any more.
_OF_LIVE_CALLS = frozenset({"answered", "words", "keys"})
_TWILIO_OVER = frozenset({"completed", "busy", "no-answer", "canceled", "failed"})
_OVER = _TWILIO_OVER | {"cancel", "hangup", "timeout"}
_PLIVO_FAILED = "Error"
_OK = range(200, 300)
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Fact:
    """One acknowledged change.

    Attributes:
        number: of the call.
        kind: what changed.
        detail: our id of the call, the words or the keys.
        at_ms: when it was acknowledged, milliseconds since the epoch.
    """

    number: str
    kind: Kind
    detail: str
    at_ms: float


@dataclass(slots=True)
class Stored:
    """What the store holds.

    Attributes:
        records: by number.
        keys: pressed, by our id of the call; read when they are needed.
        doubles: numbers that more than one record has.
    """

    records: dict[str, Record] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    doubles: list[str] = field(default_factory=list)

    def lives(self, number: str) -> bool:
        """Whether the server thinks that a call lives."""
        record = self.records.get(number)
        return record is not None and not CallState(record["state"]).terminal


def read_store(path: Path, with_keys: set[str]) -> Stored:
    """Read the whole store, while a server may be at work on it.

    Args:
        path: the file.
        with_keys: numbers of calls whose pressed keys are wanted.
    """
    stored = Stored()
    connection = open_to_read(path)
    try:
        for record in rows.read_recent(connection, _ALL):
            number = remote_number(record)
            if number in stored.records:
                stored.doubles.append(number)
            stored.records[number] = record
            if number in with_keys:
                history = rows.read_history(connection, record["callId"])
                stored.keys[number] = "".join(each.get("digits", "") for each in history)
    finally:
        connection.close()
    return stored


def remote_number(record: Mapping[str, Any]) -> str:
    """The number at the other end of a recorded call."""
    number: str = record["from"] if record["direction"] == "inbound" else record["to"]
    return number.removeprefix("+")


class Ledger:
    """Takes note of everything that was acknowledged.

    Args:
        carrier: its name.
        exchange: the simulated carrier.
        media: whether media are streamed, and bring keys that webhooks only repeat.

    Attributes:
        facts: what was acknowledged and not looked for yet.
        found: what was acknowledged and has been found.
        asked: numbers that somebody wanted to be called.
        statuses: how webhooks were answered.
        problems: what should not be.
    """

    def __init__(self, carrier: str, exchange: Exchange[Any], *, media: bool) -> None:
        self.facts: list[Fact] = []
        self.found: list[Fact] = []
        self.asked: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.problems: list[str] = []
        self._exchange = exchange
        self._media = media
        self._read = _READERS[carrier]
        clock = exchange.clock
        self._to_wall_ms = clock.wall_ms() - clock.now_ns() / 1e6

    # --- taking note --------------------------------------------------------------------------

    def acknowledge(self, number: str, kind: Kind, detail: str = "") -> None:
        """A client was told that something was done."""
        self.facts.append(Fact(number, kind, detail, self._exchange.clock.wall_ms()))

    def take_deliveries(self) -> None:
        """Take note of the webhooks that were delivered since the last time."""
        deliveries = self._exchange.webhooks.deliveries
        while deliveries:
            self._take(deliveries.popleft())

    def _take(self, delivery: Delivery) -> None:
        if delivery.status is None:
            return
        self.statuses[delivery.status] += 1
        if delivery.status not in _OK:
            return
        number = number_of(self._exchange.calls[delivery.call_id])
        at_ms = delivery.at_ns / 1e6 + self._to_wall_ms
        self.facts += [
            Fact(number, kind, detail, at_ms)
            for kind, detail in self._read(delivery)
            if not (self._media and kind == "keys")
        ]

    @property
    def acknowledged(self) -> int:
        """How many changes were acknowledged."""
        return len(self.facts) + len(self.found)

    def numbers_with_keys(self) -> set[str]:
        """Calls in which keys were pressed that have not been looked for."""
        return {fact.number for fact in self.facts if fact.kind == "keys"}

    # --- comparing ----------------------------------------------------------------------------

    def check(self, facts: list[Fact], stored: Stored) -> None:
        """Each of the `facts`, acknowledged before the store was read, has to be there."""
        keys: dict[str, Counter[str]] = defaultdict(Counter)
        for fact in facts:
            record = stored.records.get(fact.number)
            if record is None and fact.kind == "ended":
                # The first word of a call that no other word of was acknowledged.
                continue
            if record is None:
                self._complain(fact.number, f"{fact.kind} was acknowledged, but has no record")
            elif fact.kind in _OF_LIVE_CALLS and _was_over(record, fact.at_ms):
                continue
            elif fact.kind == "keys":
                keys[fact.number].update(fact.detail)
            elif not _is_there(fact, record):
                detail = f"{fact.kind} {fact.detail!r}"
                self._complain(fact.number, f"{detail} was acknowledged, but is not there", record)
        for number, pressed in keys.items():
            if lost := pressed - Counter(stored.keys.get(number, "")):
                lost_keys = "".join(lost.elements())
                self._complain(number, f"keys {lost_keys} were acknowledged, but are not there")
        self._check_phantoms(stored)

    def _check_phantoms(self, stored: Stored) -> None:
        for number in stored.doubles:
            self._complain(number, "has two records")
        lines = self.lines()
        for number, record in stored.records.items():
            line = lines.get(number)
            if number not in self.asked and line is None:
                self._complain(number, "has a record, but nobody has called", record)
            elif record["providerCallId"] is not None and (
                line is None or record["providerCallId"] not in names_of(line)
            ):
                self._complain(number, "has a record of another call", record)

    def check_reconciled(self, over: set[str], stored: Stored, *, at_last: bool = False) -> None:
        """Calls that were `over` before a server had enough time may not be live any more.

        But for those that ended before the carrier had told the name it answers to: they live
        until they have gone unanswered for too long, which `at_last` they have.
        """
        lines = self.lines()
        for number in over:
            record = stored.records.get(number)
            if record is None or not stored.lives(number):
                continue
            if at_last or _can_be_looked_up(record, lines[number]):
                self._complain(number, "has ended, but the server thinks it lives", record)

    def check_live(self, alive: set[str], stored: Stored) -> None:
        """Calls that have long been `alive` at the carrier may not be over for the server."""
        known = {fact.number for fact in self.found}
        for number in alive:
            record = stored.records.get(number)
            if record is None and number not in known:
                # Nobody has told the server, for it was down.
                continue
            if record is None:
                self._complain(number, "lives at the carrier, but the server does not know it")
            elif CallState(record["state"]).terminal:
                self._complain(number, "lives at the carrier, but is over for the server", record)

    def check_reasons(self, stored: Stored) -> None:
        """Calls that the carrier ended, and had named, did not end for the server's reasons."""
        for number, line in self.lines().items():
            record = stored.records.get(number)
            if record is None or line.reason == "api" or record["providerCallId"] is None:
                continue
            reason = record["endReason"]
            if reason == "timeout" or (reason == "error" and not _said_error(line)):
                self._complain(number, f"ended as {reason}", record)

    def check_dials(self) -> None:
        """Nobody was called twice."""
        called = Counter(
            number_of(line)
            for line in self._exchange.calls.values()
            if line.direction == "outbound"
        )
        for number, times in called.items():
            if times > 1:
                self._complain(number, f"was called {times} times")

    def lines(self) -> dict[str, Line]:
        """The carrier's calls, by number."""
        return {number_of(line): line for line in self._exchange.calls.values()}

    def over(self) -> set[str]:
        """Calls that have ended, and of which the carrier says so."""
        return {number for number, line in self.lines().items() if line.status in _OVER}

    def alive(self) -> set[str]:
        """Calls that nobody has ended."""
        return {number for number, line in self.lines().items() if not line.ended.is_set()}

    def _complain(self, number: str, what: str, record: Record | None = None) -> None:
        line = self.lines().get(number)
        at_carrier = "no call" if line is None else f"{line.direction} {line.status} {line.reason}"
        shown = "" if record is None else f"; {_shown(record)}"
        problem = f"{number}: {what} (carrier: {at_carrier}{shown})"
        if problem not in self.problems:
            self.problems.append(problem)


def names_of(line: Line) -> set[str]:
    """What a call may be known by."""
    return {line.provider_call_id, getattr(line, "request_uuid", line.provider_call_id)}


def _can_be_looked_up(record: Record, line: Line) -> bool:
    return record["providerCallId"] == line.provider_call_id or ALIAS in record["metadata"]


def _said_error(line: Line) -> bool:
    """Whether the carrier itself calls the end an error, as Plivo does when nobody answers it."""
    cause = getattr(line, "cause", None)
    return cause is not None and cause.source == _PLIVO_FAILED


def _was_over(record: Record, at_ms: float) -> bool:
    return record["endedAt"] is not None and record["endedAt"] <= at_ms


def _is_there(fact: Fact, record: Record) -> bool:
    match fact.kind:
        case "known":
            return not fact.detail or record["callId"] == fact.detail
        case "answered":
            return record["answeredAt"] is not None
        case "words":
            said = [entry["text"] for entry in record["transcript"] if entry["speaker"] == "user"]
            return fact.detail in said
        case _:
            return CallState(record["state"]).terminal


def _shown(record: Record) -> str:
    shown = {name: record[name] for name in ("callId", "state", "providerCallId")}
    if error := record["metadata"].get("lastError"):
        shown["lastError"] = error
    return str(shown)


# --- what webhooks report ------------------------------------------------------------------------


def _twilio(delivery: Delivery) -> Iterator[Told]:
    fields: Any = delivery.body
    status = fields.get("CallStatus")
    if status is None:
        return
    yield ("ended" if status in _TWILIO_OVER else "known"), ""
    if status == "in-progress":
        yield "answered", ""
    yield from _heard(fields.get("SpeechResult"), fields.get("Digits"))


def _plivo(delivery: Delivery) -> Iterator[Told]:
    fields: Any = delivery.body
    event = fields.get("Event")
    if delivery.name in {"stream", "machine"}:
        return
    yield ("ended" if event == "Hangup" else "known"), ""
    if event in {"StartApp", "Redirect", "Transfer"}:
        yield "answered", ""
    yield from _heard(fields.get("Speech"), fields.get("Digits"))


def _telnyx(delivery: Delivery) -> Iterator[Told]:
    body: Any = delivery.body
    payload = orjson.loads(body)["data"]["payload"]
    match delivery.name:
        case "call.initiated":
            yield "known", ""
        case "call.answered":
            yield "answered", ""
        case "call.hangup":
            yield "ended", ""
        case "call.transcription" if payload["transcription_data"]["is_final"]:
            yield "words", payload["transcription_data"]["transcript"]
        case "call.dtmf.received":
            yield "keys", payload["digit"]


def _heard(words: str | None, digits: str | None) -> Iterator[Told]:
    if words:
        yield "words", words
    if digits:
        yield "keys", digits


_READERS: Mapping[str, Callable[[Delivery], Iterator[Told]]] = {
    "twilio": _twilio,
    "telnyx": _telnyx,
    "plivo": _plivo,
}
