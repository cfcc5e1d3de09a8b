"""The tables of a call store, and how an older store becomes a present one.

`calls` has one row a call: its record without the transcript. `utterances` holds the transcripts,
one entry a row, so that a change of a long call does not write all its words again. `changes` holds
every change in the order in which they were stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from voicecall.errors import StoreError

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID: Final = 0x564F4943
"""Marks a database file as ours: "VOIC"."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE calls (
            number INTEGER PRIMARY KEY,
            call_id TEXT NOT NULL UNIQUE,
            provider_call_id TEXT,
            started_at INTEGER NOT NULL,
            ended_at INTEGER,
            record TEXT NOT NULL
        )
        """,
        """
        CREATE INDEX calls_by_carrier ON calls (provider_call_id)
        WHERE provider_call_id IS NOT NULL
        """,
        "CREATE INDEX calls_by_start ON calls (started_at)",
        "CREATE INDEX calls_live ON calls (started_at) WHERE ended_at IS NULL",
        "CREATE INDEX calls_by_end ON calls (ended_at) WHERE ended_at IS NOT NULL",
        """
        CREATE TABLE utterances (
            call INTEGER NOT NULL,
            position INTEGER NOT NULL,
            entry TEXT NOT NULL,
            PRIMARY KEY (call, position)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE changes (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            call INTEGER NOT NULL,
            change TEXT NOT NULL
        )
        """,
        "CREATE INDEX changes_by_call ON changes (call)",
    ),
)
"""What makes each version of the schema out of the one before; version 0 is an empty file."""


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Apply the migrations that the database has not seen, each whole or not at all.

    Raises:
        StoreError: it belongs to a newer version, or to another program.
        sqlite3.Error: it cannot be read or written.
    """
    version = version_of(connection)
    while version < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster.
            version = version_of(connection)
            for statement in MIGRATIONS[version] if version < len(MIGRATIONS) else ():
                connection.execute(statement)
            version = min(version + 1, len(MIGRATIONS))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def version_of(connection: sqlite3.Connection) -> int:
    """Which version's tables the database has; 0 for an empty one. Nothing is written.

    Raises:
        StoreError: it belongs to a newer version, or to another program.
        sqlite3.Error: it cannot be read.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if owner != APPLICATION_ID and (owner or version or tables):
        raise StoreError("is a database of another program; choose another path")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"was written by a newer voicecall (schema {version}, this one knows "
            f"{len(MIGRATIONS)}); upgrade voicecall, or choose another path"
        )
    return version
