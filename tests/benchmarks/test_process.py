"""What processes use is read from /proc, their descendants included."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest

from benchmarks.load.process import TooFewFiles, allow_files, catches, family, usage

pytestmark = pytest.mark.unit


def test_the_usage_of_a_process_is_what_the_system_tells_it() -> None:
    code = "import os; sum(range(10**7)); print(sum(os.times()[:2]), flush=True); input()"
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        told = float(process.stdout.readline())
        used = usage(process.pid)
        process.communicate(b"\n", timeout=10)
    assert told > 0.02
    assert told - 0.05 <= used.cpu_s <= told + 0.05
    assert used.resident_kib > 1000
    assert used.threads >= 1


def test_descendants_count() -> None:
    grandchild = "print(1, flush=True); input()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        members = family(process.pid)
        assert members[0] == process.pid
        assert len(members) == 2
        assert usage(process.pid).processes == 2
        process.communicate(b"\n", timeout=10)


def test_a_process_that_is_not_there_has_no_usage() -> None:
    with pytest.raises(FileNotFoundError):
        usage(2**22 + 1)


def test_a_handler_for_a_signal_is_seen() -> None:
    earlier = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert catches(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, earlier)
    assert catches(os.getpid(), signal.SIGUSR2) == (earlier not in (signal.SIG_DFL, signal.SIG_IGN))


def test_more_files_than_the_hard_limit_are_refused_with_a_reason() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("there is no limit")
    with pytest.raises(TooFewFiles, match="raise the hard limit"):
        allow_files(hard + 1)
