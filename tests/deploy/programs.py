"""Programs of the system that deploy/ is written for, run by tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

_DEADLINE_S = 30


def program(name: str, package: str) -> str:
    """Where the program is; skips the test where it is not installed."""
    # Debian has servers where only root's search path leads.
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {package}")
    return found


def check(*command: str, **environ: str) -> str:
    """Run it to its end; what it said. Fails the test unless it exits with 0."""
    done = subprocess.run(  # noqa: S603  (the tests' own commands)
        command,
        env={**_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@asynccontextmanager
async def running(
    *command: str, port: int, log: Path, environ: Mapping[str, str] | None = None
) -> AsyncIterator[None]:
    """The program, from when `port` of this machine is open until the context ends."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env={**_environment(), **(environ or {})}
        )
    try:
        async with asyncio.timeout(_DEADLINE_S):
            while not await _open(port):
                assert process.returncode is None, f"it ended; see {log}"
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(_DEADLINE_S):
            await process.wait()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine that signed itself, and its key."""
    made, key = folder / "cert.pem", folder / "key.pem"
    check(
        *(program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
        *("-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(made)),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    )
    return made, key


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}


async def _open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
