"""What is in the pages of the documentation: their blocks, and how each is run.

A block's language says what is done with it. `json5` is loaded as a configuration, `python` is a
program, and `bash` is typed into a shell, in which a server or a simulated carrier runs on in the
background as it would in another terminal. `sh` and `text` are shown only: what needs an account,
the network, or somebody's password. Where a page says to press Enter in that other terminal, that
is a block as well, of the language `enter`.

The pages use the usual ports, so whoever follows one has to be alone with them on this machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS: Final = Path(__file__).parents[2] / "docs"
README: Final = DOCS.parent / "README.md"
PAGES: Final = (README, *sorted(DOCS.glob("*.md")))

PORTS: Final = (3334, 3335)
READY: Final = "voicecall is ready at"
# Somebody else's turn may take as long as a test may.
ALONE_S: Final = 240.0
READY_S: Final = 60.0
COMMAND_S: Final = 150.0
STOPPED_S: Final = 20.0
# Every variable that the pages speak of.
ENVIRONMENT: Final = {
    "TWILIO_ACCOUNT_SID": f"AC{'1' * 32}",
    "TWILIO_AUTH_TOKEN": "1" * 32,
    "TELNYX_API_KEY": "KEY1",
    "TELNYX_CONNECTION_ID": "1234567890",
    "TELNYX_PUBLIC_KEY": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "PLIVO_AUTH_ID": f"MA{'1' * 18}",
    "PLIVO_AUTH_TOKEN": "1" * 32,
    "OPENAI_API_KEY": "sk-1",
    "DEEPGRAM_API_KEY": "1",
    "ELEVENLABS_API_KEY": "1",
    "CRM_TOKEN": "1",
    "NGROK_AUTHTOKEN": "1",
}
_BLOCK = re.compile(
    r"^```(?P<language>\w+)\n(?P<text>.*?)^```$|(?P<enter>Press Enter in the first terminal)",
    re.DOTALL | re.MULTILINE,
)
_RUNS_ON = re.compile(r"voicecall( --config \S+)? (serve|simulate)\b")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, or what else there is to do.

    Attributes:
        page: where it is.
        language: what is in it.
        text: all of it.
    """

    page: Path
    language: str
    text: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in these languages, in order."""
    found = _BLOCK.finditer(page.read_text("utf-8"))
    all_of_them = [
        Block(page, each["language"] or "enter", each["text"] or each["enter"]) for each in found
    ]
    return [block for block in all_of_them if block.language in languages]


class Terminal:
    """Somebody who follows a page, in a folder and with a home of their own.

    Args:
        folder: for both.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()
        self._first: subprocess.Popen[bytes] | None = None
        bin_folder = Path(sys.executable).parent
        self._environment = {
            "HOME": str(folder),
            "PATH": f"{bin_folder}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **ENVIRONMENT,
        }

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            entered.enter_context(_alone())
            self._running = entered.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def type(self, block: Block) -> list[str]:
        """Do what a block says; what each command printed.

        Raises:
            AssertionError: a command failed.
        """
        printed = []
        commands = block.text.replace("\\\n", " ").splitlines()
        for command in filter(None, (line.partition(" #")[0].strip() for line in commands)):
            if _RUNS_ON.match(command):
                self._begin(command)
            else:
                printed.append(self.run(["bash", "-euo", "pipefail", "-c", command]))
        return printed

    def press_enter(self) -> None:
        """Press Enter in the terminal of what was begun first."""
        assert self._first is not None, "nothing was begun"
        assert self._first.stdin is not None
        self._first.stdin.write(b"\n")
        self._first.stdin.flush()

    def records(self, command: str) -> list[dict[str, Any]]:
        """The calls that a command prints as JSON."""
        printed = json.loads(self.run(shlex.split(command)))
        return list(printed["calls"])

    def run(self, command: list[str]) -> str:
        """Run one command to its end."""
        done = subprocess.run(  # noqa: S603  (commands of our own pages)
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _begin(self, command: str) -> None:
        words = shlex.split(command)
        said = self._folder / f"said-{words[-1]}.txt"
        with said.open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603  (as above)
                words,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        self._first = self._first or process
        self._running.callback(_end, process)
        try:
            if "serve" in words:
                # Said by this one; a port might be answered by another.
                _until(process, lambda: READY in said.read_text())
            else:
                _until(process, (self._folder / words[words.index("--write") + 1]).is_file)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {command}\n{said.read_text()}") from error


@contextmanager
def _alone() -> Iterator[None]:
    """Nobody else follows a page at the same time, and the ports are free."""
    turn = Path(tempfile.gettempdir()) / f"voicecall-docs-{os.getuid()}.lock"
    with turn.open("a") as lock:
        wait_for(lambda: _locked(lock.fileno()), ALONE_S, "somebody else follows a page for ever")
        for port in PORTS:
            wait_for(partial(_is_free, port), ALONE_S, f"port {port} is taken")
        yield


def _locked(file: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        # As servers do; otherwise connections that ended a moment ago would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def wait_for(condition: Callable[[], object], within_s: float, complaint: str) -> None:
    """Wait for what another process brings about."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= deadline_s:
            raise TimeoutError(complaint)
        time.sleep(0.1)


def _until(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    wait_for(lambda: process.poll() is not None or condition(), READY_S, "not ready")
    if process.poll() is not None:
        raise TimeoutError("ended")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOPPED_S)
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
