"""The leash: what it runs never outlives whoever holds it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.exposure.standins import alive
from voicecall.exposure import leash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.socket

DEADLINE_S = 30
LEASH = [sys.executable, "-I", "-S", leash.__file__]
# Tells its number, then waits for ever; the second one also when asked to end.
PATIENT = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
STUBBORN = (
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print(os.getpid(), flush=True)\nwhile True: time.sleep(60)"
)
# Starts another one of its kind, and tells that one's number too.
PARENT = (
    "import subprocess, sys, signal, os;"
    "c = subprocess.Popen([sys.executable, '-IS', '-c', 'import signal; signal.pause()']);"
    "print(os.getpid(), c.pid, flush=True); signal.pause()"
)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)


@pytest.fixture
def held() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts leashes, and ends those that are left."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, environment: str = "{}") -> subprocess.Popen[str]:
        process = subprocess.Popen(  # noqa: S603  (our own interpreter)
            [*LEASH, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(environment + "\n")
        process.stdin.flush()
        return process

    yield start
    for process in started:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        # Letting go is closing its standard input.
        process.stdin.close()
        process.wait(DEADLINE_S)
        process.stdout.close()
        process.stderr.close()


def python(script: str) -> list[str]:
    return [sys.executable, "-IS", "-c", script]


def told(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(number) for number in process.stdout.readline().split()]


def let_go(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(DEADLINE_S)


@pytest.mark.parametrize(
    ("script", "status"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 15)", 128 + 15), ("pass", 0)],
)
def test_it_exits_as_the_command_did(
    held: Callable[..., subprocess.Popen[str]], script: str, status: int
) -> None:
    assert held(*python(script)).wait(DEADLINE_S) == status


def test_the_command_gets_the_variables_and_nothing_to_read(
    held: Callable[..., subprocess.Popen[str]],
) -> None:
    script = "import os, sys; print(os.environ['SECRET'], repr(sys.stdin.read()))"
    process = held(*python(script), environment='{"SECRET": "hush"}')
    assert process.stdout is not None
    assert process.stdout.readline() == "hush ''\n"
    assert "hush" not in " ".join(str(part) for part in process.args)  # type: ignore[union-attr]  # given as a list above


def test_letting_go_ends_the_command(held: Callable[..., subprocess.Popen[str]]) -> None:
    process = held(*python(PATIENT))
    (pid,) = told(process)
    assert alive(pid)
    assert let_go(process) == 128 + signal.SIGTERM
    assert not alive(pid)


def test_a_command_that_will_not_end_is_killed(held: Callable[..., subprocess.Popen[str]]) -> None:
    process = held(*python(STUBBORN))
    (pid,) = told(process)
    assert let_go(process) == 128 + signal.SIGKILL
    assert not alive(pid)


def test_what_the_command_started_ends_with_it(held: Callable[..., subprocess.Popen[str]]) -> None:
    process = held(*python(PARENT))
    pid, helper = told(process)
    assert let_go(process)
    until(lambda: not alive(pid) and not alive(helper))


def test_what_the_command_left_behind_when_it_ended_is_ended(
    held: Callable[..., subprocess.Popen[str]],
) -> None:
    process = held(
        *python(
            PARENT.replace("signal.pause()", "os._exit(3)").replace(
                "import signal; os._exit(3)", "import signal; signal.pause()"
            )
        )
    )
    _, helper = told(process)
    assert process.wait(DEADLINE_S) == 3
    until(lambda: not alive(helper))


def test_the_command_dies_with_a_leash_that_is_killed(
    held: Callable[..., subprocess.Popen[str]],
) -> None:
    process = held(*python(STUBBORN))
    (pid,) = told(process)
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not alive(pid))


def test_a_command_that_is_not_there_or_cannot_be_run_has_a_status_of_its_own(
    held: Callable[..., subprocess.Popen[str]],
) -> None:
    assert held("no-such-program-here").wait(DEADLINE_S) == leash.NOT_FOUND
    process = held(os.path.dirname(leash.__file__))
    assert process.wait(DEADLINE_S) == leash.CANNOT_RUN
    assert process.stderr is not None
    assert "Permission denied" in process.stderr.read()


def test_a_starter_that_dies_before_it_said_anything_leaves_nothing() -> None:
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [*LEASH, *python("print('ran')")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"")
