"""The state directory: what the server keeps between runs, and how clients find its token."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from voicecall.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

STORE_NAME: Final = "calls.sqlite3"
TOKEN_NAME: Final = "rpc-token"  # noqa: S105  (a file name)
_TOKEN_OCTETS: Final = 32


def state_directory(environ: Mapping[str, str], home: Path) -> Path:
    """Where state is kept; it need not exist.

    Source: XDG Base Directory Specification: relative values of `XDG_STATE_HOME` are ignored.
    """
    base = Path(environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else home / ".local" / "state") / "voicecall"


def read_rpc_token(directory: Path) -> SecretStr | None:
    """The generated token of a server that keeps its state in `directory`, None if there is none.

    Raises:
        ConfigError: the file is there but holds no readable token.
    """
    path = directory / TOKEN_NAME
    try:
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"rpc.token: cannot be read from {path}") from None
    if not token:
        raise ConfigError(f"rpc.token: {path} is empty; delete it to get a new one")
    return SecretStr(token)


def keep_rpc_token(directory: Path) -> SecretStr:
    """The token kept in `directory`, made (mode 0600) if there is none.

    Raises:
        ConfigError: it cannot be read or written.
    """
    if token := read_rpc_token(directory):
        return token
    path = directory / TOKEN_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(path, secrets.token_urlsafe(_TOKEN_OCTETS))
    except OSError as error:
        raise ConfigError(f"rpc.token: cannot be written to {path}: {error.strerror}") from None
    # Another process may have been faster.
    if token := read_rpc_token(directory):
        return token
    raise ConfigError(f"rpc.token: {path} was deleted while it was being made")


def _write_once(path: Path, token: str) -> None:
    """Make the file unless it exists, in one step, so that nobody ever reads a part of it."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
