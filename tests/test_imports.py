"""Importing is cheap and does nothing, and only the media plane meets the compiled core."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent

IMPORTED_BY = """
import sys
before = set(sys.modules)
import {module}
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}))
"""

# Finding out what an import does besides: threads, files, sockets, handlers, environment.
EFFECTS_OF = """
import logging, os, sys, threading
effects = []
def hook(event, args):
    if event in {{"socket.__new__", "subprocess.Popen", "os.mkdir"}}:
        effects.append(event)
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        effects.append(f"open {{args[0]}}")
sys.dont_write_bytecode = True
sys.addaudithook(hook)
environment = dict(os.environ)
import {module}
effects += [thread.name for thread in threading.enumerate()[1:]]
effects += map(repr, logging.getLogger().handlers + logging.getLogger("voicecall").handlers)
if dict(os.environ) != environment:
    effects.append("environment")
print(effects)
"""


def run_python(code: str) -> str:
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def third_party_imported_by(module: str) -> set[str]:
    imported = set(run_python(IMPORTED_BY.format(module=module)).split())
    return imported - sys.stdlib_module_names - {"voicecall"}


def test_importing_the_package_loads_nothing_but_itself() -> None:
    assert third_party_imported_by("voicecall") == set()


def test_importing_the_command_line_loads_click_alone() -> None:
    assert third_party_imported_by("voicecall.cli") == {"click"}


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_command_is_shown_without_loading_what_it_runs(command: str) -> None:
    assert third_party_imported_by(f"voicecall.cli.{command}") == {"click"}


@pytest.mark.parametrize("module", ["voicecall", "voicecall.cli", "voicecall.server"])
def test_an_import_has_no_effects(module: str) -> None:
    assert run_python(EFFECTS_OF.format(module=module)) == "[]"


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_only_the_media_plane_and_the_audio_formats_import_the_compiled_core() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "voicecall").rglob("*.py")
        if "voicecall._codec" in imports_of(path)
    }
    users.remove("voicecall/audio.py")
    assert users
    assert {Path(user).parent.as_posix() for user in users} == {"voicecall/media"}
