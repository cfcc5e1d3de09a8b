"""`voicecall demo` where it cannot begin; tests/e2e/test_demo.py runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from voicecall.cli import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "recordings"
    result = CliRunner().invoke(main, ["demo", "--output", str(folder)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: --output: cannot write to {folder}: Not a directory\n"


@pytest.mark.parametrize("package", ["hibari", "moonshine_voice"])
def test_a_missing_engine_is_named_with_how_to_install_it(tmp_path: Path, package: str) -> None:
    (tmp_path / f"{package}.py").write_text("raise ImportError('blocked by a test')\n")
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-m", "voicecall", "demo", "--json", "--output", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith("is not installed: pip install 'voicecall[local]'")
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
