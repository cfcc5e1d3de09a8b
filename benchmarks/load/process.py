"""What processes use, from /proc."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

PROC = Path("/proc")
TICK_HZ = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class TooFewFiles(RuntimeError):
    """The system does not allow as many open files as a run needs."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and all its descendants use.

    Attributes:
        cpu_s: user and system time since they began.
        resident_kib: memory; pages that they share count for each.
        threads: of all of them.
        processes: how many they are.
    """

    cpu_s: float
    resident_kib: int
    threads: int
    processes: int


def _fields(pid: int) -> list[str]:
    """What `/proc/PID/stat` says after the name, which may hold anything."""
    return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """`pid` and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parent = int(_fields(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    members = [pid]
    for member in members:
        members += children.get(member, [])
    return members


def usage(pid: int) -> Usage:
    """What `pid` and its descendants use at this moment.

    Raises:
        FileNotFoundError: there is no such process.
    """
    if not (PROC / str(pid)).exists():
        raise FileNotFoundError(f"there is no process {pid}")
    cpu_ticks = resident_pages = threads = processes = 0
    for member in family(pid):
        try:
            fields = _fields(member)
        except (FileNotFoundError, ProcessLookupError):
            continue
        cpu_ticks += int(fields[11]) + int(fields[12])
        threads += int(fields[17])
        resident_pages += int(fields[21])
        processes += 1
    return Usage(cpu_ticks / TICK_HZ, resident_pages * PAGE_KIB, threads, processes)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for a signal."""
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def allow_files(count: int) -> None:
    """Let this process and those it starts open `count` files each.

    Raises:
        TooFewFiles: the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and count > hard:
        raise TooFewFiles(
            f"{count} open files are needed, {hard} are allowed: raise the hard limit (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
