"""`voicecall serve` as the process that is killed, and starts again on the same ports and store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from benchmarks.load.machine import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TOKEN = "soak"
READY_S = 60.0
STOP_S = 15.0
REQUEST_S = 20.0
POLL_S = 0.02
# Below the ports that the system gives to clients: while the server is down nobody else may take
# its port, or be connected to himself by it.
PORTS = range(20_000, 32_000)


# The last is how the HTTP client comes upon a connection that was reset as soon as it was made.
GONE = (httpx.HTTPError, AttributeError)


class NotReady(Exception):
    """The server has ended, or is not ready in time."""


class Refused(Exception):
    """The server does not do what a client asks for.

    Attributes:
        code: which of its errors it was.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: str = error.get("data", {}).get("code", "")


class Victim:
    """One server that is started and killed again and again.

    Args:
        folder: where its configuration and its log belong.
        settings: the configuration.

    Attributes:
        url: of its control plane.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.url = f"http://127.0.0.1:{settings['serve']['port']}"
        self._log = folder / "server.log"
        self._config = folder / "voicecall.json5"
        self._config.write_text(json.dumps({**settings, "rpc": {"token": TOKEN}}))
        self._config.chmod(0o600)
        self._process: asyncio.subprocess.Process | None = None
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=REQUEST_S,
            limits=httpx.Limits(max_connections=100, keepalive_expiry=1.0),
            trust_env=False,
        )

    async def start(self) -> None:
        """Begin a new process; the one before has to be gone."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("VOICECALL_")
        }
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "voicecall", "--config", str(self._config), "serve"),
                cwd=ROOT,
                env=environment,
                stderr=log,
            )

    async def until_ready(self) -> None:
        """Wait until it says that it is ready. Raises `NotReady`."""
        deadline_s = time.monotonic() + READY_S
        while time.monotonic() < deadline_s:
            if self._process is None or self._process.returncode is not None:
                raise NotReady(f"the server has ended: {self._last_words()}")
            with contextlib.suppress(*GONE):
                if (await self._http.get("/readyz")).is_success:
                    return
            await asyncio.sleep(POLL_S)
        raise NotReady(f"the server is not ready within {READY_S:.0f} s")

    async def kill(self) -> None:
        """End it without a warning, whatever it does. Raises `NotReady` if it has ended before."""
        if self._process is not None and self._process.returncode is not None:
            status = self._process.returncode
            raise NotReady(f"the server has ended with {status}: {self._last_words()}")
        await self._end("kill")

    async def stop(self) -> None:
        """End it in order, if it runs, and give up the connections to it."""
        try:
            async with asyncio.timeout(STOP_S):
                await self._end("terminate")
        except TimeoutError:
            await self._end("kill")
        await self._http.aclose()

    async def _end(self, how: str) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                getattr(self._process, how)()
            await self._process.wait()
            self._process = None

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-500:].strip()

    # --- as a client --------------------------------------------------------------------------

    async def ask(self, method: str, **params: str) -> dict[str, Any]:
        """What an RPC method returns.

        Raises:
            Refused: it does not do it.
            one of `GONE`: it did not say, for it was killed.
        """
        body = {"jsonrpc": "2.0", "id": 1, "method": f"voicecall.{method}", "params": params}
        answer = await self._http.post("/rpc", content=orjson.dumps(body))
        answer.raise_for_status()
        told = orjson.loads(answer.content)
        if "error" in told:
            raise Refused(told["error"])
        return dict(told["result"])

    async def state(self) -> dict[str, Any]:
        """What `/readyz` says."""
        return dict(orjson.loads((await self._http.get("/readyz")).content))


def fixed_ports(count: int) -> list[int]:
    """TCP ports of loopback that nobody listens on, and no client is given."""
    found: list[int] = []
    for port in PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("there are no free ports")
