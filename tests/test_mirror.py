"""The repository's own order: tests where their source is, one version, nothing of one machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from voicecall import __version__

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent

COMMANDS_ABOUT_CALLS = (
    "call", "continue_", "dtmf", "end", "history", "speak", "start", "status", "tail", "transfer"
)  # fmt: skip

# Modules without a test file of their own, and where they are tested instead.
TESTED_ELSEWHERE = {
    "ports.py": "protocols and records; whatever implements or carries them is tested",
    "control/services.py": "protocols and records; tests/control uses all of them",
    "session/equipment.py": "records; tests/session uses all of them",
    "session/talk.py": "what conversations share: tests/session/test_session.py, test_spoken.py",
    "media/leg.py": "a leg lives on a socket: tests/media/test_server.py and test_path.py",
    "cli/demo_call.py": "the whole demonstration: tests/e2e/test_demo.py",
    # Commands about calls, as processes.
    **dict.fromkeys(
        (f"cli/{name}.py" for name in COMMANDS_ABOUT_CALLS), "tests/e2e/test_commands.py"
    ),
}

# Built in place and never to be committed.
GENERATED = re.compile(
    r"\.(so|o|pyc|egg-info|prof)$|(^|/)(__pycache__|build|dist|recordings|\.venv)(/|$)"
    r"|^voicecall/[^/]*\.(c|cpp|html)$"
)
# Home and work directories; in pieces, so that this file passes. Nobody's home is an example.
_FOLDERS = "|".join(("home", "Users", "root", "work"))
MACHINE_PATH = re.compile(rf"(?<![\w.])/(?:{_FOLDERS})/(?!somebody\b)[\w.-]+")


def tracked_files() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607  (any git)
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def modules() -> list[str]:
    return [
        path.relative_to(ROOT / "voicecall").as_posix()
        for path in sorted((ROOT / "voicecall").rglob("*.py"))
        if path.name not in {"__init__.py", "__main__.py", "_version.py"}
    ]


def mirror_of(module: str) -> Path:
    path = ROOT / "tests" / module
    return path.with_name(f"test_{path.name}")


def test_every_module_has_a_test_in_the_same_place() -> None:
    untested = {module for module in modules() if not mirror_of(module).is_file()}
    assert untested - TESTED_ELSEWHERE.keys() == set()


def test_exceptions_from_the_mirror_are_still_needed() -> None:
    needless = {
        module
        for module in TESTED_ELSEWHERE
        if mirror_of(module).is_file() or not (ROOT / "voicecall" / module).is_file()
    }
    assert needless == set()


def test_every_test_module_names_its_kind() -> None:
    unmarked = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if not re.search(r"^pytestmark = ", path.read_text("utf-8"), re.MULTILINE)
    }
    assert unmarked == set()


def test_the_changelog_begins_with_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__


def test_no_generated_file_is_kept() -> None:
    assert [name for name in tracked_files() if GENERATED.search(name)] == []


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    found = {}
    for name in tracked_files():
        text = (ROOT / name).read_bytes().decode("utf-8", "replace")
        if match := MACHINE_PATH.search(text):
            found[name] = match[0]
    assert found == {}
