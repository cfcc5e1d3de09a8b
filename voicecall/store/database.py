"""Opening a store's file: private, locked, checked, and with present tables; or a clear refusal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from typing import TYPE_CHECKING, Final

from voicecall.errors import StoreError
from voicecall.store.schema import bring_up_to_date, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PRIVATE: Final = 0o600
# Longer than any transaction of ours, shorter than the deadline of whoever waits.
_BUSY_TIMEOUT_S: Final = 2.0
_JOURNAL_LIMIT_OCTETS: Final = 16 << 20
_MEND: Final = "restore it from a backup, or move it away to begin with an empty store"


class FileLock:
    """Keeps a second server off a store: two would hang up each other's calls.

    The lock is a file of its own beside the database, and ends with the process that holds it.

    Args:
        path: the database's.

    Raises:
        StoreError: another process holds the lock, or the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        beside = path.with_name(f"{path.name}.lock")
        with _explained(path):
            self._descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise StoreError(
                f"store: {path} is used by another voicecall server; stop it, or give each a "
                "store of its own"
            ) from None

    def release(self) -> None:
        """Let others have the store. The file stays: another may hold it open already."""
        os.close(self._descriptor)


def make_private(path: Path) -> None:
    """Make the file and its directory if they are missing; nobody else may read it.

    Raises:
        StoreError: that is not permitted.
    """
    with _explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        try:
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, _PRIVATE)
        finally:
            # Before SQLite opens the file: closing it would drop SQLite's own locks.
            os.close(descriptor)


def open_to_write(path: Path) -> sqlite3.Connection:
    """The connection that writes, for use in any one thread at a time.

    Transactions are begun and ended by hand. A commit returns once it is on the disk. What is
    deleted is overwritten.

    Raises:
        StoreError: the file cannot be used; says why, and what to do.
    """
    with _explained(path):
        connection = _connect(path)
        try:
            # First of all, so that nothing is written into a file that is not ours to use.
            _check(connection)
            # Has an effect on a new file only, before its first table.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT_OCTETS}")
            bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, for use in any one thread at a time. Raises StoreError."""
    with _explained(path):
        connection = _connect(path)
        connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _check(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"is damaged; {_MEND}")
    version_of(connection)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what went wrong with the file into an error that says what to do."""
    try:
        yield
    except StoreError as error:
        raise StoreError(f"store: {path} {error}") from None
    except OSError as error:
        raise StoreError(
            f"store: {path} cannot be used: {error.strerror}; choose another path or permit "
            "reading and writing there"
        ) from error
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"store: {path} cannot be used: {error}; choose another path, permit reading and "
            "writing there, or make room on the disk"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"store: {path} is damaged or no call store ({error}); {_MEND}") from error
