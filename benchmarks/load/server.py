"""The server under load: a command that is started, asked and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from benchmarks.load.machine import ROOT
from benchmarks.load.process import catches

if TYPE_CHECKING:
    from types import TracebackType

# Lines of a server that nobody has asked for yet; the oldest go first.
LINES_MAX = 256
ANSWER_S = 5.0
STOP_S = 10.0


class ServerFailed(RuntimeError):
    """The server under load did not start, or has ended."""


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """Runs a server for the length of a `with` block, on one core.

    Its command prints a JSON line with `pid` and `port` when connections are accepted. Nothing of
    it is left afterwards: it has a process group of its own, which is killed when it does not end.

    Args:
        command: with `{port}` where the port belongs; `python` is the interpreter that runs this.
        core: the only CPU core it may use; None for all.
        ready_s: how long it may take to accept connections; a peer may have to be installed first.
    """

    def __init__(self, command: str, core: int | None, ready_s: float = 60) -> None:
        self.command = command
        self.ready: dict[str, Any] = {}
        self._core = core
        self._ready_s = ready_s
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue(LINES_MAX)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Process id of the server itself."""
        return int(self.ready["pid"])

    @property
    def port(self) -> int:
        """TCP port on loopback."""
        return int(self.ready["port"])

    def __enter__(self) -> Self:
        arguments = shlex.split(self.command.replace("{port}", str(free_port())))
        if arguments[0] == "python":
            arguments[0] = sys.executable
        self._process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=self._pin if self._core is not None else None,  # noqa: PLW1509 - before its threads; this process has none that hold locks
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.ready = self._answer("pid", self._ready_s)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def counters(self) -> dict[str, Any] | None:
        """What it has counted so far; None when it does not answer to SIGUSR1."""
        if not catches(self.pid, signal.SIGUSR1):
            return None
        os.kill(self.pid, signal.SIGUSR1)
        return self._answer("event", ANSWER_S)

    def _pin(self) -> None:
        assert self._core is not None
        os.sched_setaffinity(0, {self._core})

    def _read(self) -> None:
        """Thread: keep the JSON lines that the server prints."""
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                message = json.loads(line)
                if isinstance(message, dict):
                    self._keep(message)
        self._keep(None)

    def _keep(self, message: dict[str, Any] | None) -> None:
        while True:
            try:
                self._lines.put_nowait(message)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._lines.get_nowait()
            else:
                return

    def _answer(self, key: str, within_s: float) -> dict[str, Any]:
        """The next line that has `key`."""
        end_s = time.monotonic() + within_s
        while True:
            try:
                message = self._lines.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                raise ServerFailed(f"no answer within {within_s:.0f} s: {self.command}") from None
            if message is None:
                raise ServerFailed(f"the server has ended: {self.command}")
            if key in message:
                return message

    def _stop(self) -> None:
        process, reader = self._process, self._reader
        assert process is not None
        assert reader is not None
        for number, wait_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, STOP_S)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wait_s)
                break
        # The leader has ended; what it started goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        reader.join(STOP_S)
        if process.stdout is not None:
            process.stdout.close()
