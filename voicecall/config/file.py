"""Finding and reading the configuration file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import json5

from voicecall.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_VARIABLE: Final = "VOICECALL_CONFIG"
FILE_NAME: Final = "voicecall.json5"
# The parser takes seconds for a megabyte; a configuration has a few kilobytes.
MAX_OCTETS: Final = 1 << 20

_PARSE_ERROR = re.compile(
    r"^<string>:(?P<line>\d+) (?P<what>.*) at column (?P<column>\d+)$", re.DOTALL
)


def find(path: Path | None, environ: Mapping[str, str], *, cwd: Path, home: Path) -> Path | None:
    """The file to read: `path`, else `$VOICECALL_CONFIG`, else the usual places, else None.

    A file that was asked for is returned whether it exists or not, so that reading it fails.
    """
    named = path or environ.get(PATH_VARIABLE)
    if named:
        return cwd / _under_home(Path(named), home)
    usual = (cwd / FILE_NAME, home / ".config" / "voicecall" / FILE_NAME)
    return next((candidate for candidate in usual if candidate.is_file()), None)


def read(path: Path) -> dict[str, Any]:
    """Read a JSON5 file that holds one object.

    Raises:
        ConfigError: it cannot be read or is not JSON5; says line and column.
    """
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(octets) > MAX_OCTETS:
        raise ConfigError(f"{path}: is larger than {MAX_OCTETS} octets")
    try:
        content = json5.loads(octets.decode("utf-8-sig"), allow_duplicate_keys=False)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 at octet {error.start}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path}:{_where(str(error))}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold an object, {{ ... }}")
    try:
        return {_joined(key): _joined(value) for key, value in content.items()}
    except UnicodeError:
        raise ConfigError(f"{path}: has half of a surrogate pair in a string") from None


def resolve(name: str, *, directory: Path, home: Path) -> str:
    """The absolute form of a file named in the configuration.

    Args:
        name: as written; `~` is the home directory.
        directory: where relative names start.
        home: the user's home directory.
    """
    return str(directory / _under_home(Path(name), home))


def _under_home(path: Path, home: Path) -> Path:
    return home.joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def _joined(value: Any) -> Any:  # noqa: ANN401  (JSON: any type)
    """`value` with the halves of surrogate pairs joined, which json5 0.12 leaves apart.

    Raises:
        UnicodeError: a half is alone, and so is no character.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    if isinstance(value, dict):
        return {_joined(key): _joined(item) for key, item in value.items()}
    return [_joined(item) for item in value] if isinstance(value, list) else value


def _where(message: str) -> str:
    """`line:column: what`, without the parser's quote of the character: it may be a secret's."""
    parsed = _PARSE_ERROR.match(message)
    if parsed is None and message.startswith("Duplicate key"):
        return f" {message[0].lower()}{message[1:]}"
    if parsed is None:
        return " is empty" if "mpty" in message else " is not valid JSON5"
    what = "unexpected end of file" if "end of input" in parsed["what"] else "unexpected character"
    return f"{parsed['line']}:{parsed['column']}: {what}"
