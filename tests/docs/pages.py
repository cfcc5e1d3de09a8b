"""What is in the pages of the documentation: their blocks, and how each is run.

A block's language says what is done with it. `json5` is loaded as a configuration, `python` is a
program, and `bash` is typed into a shell, in which a server or a simulated carrier runs on in the
background as it would in another terminal. `sh` and `text` are shown only: what needs an account,
the network, or somebody's password.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import httpx

DOCS: Final = Path(__file__).parents[2] / "docs"
README: Final = DOCS.parent / "README.md"
PAGES: Final = (README, *sorted(DOCS.glob("*.md")))

READY_URL: Final = "http://127.0.0.1:3334/readyz"
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
}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_RUNS_ON = re.compile(r"voicecall( --config \S+)? (serve|simulate)\b")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

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
    found = _BLOCK.findall(page.read_text("utf-8"))
    return [Block(page, language, text) for language, text in found if language in languages]


class Terminal:
    """Somebody who follows a page, in a folder and with a home of their own.

    Args:
        folder: for both.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()
        bin_folder = Path(sys.executable).parent
        self._environment = {
            "HOME": str(folder),
            "PATH": f"{bin_folder}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **ENVIRONMENT,
        }

    def __enter__(self) -> Self:
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
        process = subprocess.Popen(  # noqa: S603  (as above)
            words,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._running.callback(_end, process)
        if "serve" in words:
            _until(process, command, _ready)
        else:
            written = self._folder / words[words.index("--write") + 1]
            _until(process, command, written.is_file)


def _ready() -> bool:
    try:
        return httpx.get(READY_URL, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _until(process: subprocess.Popen[bytes], command: str, condition: object) -> None:
    assert callable(condition)
    deadline_s = time.monotonic() + READY_S
    while not condition():
        assert process.poll() is None, f"ended: {command}"
        assert time.monotonic() < deadline_s, f"not ready: {command}"
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOPPED_S)
    finally:
        process.kill()
        process.wait()
