"""`voicecall prune`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from tests.store.stores import CREATED, ended, opened, stored
from voicecall.cli import main
from voicecall.config.environment import VARIABLES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a store of ten ended calls and a live one."""
    for variable in ("VOICECALL_CONFIG", "XDG_STATE_HOME", *VARIABLES.values()):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    async def fill() -> None:
        async with opened(tmp_path / "calls.db") as store:
            await store.save(stored(call_id="live"), CREATED)
            for n in range(10):
                await store.save(ended(f"c{n}", n), CREATED)

    asyncio.run(fill())
    path = tmp_path / "voicecall.json5"
    path.write_text('{store: "calls.db"}')
    return path


def prune(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--config", str(config), "prune", *arguments])


def left(config: Path) -> int:
    async def count() -> int:
        async with opened(config.parent / "calls.db") as store:
            return len(await store.recent(100))

    return asyncio.run(count())


def test_what_the_options_do_not_keep_is_forgotten(config: Path) -> None:
    result = prune(config, "--calls", "4")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"forgotten": 6})
    assert left(config) == 5
    assert json.loads(prune(config, "--days", "0").stdout) == {"forgotten": 4}
    assert left(config) == 1


def test_without_options_the_configuration_decides(config: Path) -> None:
    result = prune(config)
    assert result.exit_code == 2
    assert "--days" in result.stderr
    config.write_text('{store: "calls.db", retention: {calls: 9}}')
    assert json.loads(prune(config).stdout) == {"forgotten": 1}


@pytest.mark.parametrize(
    ("store", "complaint"),
    [
        (":memory:", "calls in memory"),
        ("redis://127.0.0.1:1/0", "cannot be reached"),
        ("other.db", "there is no file"),
    ],
)
def test_a_store_that_cannot_be_pruned_is_named(config: Path, store: str, complaint: str) -> None:
    config.write_text(json.dumps({"store": store}))
    result = prune(config, "--calls", "4")
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert not (config.parent / "other.db").exists()
