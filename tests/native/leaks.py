"""A pytest plugin: once all tests are done, memory of the compiled core that nobody can free fails.

For runs under AddressSanitizer, whose LeakSanitizer looks for memory that no pointer leads to. It
is asked before the interpreter ends, since that leaves much behind by design. Objects which the
garbage collector knows are always led to; `tests/soak` counts those.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tempfile
from typing import TYPE_CHECKING

from voicecall._codec import ulaw_encode

if TYPE_CHECKING:
    import pytest

# Functions of the extension have this in their frames.
OURS = "_codec"
LEAKED = 1


def leaks_in(report: str) -> list[str]:
    """The parts of LeakSanitizer's report that tell of allocations made by the compiled core."""
    parts = report.split("\n\n")
    return [part.strip() for part in parts if " leak of " in part and OURS in part]


def check() -> list[str]:
    """Look for leaks in this process.

    Raises:
        AttributeError: it does not run under a sanitizer that looks for leaks.
    """
    look = ctypes.CDLL(None).__lsan_do_recoverable_leak_check
    gc.collect()
    # What has returned leaves its pointers on the stack.
    _overwrite_stack(depth=500)
    sys.stderr.flush()
    with tempfile.TemporaryFile() as report:
        kept = os.dup(2)
        try:
            os.dup2(report.fileno(), 2)
            look()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        report.seek(0)
        return leaks_in(report.read().decode(errors="replace"))


def _overwrite_stack(depth: int) -> int:
    return sum((depth,) * 9) + _overwrite_stack(depth - 1) if depth else 0


def leak(count: int = 50) -> None:
    """Leak on purpose, to see that it is found."""
    for n in range(count):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(ulaw_encode(bytes(100 + 2 * n))))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run that has leaked."""
    leaks = check()
    for leak in leaks:
        sys.stderr.write(f"\n{leak}\n")
    sys.stderr.write(f"\n{len(leaks)} leaks in the compiled core\n")
    if leaks:
        session.exitstatus = LEAKED


if __name__ == "__main__":
    leak()
    sys.exit(0 if check() else 1)
