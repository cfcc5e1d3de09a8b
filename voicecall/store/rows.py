"""Calls as rows: how a record is taken apart, written, and put together again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from voicecall.call.record import CallState
from voicecall.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

_UPSERT = """
INSERT INTO calls (call_id, provider_call_id, started_at, ended_at, record)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (call_id) DO UPDATE SET
    provider_call_id = excluded.provider_call_id,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    record = excluded.record
RETURNING number
"""
_SPOKEN = "SELECT count(*) FROM utterances WHERE call = ?"
_SPEAK = "INSERT INTO utterances (call, position, entry) VALUES (?, ?, ?)"
_CHANGE = "INSERT INTO changes (call, change) VALUES (?, ?)"
_WORDS = "SELECT entry FROM utterances WHERE call = ? ORDER BY position"

_ROW = "SELECT number, record FROM calls "
_BY_ID = _ROW + "WHERE call_id = ?"
_BY_CARRIERS_ID = _ROW + "WHERE provider_call_id = ? ORDER BY number DESC LIMIT 1"
_LIVE = _ROW + "WHERE ended_at IS NULL ORDER BY started_at, number"
_RECENT = _ROW + "ORDER BY started_at DESC, number DESC LIMIT ?"
_HISTORY = """
SELECT change FROM changes WHERE call = (SELECT number FROM calls WHERE call_id = ?)
ORDER BY number
"""
_CHANGES = "SELECT number, change FROM changes WHERE number > ? ORDER BY number LIMIT ?"
_NEWEST_CHANGE = "SELECT coalesce(max(number), 0) FROM changes"


@dataclass(frozen=True, slots=True)
class CallRow:
    """A record as it was at one moment, ready to be written.

    Attributes:
        call_id: our id.
        provider_call_id: the carrier's, once known.
        started_at: ms since the epoch.
        ended_at: likewise; None exactly for calls that have not ended.
        record: everything but the transcript, as JSON.
        transcript: its entries, as JSON. It only ever grows.
    """

    call_id: str
    provider_call_id: str | None
    started_at: int
    ended_at: int | None
    record: str
    transcript: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> CallRow:
        """The row of `CallRecord.to_json()`.

        Raises:
            StoreError: the record lacks something, or holds what JSON does not know.
        """
        try:
            ended_at: int | None = None
            if CallState(record["state"]).terminal:
                ended_at = record["endedAt"]
                ended_at = record["startedAt"] if ended_at is None else ended_at
            return cls(
                call_id=record["callId"],
                provider_call_id=record["providerCallId"],
                started_at=record["startedAt"],
                ended_at=ended_at,
                record=encoded({**record, "transcript": []}),
                transcript=record["transcript"],
            )
        except (KeyError, ValueError) as error:
            raise StoreError(f"this is no call record: {error!r}") from error

    def write(self, connection: sqlite3.Connection, change: str | None) -> None:
        """Write the row, what its transcript has gained, and what changed.

        Args:
            connection: inside a transaction.
            change: as JSON; None if it is stored already.
        """
        values = (self.call_id, self.provider_call_id, self.started_at, self.ended_at, self.record)
        ((number,),) = connection.execute(_UPSERT, values).fetchall()
        if self.transcript:
            (spoken,) = connection.execute(_SPOKEN, (number,)).fetchone()
            for position in range(spoken, len(self.transcript)):
                entry = encoded(self.transcript[position])
                connection.execute(_SPEAK, (number, position, entry))
        if change is not None:
            connection.execute(_CHANGE, (number, change))


def encoded(value: Mapping[str, Any]) -> str:
    """`value` as JSON.

    Raises:
        StoreError: it holds what JSON does not know.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        pass
    try:
        # What streamed speech and text are cut out of may end in half a character.
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise StoreError(f"this is no JSON: {error}") from error


def decoded(text: str) -> Any:  # noqa: ANN401  (any JSON)
    """What `encoded` made `text` of. Raises ValueError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def read_call(connection: sqlite3.Connection, any_id: str) -> dict[str, Any] | None:
    """The record of a call, by our id or the carrier's."""
    for question in (_BY_ID, _BY_CARRIERS_ID):
        if found := _records(connection, question, any_id):
            return found[0]
    return None


def read_live(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """The records of calls that have not ended, oldest first."""
    return _records(connection, _LIVE)


def read_recent(connection: sqlite3.Connection, limit: int) -> list[dict[str, Any]]:
    """At most `limit` records, newest first."""
    return _records(connection, _RECENT, max(0, limit))


def read_history(connection: sqlite3.Connection, call_id: str) -> list[dict[str, Any]]:
    """Every change of one call in order."""
    return [decoded(change) for (change,) in connection.execute(_HISTORY, (call_id,))]


def read_changes(
    connection: sqlite3.Connection, after: int, limit: int
) -> list[tuple[int, dict[str, Any]]]:
    """At most `limit` changes of all calls that were stored after number `after`, in order."""
    found = connection.execute(_CHANGES, (after, max(0, limit)))
    return [(number, decoded(change)) for number, change in found]


def read_newest_change(connection: sqlite3.Connection) -> int:
    """The number of the newest change that is kept; 0 if there is none."""
    (newest,) = connection.execute(_NEWEST_CHANGE).fetchone()
    return int(newest)


def _records(
    connection: sqlite3.Connection, question: str, *values: str | int
) -> list[dict[str, Any]]:
    # One transaction, so that record and words are of the same moment.
    connection.execute("BEGIN")
    try:
        rows = connection.execute(question, values).fetchall()
        return [_assembled(connection, number, record) for number, record in rows]
    finally:
        connection.execute("COMMIT")


def _assembled(connection: sqlite3.Connection, number: int, record: str) -> dict[str, Any]:
    found: dict[str, Any] = decoded(record)
    found["transcript"] = [decoded(entry) for (entry,) in connection.execute(_WORDS, (number,))]
    return found
