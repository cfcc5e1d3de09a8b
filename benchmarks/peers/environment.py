"""The virtual environments and the C program that the peers run in, made once and kept."""

import contextlib
import fcntl
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
BUILD = ROOT / "build" / "bench"
DEADLINE_S = 900
COMPILE = ("-O2", "-std=c11", "-Wall", "-Wextra")


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Keep others from making the same thing at the same time, in this process or another."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def requirements(name: str) -> Path:
    """The pins of the peer `name`."""
    return FOLDER / "envs" / f"{name}.txt"


def interpreter(name: str) -> Path:
    """Python in the environment of the peer `name`, which may not exist yet."""
    return BUILD / "envs" / name / "bin" / "python"


def is_ready(name: str) -> bool:
    """Whether the environment of `name` was made completely, from these pins and this Python."""
    with contextlib.suppress(FileNotFoundError):
        return _stamp(name).read_text() == _recipe(name)
    return False


def _stamp(name: str) -> Path:
    return BUILD / "envs" / name / "recipe"


def _recipe(name: str) -> str:
    return f"# Python {platform.python_version()}\n{requirements(name).read_text()}"


def _call(*command: str | Path) -> None:
    """Run a command whose output goes to stderr: stdout belongs to the ready line."""
    subprocess.run(command, check=True, timeout=DEADLINE_S, stdout=sys.stderr)


def environment(name: str) -> Path:
    """Python in the environment of the peer `name`, made first where it is missing or outdated.

    Raises:
        CalledProcessError: it cannot be made; pip has said why on stderr.
    """
    with alone(name):
        if not is_ready(name):
            folder = BUILD / "envs" / name
            _call(sys.executable, "-m", "venv", "--clear", "--without-pip", folder)
            pip = (sys.executable, "-m", "pip", "--python", folder)
            _call(*pip, "install", "-q", "-r", requirements(name))
            _stamp(name).write_text(_recipe(name))
    return interpreter(name)


def compiled(source: Path) -> Path:
    """The program compiled from one C file, compiled first where the file is newer.

    `CC` in the environment names another compiler than `cc`.

    Raises:
        CalledProcessError: it does not compile; the compiler has said why on stderr.
    """
    program = BUILD / source.stem
    with alone(source.stem):
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            fresh = program.with_suffix(".fresh")
            _call(os.environ.get("CC", "cc"), *COMPILE, source, "-o", fresh)
            fresh.replace(program)
    return program
