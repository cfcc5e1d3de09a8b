from __future__ import annotations

import sqlite3

import pytest

from voicecall.errors import StoreError
from voicecall.store import schema
from voicecall.store.schema import APPLICATION_ID, MIGRATIONS, bring_up_to_date

pytestmark = pytest.mark.unit

NEWER = (
    "CREATE TABLE notes (call INTEGER, note TEXT)",
    "INSERT INTO notes SELECT number, 'migrated' FROM calls",
)
BROKEN = ("CREATE TABLE half (n INTEGER)", "INSERT INTO nowhere VALUES (1)")


def connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def tables(connection: sqlite3.Connection) -> set[str]:
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return {name for (name,) in found} - {"sqlite_sequence"}


def test_an_empty_file_gets_the_present_tables_once() -> None:
    connection = connect()
    for _ in range(2):
        bring_up_to_date(connection)
        assert tables(connection) == {"calls", "utterances", "changes"}
        assert pragma(connection, "user_version") == len(MIGRATIONS)
        assert pragma(connection, "application_id") == APPLICATION_ID


def test_an_older_store_is_brought_up_to_date_with_what_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = connect()
    bring_up_to_date(connection)
    connection.execute("INSERT INTO calls VALUES (7, 'c', NULL, 1, NULL, '{}')")
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, NEWER))
    bring_up_to_date(connection)
    assert connection.execute("SELECT * FROM notes").fetchall() == [(7, "migrated")]
    assert pragma(connection, "user_version") == len(MIGRATIONS) + 1


def test_a_migration_that_fails_leaves_everything_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = connect()
    bring_up_to_date(connection)
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, BROKEN))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        bring_up_to_date(connection)
    assert tables(connection) == {"calls", "utterances", "changes"}
    assert pragma(connection, "user_version") == len(MIGRATIONS)


def test_a_newer_store_is_refused_by_name() -> None:
    connection = connect()
    bring_up_to_date(connection)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(
        StoreError, match=r"newer voicecall \(schema 2, this one knows 1\); upgrade"
    ):
        bring_up_to_date(connection)


@pytest.mark.parametrize(
    "sign",
    ["CREATE TABLE theirs (n INTEGER)", "PRAGMA application_id = 17", "PRAGMA user_version = 1"],
)
def test_another_programs_database_is_left_alone(sign: str) -> None:
    connection = connect()
    connection.execute(sign)
    before = tables(connection)
    with pytest.raises(StoreError, match="another program"):
        bring_up_to_date(connection)
    assert tables(connection) == before
