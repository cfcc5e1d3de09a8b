from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.stores import CREATED, ended, opened, run, stored
from voicecall.errors import StoreError
from voicecall.store.database import FileLock, make_private, open_to_read, open_to_write
from voicecall.store.retention import Retention
from voicecall.store.schema import MIGRATIONS

pytestmark = pytest.mark.unit

HOLD = """
import sys
from pathlib import Path
from voicecall.store.database import FileLock
lock = FileLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def opening(path: Path) -> None:
    make_private(path)
    open_to_write(path).close()


def test_the_file_and_all_beside_it_are_private_whatever_the_umask(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "made" / "for it" / "calls"
        before = os.umask(0)
        try:
            async with opened(path) as store:
                await store.save(stored(), CREATED)
                modes = {found.name: mode(found) for found in path.parent.iterdir()}
        finally:
            os.umask(before)
        assert set(modes) == {"calls", "calls-wal", "calls-shm", "calls.lock"}
        assert set(modes.values()) == {0o600}
        assert mode(path.parent) == 0o700

    run(case())


def test_a_file_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    opening(path)
    path.chmod(0o644)
    opening(path)
    assert mode(path) == 0o600


def test_commits_are_on_the_disk_and_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    make_private(path)
    with closing(open_to_write(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA secure_delete").fetchone() == (1,)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_nothing_of_a_forgotten_call_is_left_in_the_file(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls"
        async with opened(path) as store:
            await store.save(ended("c1", 1, to_number="+15550007777", words=3), CREATED)
            await store.save(stored(call_id="c2"), CREATED)
        assert b"+15550007777" in path.read_bytes()
        async with opened(path) as store:
            await store.prune(Retention(calls=0))
        content = path.read_bytes()
        assert b"+15550007777" not in content
        assert b"word 2" not in content
        assert b"c2" in content

    run(case())


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    opening(path)
    with (
        closing(open_to_read(path)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM calls")


def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    async def fill(path: Path) -> None:
        async with opened(path) as store:
            for n in range(200):
                await store.save(stored(call_id=f"c{n}", words=5), CREATED)

    path = tmp_path / "calls"
    run(fill(path))
    whole = path.read_bytes()
    for damaged in (
        # Cut off, the tables' pages overwritten, another kind of file.
        whole[: len(whole) // 2],
        whole[:4096] + b"\x55" * (len(whole) - 4096),
        b"\x00" * len(whole),
        b"PK\x03\x04" + whole[4:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="restore it from a backup, or move it away") as told:
            open_to_write(path)
        assert str(path) in str(told.value)
        assert path.read_bytes() == damaged


def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    opening(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StoreError, match=f"{path} was written by a newer voicecall"):
        opening(path)


def test_another_programs_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (n INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"{path} is a database of another program"):
        opening(path)
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, reason in [
        (tmp_path / "file" / "calls", "Not a directory|File exists"),
        (tmp_path / "folder", "Is a directory"),
        (Path("/proc/calls"), "No such file or directory|Permission denied"),
    ]:
        with pytest.raises(StoreError, match=f"{path} cannot be used: ({reason}); choose another"):
            make_private(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_path_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be used: Permission denied"):
        make_private(tmp_path / "calls")


def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    opening(path)
    with closing(open_to_write(path)) as connection:
        connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError, match="disk is full"):
            connection.execute("CREATE TABLE more AS SELECT randomblob(100000)")


def test_the_lock_of_a_process_that_is_killed_is_free(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    with subprocess.Popen(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(StoreError, match="used by another voicecall server"):
                FileLock(path)
        finally:
            process.kill()
    FileLock(path).release()
