"""The server's process as the soak run sees it: started, listened to, measured and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Self

import orjson

from benchmarks.load.machine import ROOT
from benchmarks.load.process import PROC, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

READY_S = 30.0
ANSWER_S = 10.0
STOP_S = 15.0
LINE_MAX_OCTETS = 1 << 20


class ServerEnded(Exception):
    """The server's process has ended, or does not answer any more."""


class ServerProcess:
    """Runs a server for the length of an `async with` block.

    Args:
        on_dial: told of each call it places.
        module: what runs it; tells the same as `benchmarks.soak.target`.
        arguments: of its command line.

    Attributes:
        ready: what it said when it was ready.
    """

    def __init__(
        self,
        on_dial: Callable[[dict[str, Any]], None],
        module: str = "benchmarks.soak.target",
        arguments: Sequence[str] = (),
    ) -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self.ready: dict[str, Any] = {}
        self._on_dial = on_dial
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(16)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_MAX_OCTETS,
        )
        self._reading = asyncio.create_task(self._read())
        try:
            self.ready = await self._answer("ready", READY_S)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    @property
    def control_url(self) -> str:
        """Its control plane."""
        return str(self.ready["control"])

    @property
    def media_url(self) -> str:
        """The stream path of its media port."""
        return f"ws://127.0.0.1:{self.ready['port']}/voice/stream"

    async def census(self, *, full: bool) -> dict[str, Any]:
        """What lives inside it.

        Raises:
            ServerEnded: it does not answer.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.ready["pid"], signal.SIGUSR2 if full else signal.SIGUSR1)
        return await self._answer("census", ANSWER_S)

    def measure(self) -> dict[str, int]:
        """What the system says of it. Raises `ServerEnded`."""
        pid: int = self.ready["pid"]
        try:
            used = usage(pid)
            files = len(list((PROC / str(pid) / "fd").iterdir()))
        except (FileNotFoundError, ProcessLookupError) as error:
            raise ServerEnded("the server's process is gone") from error
        return {
            "residentKib": used.resident_kib,
            "openFiles": files,
            "threads": used.threads,
            "cpuMs": round(used.cpu_s * 1000),
        }

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = orjson.loads(line)
            if message["event"] == "dial":
                self._on_dial(message)
            else:
                await self._answers.put(message)
        await self._answers.put(None)

    async def _answer(self, event: str, within_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(within_s):
                message = await self._answers.get()
        except TimeoutError:
            raise ServerEnded(f"the server gives no answer within {within_s:.0f} s") from None
        if message is None or message["event"] != event:
            raise ServerEnded(f"the server has ended instead of saying {event}")
        return message

    async def _stop(self) -> None:
        process, reading = self._process, self._reading
        assert process is not None
        assert reading is not None
        for stop in (process.terminate, process.kill):
            with contextlib.suppress(ProcessLookupError):
                stop()
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
                break
            except TimeoutError:
                continue
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
