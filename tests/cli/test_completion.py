"""What shells are taught."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from voicecall.cli import main

pytestmark = pytest.mark.unit

DEADLINE_S = 60
# Where the installed command is.
COMMANDS = Path(sys.executable).parent
# Asks as bash does when Tab is pressed; the last word is the one to complete.
ASK_BASH = """
eval "$(voicecall completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_voicecall_completion voicecall
printf '%s\\n' "${COMPREPLY[@]}"
"""


def shell(name: str, *arguments: str, folder: Path) -> list[str]:
    """The lines that a shell prints without a complaint."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    if not (COMMANDS / "voicecall").is_file():
        pytest.skip("needs the installed command")
    done = subprocess.run(  # noqa: S603  (a shell of this machine)
        [found, *arguments],
        env={"PATH": f"{COMMANDS}:{os.environ['PATH']}", "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    def completed(*words: str) -> list[str]:
        given = ["--norc", "-c", ASK_BASH, "bash", "voicecall", *words]
        return shell("bash", *given, folder=tmp_path)

    assert completed("sta") == ["start", "status"]
    assert completed("cont") == ["continue"]
    assert completed("call", "--m") == ["--message", "--mode"]
    assert completed("call", "--mode", "") == ["conversation", "notify"]
    # There is no server to ask for calls.
    assert completed("end", "--call-id", "") == [""]


def test_bash_is_told_where_to_use_it(tmp_path: Path) -> None:
    lines = 'eval "$(voicecall completion bash)"; complete -p voicecall'
    (told,) = shell("bash", "--norc", "-c", lines, folder=tmp_path)
    assert told.endswith("-F _voicecall_completion voicecall")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(main, ["completion", name]).stdout)
    assert shell(name, "-n", str(script), folder=tmp_path) == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_asks_our_command_for_that_shell(name: str) -> None:
    shown = CliRunner().invoke(main, ["completion", name])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert f"_VOICECALL_COMPLETE={name}_complete" in shown.stdout
    assert "_voicecall_completion" in shown.stdout


def test_another_shell_is_named_with_those_that_there_are() -> None:
    shown = CliRunner().invoke(main, ["completion", "tcsh"])
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "'bash', 'zsh', 'fish'" in shown.stderr
