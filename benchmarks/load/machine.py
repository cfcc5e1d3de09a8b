"""On what a measurement was made: nothing that names the machine or its folders."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("voicecall", "picows", "uvloop", "orjson", "numpy", "soxr")


def describe() -> dict[str, object]:
    """Machine, versions and date, for the header of a report."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memoryGib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "congestionControl": _first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "python": platform.python_version(),
        "compiler": _output("cc", "--version").partition("\n")[0],
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "revision": _revision(),
    }


def command_line(module: str) -> str:
    """How this program was started."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(path: str) -> str:
    file = Path(path)
    return file.read_text().partition("\n")[0] if file.exists() else ""


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False
    )
    return result.stdout.strip()


def _revision() -> str:
    """The commit, and whether files differ from it; empty outside of a clone."""
    revision = _output("git", "rev-parse", "--short", "HEAD")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    return f"{revision}, changed" if revision and changed else revision
