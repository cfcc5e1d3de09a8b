"""A command that cannot outlive whoever started it: `python -I -S leash.py COMMAND...`.

The starter holds the other end of this process's standard input. When that is closed, because the
starter let go or because it died of whatever cause, the command and all of its process group are
ended: politely first, then not. The kernel's own signal for orphans would not do alone: it comes
when the thread that started a child ends, which in a server may be any, and it reaches one process
only. Here it is the second line: this process has one thread, and should it be killed itself, the
command dies with it.

The first line of standard input is a JSON object of environment variables to add, so that secrets
are on no command line and in nobody else's environment.

Exits as the command did, with 127 when there is no such command and 126 when it cannot be run.

Stands alone, on the standard library, to start within milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys

# How long the command may take to end when asked to.
GRACE_MS = 1500
CANNOT_RUN = 126
NOT_FOUND = 127
_SIGNALLED = 128
_PR_SET_PDEATHSIG = 1  # prctl(2)
_STDIN = 0


def main(command: list[str]) -> int:
    """Run `command` until it ends or standard input does; the status to exit with."""
    first = sys.stdin.buffer.readline()
    if not first:
        return 0
    environment = {**os.environ, **json.loads(first)}
    libc, leash = ctypes.CDLL(None), os.getpid()

    def die_with_leash() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != leash:
            os._exit(0)

    try:
        child = subprocess.Popen(  # noqa: S603  (our starter says what to run)
            command,
            stdin=subprocess.DEVNULL,
            env=environment,
            process_group=0,
            preexec_fn=die_with_leash,  # noqa: PLW1509  (there is only one thread here)
        )
    except FileNotFoundError:
        return NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return CANNOT_RUN
    ended = os.pidfd_open(child.pid)
    if not _hang_up(ended, None):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        _hang_up(ended, GRACE_MS)
    # What is left of the group; while the child is not reaped, the group's number is its own.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    status = child.wait()
    return status if status >= 0 else _SIGNALLED - status


def _hang_up(ended: int, within_ms: int | None) -> bool:
    """Wait for the child's end; without a limit for the starter's as well. Whether it ended."""
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    if within_ms is None:
        poll.register(_STDIN, select.POLLIN | select.POLLHUP)
    return any(descriptor == ended for descriptor, _ in poll.poll(within_ms))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
