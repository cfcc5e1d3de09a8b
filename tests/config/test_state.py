"""The state directory and its token."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from voicecall.config.state import (
    TOKEN_NAME,
    keep_rpc_token,
    read_rpc_token,
    state_directory,
)
from voicecall.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import SecretStr

pytestmark = pytest.mark.unit


def test_state_is_kept_where_the_desktop_standard_says() -> None:
    home = Path("/home/somebody")
    assert state_directory({}, home) == home / ".local" / "state" / "voicecall"
    assert state_directory({"XDG_STATE_HOME": "/state"}, home) == Path("/state/voicecall")
    assert state_directory({"XDG_STATE_HOME": "relative"}, home) == state_directory({}, home)


def test_a_token_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    assert read_rpc_token(directory) is None
    token = keep_rpc_token(directory)
    assert len(token.get_secret_value()) >= 32
    assert keep_rpc_token(directory) == token == read_rpc_token(directory)
    assert stat.S_IMODE((directory / TOKEN_NAME).stat().st_mode) == 0o600
    assert [file.name for file in directory.iterdir()] == [TOKEN_NAME]


def test_processes_that_start_together_agree_on_one_token(tmp_path: Path) -> None:
    tokens: list[SecretStr] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait(timeout=10)
        tokens.append(keep_rpc_token(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(tokens) == 8
    assert len({token.get_secret_value() for token in tokens}) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_broken_token_file_is_named_and_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / TOKEN_NAME).write_text("\n")
    with pytest.raises(ConfigError, match=r"rpc\.token: .*rpc-token is empty"):
        keep_rpc_token(tmp_path)
    (tmp_path / TOKEN_NAME).write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"rpc\.token: cannot be read from"):
        keep_rpc_token(tmp_path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"rpc\.token: cannot be"):
        keep_rpc_token(tmp_path / "file" / "below")
