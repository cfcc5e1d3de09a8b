from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.stores import CREATED, stored
from voicecall.call.record import CallState
from voicecall.errors import StoreError
from voicecall.store import rows
from voicecall.store.rows import CallRow, decoded, encoded
from voicecall.store.schema import bring_up_to_date

pytestmark = pytest.mark.unit


def database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    bring_up_to_date(connection)
    return connection


def write(connection: sqlite3.Connection, record: dict[str, Any]) -> None:
    CallRow.of(record).write(connection, encoded(CREATED))


def test_words_that_are_there_are_not_written_again() -> None:
    connection = database()
    for words in (3, 3, 5):
        write(connection, stored(words=words))
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    write(connection, stored(words=6))
    assert sum("INSERT INTO utterances" in statement for statement in statements) == 1
    assert rows.read_call(connection, "call-1") == stored(words=6)


def test_a_carriers_id_that_two_calls_have_names_the_newer() -> None:
    connection = database()
    for call_id in ("c1", "c2"):
        write(connection, stored(call_id=call_id, provider_call_id="CA1"))
    found = rows.read_call(connection, "CA1")
    assert found is not None
    assert found["callId"] == "c2"


def test_a_call_that_has_ended_is_over_even_without_the_time() -> None:
    connection = database()
    write(connection, stored(CallState.FAILED, ended_at=None))
    assert rows.read_live(connection) == []
    assert rows.read_recent(connection, 1) == [stored(CallState.FAILED, ended_at=None)]


def test_questions_use_an_index() -> None:
    connection = database()
    for question, values in [
        (rows._BY_ID, ("x",)),
        (rows._BY_CARRIERS_ID, ("x",)),
        (rows._LIVE, ()),
        (rows._RECENT, (1,)),
        (rows._HISTORY, ("x",)),
        (rows._CHANGES, (0, 1)),
        (rows._WORDS, (1,)),
    ]:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {question}", values).fetchall()
        steps = [step[3] for step in plan]
        assert all("USING" in step or "SCALAR" in step for step in steps), steps


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_any_text = st.text(st.characters())


@given(st.dictionaries(_any_text, _json | _any_text, max_size=5))
def test_whatever_is_json_is_kept_even_halves_of_characters(value: dict[str, Any]) -> None:
    text = encoded(value)
    assert decoded(text) == value
    # The database takes it.
    text.encode()


@pytest.mark.parametrize("value", [{"a": object()}, {1: object()}, {"a": "\ud83d", "b": b"x"}])
def test_what_is_not_json_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="no JSON"):
        encoded(value)


@pytest.mark.parametrize(
    "lacking", ["callId", "state", "providerCallId", "startedAt", "transcript"]
)
def test_a_record_that_lacks_something_is_refused(lacking: str) -> None:
    record = stored()
    del record[lacking]
    with pytest.raises(StoreError, match=lacking):
        CallRow.of(record)
    with pytest.raises(StoreError, match="no call record"):
        CallRow.of(stored() | {"state": "dreaming"})
