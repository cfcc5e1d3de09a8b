"""Finding and reading the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicecall.config.file import MAX_OCTETS, find, read, resolve
from voicecall.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """All the places a file may be in, each with a file."""
    cwd, home = tmp_path / "cwd", tmp_path / "home"
    files = {
        "option": tmp_path / "option.json5",
        "variable": tmp_path / "variable.json5",
        "cwd": cwd / "voicecall.json5",
        "home": home / ".config" / "voicecall" / "voicecall.json5",
    }
    for file in files.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    return files


def test_the_places_are_tried_in_order(tmp_path: Path, places: dict[str, Path]) -> None:
    cwd, home = tmp_path / "cwd", tmp_path / "home"
    environ = {"VOICECALL_CONFIG": str(places["variable"])}
    assert find(places["option"], environ, cwd=cwd, home=home) == places["option"]
    assert find(None, environ, cwd=cwd, home=home) == places["variable"]
    assert find(None, {}, cwd=cwd, home=home) == places["cwd"]
    places["cwd"].unlink()
    assert find(None, {}, cwd=cwd, home=home) == places["home"]
    places["home"].unlink()
    assert find(None, {}, cwd=cwd, home=home) is None


def test_an_empty_variable_names_no_file(tmp_path: Path) -> None:
    assert find(None, {"VOICECALL_CONFIG": ""}, cwd=tmp_path, home=tmp_path) is None


def test_named_files_are_relative_to_the_working_directory_or_home(tmp_path: Path) -> None:
    cwd, home = tmp_path / "cwd", tmp_path / "home"
    assert find(Path("x.json5"), {}, cwd=cwd, home=home) == cwd / "x.json5"
    assert find(Path("~/x.json5"), {}, cwd=cwd, home=home) == home / "x.json5"
    assert resolve("~/x.db", directory=cwd, home=home) == str(home / "x.db")
    assert resolve("x.db", directory=cwd, home=home) == str(cwd / "x.db")
    assert resolve("/x.db", directory=cwd, home=home) == "/x.db"


def test_characters_written_as_surrogate_pairs_are_characters(tmp_path: Path) -> None:
    file = tmp_path / "c.json5"
    file.write_text(r"{ inboundGreeting: 'Hi \uD83D\uDE00', '\uD83D\uDE00': ['\uD83D\uDE00', 1] }")
    assert read(file) == {"inboundGreeting": "Hi \U0001f600", "\U0001f600": ["\U0001f600", 1]}


@pytest.mark.parametrize("content", [r"{ '\uD800': 1 }", r"{ a: [{ b: '\uDE00\uD83D' }] }"])
def test_half_a_surrogate_pair_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "c.json5"
    file.write_text(content)
    with pytest.raises(ConfigError, match="half of a surrogate pair") as caught:
        read(file)
    assert str(caught.value).isascii()


def test_json5_with_comments_and_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "c.json5"
    file.write_bytes(b"\xef\xbb\xbf{ // a comment\n serve: { port: 0x10, path: '/x', }, }")
    assert read(file) == {"serve": {"port": 16, "path": "/x"}}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{a: 1,\n b c}", ":2:4: unexpected character"),
        (b"{a: 1,\n", ":2:1: unexpected end of file"),
        (b"{\n  token: 'hush\n-hush'}", ":2:15: unexpected character"),
        (b"", ": is empty"),
        (b"[1]", ": must hold an object, { ... }"),
        (b"{a: '\xff'}", ": is not UTF-8 at octet 5"),
        (b"{a: 1, a: 2}", ': duplicate key "a" found in object'),
        (b"{a: " + b"[" * 5000 + b"]" * 5000 + b"}", ": is nested too deeply"),
        (b" " * (MAX_OCTETS + 1), ": is larger than 1048576 octets"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_place(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "c.json5"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refusal:
        read(file)
    assert refusal.value.problems == (f"{file}{complaint}",)


def test_a_missing_file_and_a_directory_are_said_to_be_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(tmp_path / "absent.json5")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(tmp_path)
