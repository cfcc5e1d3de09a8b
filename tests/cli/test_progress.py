"""A spinner for people, and for nobody else."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.terminal import Terminal
from voicecall.cli.progress import log_lines_above, working

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

# Works until Ctrl-D is pressed, which is not echoed, and says something on each way out meanwhile.
PROGRAM = """
import logging, sys
from voicecall import log
from voicecall.cli.progress import working

log.configure("INFO", sys.stderr)
with working("thinking hard"):
    logging.getLogger("voicecall.test").warning("a log line")
    print("a result", flush=True)
    sys.stdin.read()
logging.getLogger("voicecall.test").warning("another log line")
"""


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}


def test_nobody_else_sees_it(capfd: pytest.CaptureFixture[str]) -> None:
    with working("thinking hard"), log_lines_above():
        pass
    assert capfd.readouterr() == ("", "")


def test_people_see_it_until_the_work_is_done_with_log_lines_above(tmp_path: Path) -> None:
    with (
        (tmp_path / "results").open("wb") as results,
        Terminal([sys.executable, "-c", PROGRAM], environment(tmp_path), stdout=results) as shown,
    ):
        picture = shown.sees("thinking hard", "a log line")
        assert shown.cursor_hidden()
        lines = picture.splitlines()
        assert len(lines) == 2
        assert lines[0].endswith("WARNING voicecall.test a log line")
        assert lines[1].endswith(" thinking hard")
        shown.press(b"\x04")
        assert shown.exit() == 0
        assert "thinking" not in shown.picture
        assert shown.picture.splitlines()[-1].endswith("another log line")
        assert not shown.cursor_hidden()
    # What is for a pipe goes there, whatever turns on the terminal.
    assert (tmp_path / "results").read_text() == "a result\n"
