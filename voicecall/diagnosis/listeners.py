"""Who listens on a port of this machine, as far as Linux tells."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voicecall.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC: Final = Path("/proc")
_LISTENS: Final = "0A"
# Columns of /proc/net/tcp: the local address, the state, the inode.
_ADDRESS, _STATE, _INODE = 1, 3, 9


@dataclass(frozen=True, slots=True)
class Holder:
    """A process.

    Attributes:
        pid: its number.
        command: its program and first argument, without folders.
    """

    pid: int
    command: str

    @property
    def is_voicecall(self) -> bool:
        """Whether it is one of ours, going by its name."""
        return "voicecall" in self.command

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid})"


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there.

    Raises:
        ServeError: `host` is no address of this machine, or the port takes rights we have not.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise ServeError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return True


def holder(port: int) -> Holder | None:
    """Who listens on TCP port `port`; None when nobody does, or it cannot be told.

    Processes of other users are seen by root only.
    """
    inodes = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not inodes:
        return None
    for process in _PROC.iterdir():
        if process.name.isdigit() and not inodes.isdisjoint(_descriptors(process)):
            return Holder(int(process.name), _command(process))
    return None


def _inodes(port: int) -> Iterator[str]:
    for table in (_PROC / "net/tcp", _PROC / "net/tcp6"):
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if (
                columns[_STATE] == _LISTENS
                and int(columns[_ADDRESS].rpartition(":")[2], 16) == port
            ):
                yield columns[_INODE]


def _descriptors(process: Path) -> Iterator[str]:
    try:
        for descriptor in (process / "fd").iterdir():
            yield os.readlink(descriptor)
    except OSError:
        # Somebody else's, or gone meanwhile.
        return


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return "a process"
    names = [word.rpartition("/")[2] for word in words if word]
    if names and names[0].startswith("python"):
        # What runs in it says more.
        names = [name for name in names[1:] if not name.startswith("-")] or names
    return " ".join(names[:2]) or "a process"
