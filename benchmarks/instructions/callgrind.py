"""Runs the driver under callgrind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.instructions.dumps import Dump, dump_of

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
COMPILE_DEADLINE_S = 60
RUN_DEADLINE_S = 300

# Nothing of the caller's environment: its size moves the stack, its settings the interpreter.
# What is free at the end of the heap is not given back, which would be done now and then.
ENVIRONMENT = {
    "PATH": os.defpath,
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1073741824",
}


class CannotCount(RuntimeError):
    """What is needed for counting is not there, or has failed."""


def _run(command: Sequence[str], deadline_s: int) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotCount(f"{command[0]} took longer than {deadline_s} s") from error
    if done.returncode:
        raise CannotCount(f"{command[0]} failed:\n{done.stderr}")


def build_requests(folder: Path) -> Path:
    """Compile requests.c; returns the library.

    Raises:
        CannotCount: there is no compiler, or no header of valgrind.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise CannotCount("counting instructions needs a C compiler")
    library = folder / "requests.so"
    source = FOLDER / "requests.c"
    _run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], COMPILE_DEADLINE_S)
    return library


def count(folder: Path, names: Sequence[str] = ()) -> dict[Path, Dump]:
    """Count the named cases, or all.

    Returns:
        What callgrind wrote, by its files in `folder`.

    Raises:
        CannotCount: valgrind or a compiler is missing, or the driver failed.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise CannotCount("counting instructions needs valgrind")
    with tempfile.TemporaryDirectory(prefix="voicecall-budget-") as scratch:
        library = build_requests(Path(scratch))
        command = [
            *(valgrind, "--tool=callgrind", "--quiet", "--instr-atstart=no"),
            f"--callgrind-out-file={folder / 'callgrind.out'}",
            *(sys.executable, "-m", "benchmarks.instructions.driver", str(library), *names),
        ]
        _run(command, RUN_DEADLINE_S)
    files = sorted(folder.glob("callgrind.out.*"))
    return {file: dump for file in files if (dump := dump_of(file.read_text())) is not None}
