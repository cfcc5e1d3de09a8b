"""A real database server in a process of its own, for tests."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from tests.hosting import free_port
from voicecall.clock import ManualClock
from voicecall.store.redis import RedisCallStore
from voicecall.store.redis_address import RedisAddress
from voicecall.store.redis_link import RedisLink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

T = TypeVar("T")

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")
MISSING = "needs valkey-server or redis-server: apt-get install redis-server"

_DEADLINE_S = 20


@dataclass(slots=True)
class DatabaseServer:
    """One that keeps what it acknowledges, in `folder`.

    Attributes:
        folder: where its files are.
        options: more of its command line.
        port: where it listens, at every start.
    """

    folder: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROGRAM is not None
        tls = "--tls-port" in self.options
        command = [PROGRAM, "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--port", "0" if tls else str(self.port), "--save", "", "--appendonly", "yes"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  (the installed server)
                [*command, *self.options], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _DEADLINE_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the database server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def url(self, **options: str) -> str:
        """A database of its own for whoever asks, unless `prefix` says which."""
        options = {"prefix": f"{uuid.uuid4().hex}:", **options}
        return f"redis://127.0.0.1:{self.port}/0?" + "&".join(
            f"{name}={value}" for name, value in options.items()
        )

    def address(self, **options: str) -> RedisAddress:
        return RedisAddress.parse(self.url(**options), server="one")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            try:
                probe.connect(("127.0.0.1", self.port))
            except OSError:
                return False
            if "--tls-port" in self.options:
                return True
            probe.sendall(b"PING\r\n")
            # Once a password is wanted, that is an answer, too; one that still loads says so.
            return probe.recv(64)[:5] in (b"+PONG", b"-NOAU")


async def eventually(ask: Callable[[], Awaitable[T | None]], within_s: float = 20) -> T:
    """The first answer that there is."""
    async with asyncio.timeout(within_s):
        while (answer := await ask()) is None:  # noqa: ASYNC110  (no event is behind a database)
            await asyncio.sleep(0.01)
    return answer


@asynccontextmanager
async def opened(address: RedisAddress, **more: Any) -> AsyncIterator[RedisCallStore]:
    store = RedisCallStore(address, **{"clock": ManualClock(), **more})
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def linked(address: RedisAddress, **more: Any) -> AsyncIterator[RedisLink]:
    link = RedisLink(address, **more)
    try:
        yield link
    finally:
        await link.close()
