"""Commands of others that run for us and never longer than we do.

Each runs on a leash (`leash.py`): it ends with this process, however that ends, and gets nothing
from the terminal, Ctrl-C included.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from voicecall.exposure import leash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

NOT_FOUND: Final = leash.NOT_FOUND
CANNOT_RUN: Final = leash.CANNOT_RUN
# The leash ends the command within its own grace, and then itself.
END_TIMEOUT_S: Final = leash.GRACE_MS / 1000 + 1.0
# Lines and outputs longer than any agent's; what is beyond is dropped.
MAX_LINE_OCTETS: Final = 256 * 1024
MAX_OUTPUT_OCTETS: Final = 1024 * 1024
_CHUNK_OCTETS: Final = 64 * 1024


class Leashed:
    """A command in the background, whose output is read line by line.

    Its output has to be read all the time, or it stands still. An asynchronous context manager:
    leaving ends the command.

    Args:
        command: program and arguments; the program is looked for in PATH.
        environment: variables that it gets besides ours; may be secret.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await _start(
            self._command, self._environment, stderr=asyncio.subprocess.STDOUT
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.end()

    async def line(self) -> str | None:
        """The next line that it writes, to either stream; None when there will be none.

        Lines of more than 256 KiB are left out.
        """
        reader = None if self._process is None else self._process.stdout
        too_long = False
        while reader is not None:
            try:
                line = await reader.readuntil()
            except asyncio.LimitOverrunError as error:
                await reader.readexactly(error.consumed)
                too_long = True
            except asyncio.IncompleteReadError as error:
                return None if too_long or not error.partial else _text(error.partial)
            else:
                if not too_long:
                    return _text(line)
                too_long = False
        return None

    async def end(self) -> int:
        """End it, politely first; within 2.5 s. Its exit status, as a shell would say it."""
        return 0 if self._process is None else await _end(self._process)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command that ends by itself.

    Attributes:
        status: its exit status; `NOT_FOUND` when there is no such command.
        out: what it wrote to standard output, 1 MiB at most.
        err: and to standard error.
        timed_out: whether it was ended because it took too long.
    """

    status: int
    out: str
    err: str
    timed_out: bool = False


async def run(command: Sequence[str], timeout_s: float) -> Outcome:
    """Run a command to its end, or end it after `timeout_s` seconds."""
    out, err = bytearray(), bytearray()
    timed_out = False
    process = await _start(command, {}, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as readers:
            readers.create_task(_collect(process.stdout, out))
            readers.create_task(_collect(process.stderr, err))
            readers.create_task(process.wait())
    except TimeoutError:
        timed_out = True
    finally:
        status = await _end(process)
    return Outcome(status, out.decode(errors="replace"), err.decode(errors="replace"), timed_out)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r\n")


async def _start(
    command: Sequence[str], environment: Mapping[str, str], *, stderr: int
) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(Path(leash.__file__)),
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        limit=MAX_LINE_OCTETS,
        # Ctrl-C is for us: we end the command when we are done with it.
        start_new_session=True,
    )
    if process.stdin is not None:
        process.stdin.write(json.dumps(dict(environment)).encode() + b"\n")
        # Should it have died already, its exit status says so.
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
    return process


async def _end(process: asyncio.subprocess.Process) -> int:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(END_TIMEOUT_S):
            return await process.wait()
    except TimeoutError:
        # The leash hangs; the kernel ends the command with it.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()


async def _collect(reader: asyncio.StreamReader | None, kept: bytearray) -> None:
    while reader is not None and (chunk := await reader.read(_CHUNK_OCTETS)):
        kept += chunk[: MAX_OUTPUT_OCTETS - len(kept)]
