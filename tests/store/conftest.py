from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store.databases import MISSING, PROGRAM, DatabaseServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """One for all tests of this process; each has keys of its own."""
    if PROGRAM is None:
        pytest.skip(MISSING)
    server = DatabaseServer(tmp_path_factory.mktemp("database"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def own_database(tmp_path: Path) -> Iterator[DatabaseServer]:
    """One that the test may kill; not started."""
    if PROGRAM is None:
        pytest.skip(MISSING)
    folder = tmp_path / "database"
    folder.mkdir()
    server = DatabaseServer(folder)
    try:
        yield server
    finally:
        server.kill()
