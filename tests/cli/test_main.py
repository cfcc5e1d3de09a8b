"""The command group: finding commands, options, exit statuses."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import types
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

import voicecall.cli
from voicecall import __version__
from voicecall.cli import main
from voicecall.errors import CarrierError, VoicecallError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.unit

HEAVY = ["pydantic", "rich", "json5", "starlette", "granian", "picows", "numpy", "uvloop", "httpx"]


def names() -> list[str]:
    return main.list_commands(click.Context(main))


def loaded_by(code: str) -> list[str]:
    """Which heavy packages another interpreter has loaded after this."""
    look = f"import sys\n{code}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(  # noqa: S603  (our own interpreter and code)
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


@pytest.fixture
def command_that_raises(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[BaseException], None]:
    """Adds a command `broken` to the package that raises what it is given."""

    def add(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        (tmp_path / "broken.py").write_text("")
        module = types.ModuleType("voicecall.cli.broken")
        module.__dict__["command"] = command
        monkeypatch.setattr(voicecall.cli, "__path__", [*voicecall.cli.__path__, str(tmp_path)])
        monkeypatch.setitem(sys.modules, "voicecall.cli.broken", module)

    return add


def test_the_version_is_shown() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"voicecall {__version__}\n")


def test_help_lists_commands_and_no_other_modules() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    listed = result.stdout.partition("Commands:")[2]
    assert "config" in listed
    assert "invocation" not in listed


def test_a_module_added_to_the_package_is_a_command(
    command_that_raises: Callable[[BaseException], None],
) -> None:
    command_that_raises(VoicecallError("x"))
    assert "broken" in CliRunner().invoke(main, ["--help"]).stdout


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["invocation"], ["../config"], ["--nothing"], ["config", "extra"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_an_error_of_ours_is_one_clear_line_and_exit_status_1(
    command_that_raises: Callable[[BaseException], None],
) -> None:
    command_that_raises(CarrierError("the carrier refused: \x1b[31mred"))
    result = CliRunner().invoke(main, ["broken"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: the carrier refused: \\x1b[31mred\n"


def test_verbose_adds_the_traceback(
    command_that_raises: Callable[[BaseException], None],
) -> None:
    command_that_raises(VoicecallError("went wrong"))
    result = CliRunner().invoke(main, ["-v", "broken"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("Error: went wrong\n")


def test_a_bug_is_not_dressed_up_as_a_message(
    command_that_raises: Callable[[BaseException], None],
) -> None:
    command_that_raises(KeyError("bug"))
    result = CliRunner().invoke(main, ["broken"])
    assert isinstance(result.exception, KeyError)


def test_importing_the_command_line_is_light() -> None:
    assert loaded_by("import voicecall.cli") == []


@pytest.mark.parametrize("command", ["", *(name for name in names())])
def test_help_is_light(command: str) -> None:
    code = "from click.testing import CliRunner; from voicecall.cli import main; "
    run = f"assert CliRunner().invoke(main, {[*command.split(), '--help']}).exit_code == 0"
    assert loaded_by(code + run) == []


@pytest.mark.parametrize("command", names())
def test_the_help_of_every_command_has_an_example_that_it_takes(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"])
    told = re.search(r"Example: (.*?)\n\n", shown.stdout, re.DOTALL)
    assert told is not None
    typed = re.search(r"voicecall ([^|>)]*)", " ".join(told[1].split()))
    assert typed is not None
    ctx = main.make_context("voicecall", shlex.split(typed[1]))
    name, found, arguments = main.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
    assert name == command
    assert found is not None
    found.make_context(name, arguments, parent=ctx)


def test_the_package_can_be_run() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "voicecall", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert shown.stdout == f"voicecall {__version__}\n"
