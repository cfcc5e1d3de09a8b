from __future__ import annotations

import shutil
from collections import namedtuple
from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from voicecall.clock import SystemClock
from voicecall.diagnosis.storage import MEGABYTE, look_at_store
from voicecall.errors import StoreError
from voicecall.store.sqlite import SqliteCallStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024  (as the standard library has it)


def test_nothing_is_made_that_is_not_there(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "state" / "calls.sqlite3"
        finding = await look_at_store(str(path))
        assert finding.status in {"ok", "warn"}
        assert f"{path} (will be made), " in finding.found

    run(case())
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_use_can_be_looked_at(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls.sqlite3"
        store = SqliteCallStore(path, clock=SystemClock())
        await store.open()
        try:
            finding = await look_at_store(str(path))
            assert finding.found.startswith(f"{path}, ")
        finally:
            await store.close()

    run(case())


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls.sqlite3"
        path.write_text("shopping list\n" * 100)
        with pytest.raises(StoreError):
            await look_at_store(str(path))

    run(case())


@pytest.mark.parametrize(("free", "status"), [(1000, "ok"), (300, "warn"), (10, "fail")])
def test_little_room_is_yellow_and_next_to_none_is_red(
    free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, free * MEGABYTE))

    async def case() -> None:
        finding = await look_at_store(str(tmp_path / "calls.sqlite3"))
        assert finding.status == status
        assert f"{free} MB free" in finding.found

    run(case())


def test_a_store_whose_directory_cannot_be_made_is_red(tmp_path: Path) -> None:
    async def case() -> None:
        file = tmp_path / "file"
        file.touch()
        finding = await look_at_store(str(file / "calls.sqlite3"))
        assert (finding.status, f"{file} is not writable" in finding.found) == ("fail", True)

    run(case())


def test_calls_in_memory_are_worth_a_word() -> None:
    async def case() -> None:
        assert (await look_at_store(":memory:")).status == "warn"

    run(case())


def test_a_database_server_that_does_not_answer_is_named_without_its_password() -> None:
    async def case() -> None:
        with pytest.raises(StoreError) as raised:
            await look_at_store("redis://user:hidden-word@127.0.0.1:1/0")
        assert "127.0.0.1" in str(raised.value)
        assert "hidden-word" not in str(raised.value)

    run(case())
