"""A terminal with a program in it: what a person sees, and the keys that are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import termios
import threading
import time
from typing import IO, TYPE_CHECKING, Self

import pyte
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

DEADLINE_S = 30.0
CTRL_C = b"\x03"


class Terminal:
    """Runs a command as if somebody had typed it, and keeps the picture that it draws.

    Args:
        command: the program and its arguments.
        env: its environment.
        columns: the width of the terminal.
        lines: its height.
        stdout: where standard output goes, as after `|` or `>`; the terminal when None.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        columns: int = 100,
        lines: int = 40,
        stdout: IO[bytes] | None = None,
    ) -> None:
        setsid = shutil.which("setsid")
        if setsid is None:
            pytest.skip("needs the setsid command to give a program a terminal of its own")
        self._outer, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        # With the terminal as its own, so that Ctrl-C means this process.
        self.process = subprocess.Popen(  # noqa: S603  (our own interpreter)
            [setsid, "--ctty", *command],
            stdin=inner,
            stdout=stdout or inner,
            stderr=inner,
            env={**env, "TERM": "xterm-256color"},
        )
        os.close(inner)
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = threading.Condition()
        self._over = False
        self.octets = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(DEADLINE_S)
        os.close(self._outer)

    @property
    def picture(self) -> str:
        """What is to be seen now, without blanks at the ends of lines and below."""
        with self._changed:
            return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def cursor_hidden(self) -> bool:
        with self._changed:
            return bool(self._screen.cursor.hidden)

    def press(self, keys: bytes) -> None:
        os.write(self._outer, keys)

    def sees(self, *texts: str) -> str:
        """Wait until the picture holds all of `texts`; the picture."""
        return self.until(lambda picture: all(text in picture for text in texts), repr(texts))

    def until(self, condition: Callable[[str], object], what: str) -> str:
        give_up_s = time.monotonic() + DEADLINE_S
        while True:
            with self._changed:
                picture = "\n".join(line.rstrip() for line in self._screen.display).rstrip()
                if condition(picture):
                    return picture
                left_s = give_up_s - time.monotonic()
                assert not self._over, f"it ended without showing {what}:\n{picture}"
                assert left_s > 0, f"never saw {what} but:\n{picture}"
                self._changed.wait(left_s)

    def exit(self) -> int:
        """The exit status of the program, once it is over and everything was drawn."""
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status

    def _read(self) -> None:
        while True:
            try:
                octets = os.read(self._outer, 65536)
            except OSError:
                # Linux tells that nobody has the terminal open any more by an error.
                octets = b""
            with self._changed:
                self._over = not octets
                self.octets += octets
                self._stream.feed(octets)
                self._changed.notify_all()
            if not octets:
                return
