"""`voicecall serve` as a process: how it starts, what stops it, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.hosting import CALLEE, TOKEN, free_port, run, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.socket

# Far longer than anything takes here, far shorter than the test's own limit.
DEADLINE_S = 30
AT_ONCE_S = 5.0
BEARER = {"Authorization": f"Bearer {TOKEN}"}

# A caller who only listens, so that the call goes on until somebody ends it.
LISTENER = "{steps: [{do: 'awaitHangUp', withinMs: 60000}]}"


class Process:
    """A server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, ports: tuple[int, int]) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.stream_url = f"http://127.0.0.1:{ports[1]}/voice/stream"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def said(self, text: str) -> str:
        """The next line on standard error that holds `text`."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            if text in line.decode():
                return line.decode().strip()
        raise AssertionError(f"it ended without saying {text!r}")

    async def exit(self) -> tuple[int, str]:
        """Its exit status, and what else it said."""
        assert self._process.stderr is not None
        said = (await self._process.stderr.read()).decode()
        return await self._process.wait(), said


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(folder), **more}


def write(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "voicecall.json5"
    path.write_text(json.dumps(config))
    return path


def command(config: Path) -> list[str]:
    return [sys.executable, "-m", "voicecall", "--config", str(config), "serve"]


@asynccontextmanager
async def serving(folder: Path, **sections: Any) -> AsyncIterator[Process]:
    ports = free_port(), free_port()
    script = folder / "listener.json5"
    script.write_text(LISTENER)
    config = settings(
        **{
            "serve": {"port": ports[0]},
            "streaming": {"port": ports[1]},
            "mock": {"phone": "echo"},
            "bargeIn": {"enabled": False},
            **sections,
        }
    )
    process = await asyncio.create_subprocess_exec(
        *command(write(folder, config)),
        env=environment(folder),
        stderr=asyncio.subprocess.PIPE,
    )
    served = Process(process, ports)
    try:
        ready = await served.said("voicecall is ready")
        assert ready == f"voicecall is ready at {served.url}"
        yield served
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def refusal(folder: Path, config: dict[str, Any], **more: str) -> str:
    """What `serve` says when it exits with 1 instead of serving."""
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        command(write(folder, config)),
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


async def rpc(http: httpx.AsyncClient, method: str, **params: str) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": f"voicecall.{method}", "params": params}
    return dict((await http.post("/rpc", json=body)).json())


async def changes(events: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in events.aiter_lines():
        if line.startswith("data: "):
            change = json.loads(line.removeprefix("data: "))
            yield dict(change.get("params", change))


# --- stopping ------------------------------------------------------------------------------------


def test_sigterm_refuses_what_is_new_ends_what_is_live_and_exits_with_0(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            serving(tmp_path, maxDurationSeconds=60) as served,
            httpx.AsyncClient(base_url=served.url, headers=BEARER, timeout=10) as http,
            http.stream("GET", "/events") as events,
        ):
            seen = changes(events)
            placed = await rpc(
                http, "initiate", message="Hello there.", to=CALLEE, mode="conversation"
            )
            call_id = placed["result"]["callId"]
            async for change in seen:
                if change["type"] == "call.spoken":
                    break
            served.signal(signal.SIGTERM)
            began_s = asyncio.get_running_loop().time()
            # The stream goes on to its proper end, with the end of the call in it.
            ends = [change async for change in seen if change["type"] == "call.ended"]
            assert [(end["callId"], end["state"]) for end in ends] == [(call_id, "hangup-bot")]
            status, said = await served.exit()
            assert status == 0
            assert "stopping" in said
            assert "Traceback" not in said
            assert asyncio.get_running_loop().time() - began_s < 10

    run(case(), within_s=DEADLINE_S)


def test_while_it_drains_calls_and_sockets_are_refused(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            serving(tmp_path) as served,
            httpx.AsyncClient(base_url=served.url, headers=BEARER, timeout=10) as http,
        ):
            upgrade = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version": "13",
            }
            # A socket whose peer does not answer the close keeps the server draining for a second.
            reader, writer = await asyncio.open_connection("127.0.0.1", _port(served.stream_url))
            lines = "".join(f"{name}: {value}\r\n" for name, value in upgrade.items())
            writer.write(f"GET /voice/stream HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
            assert (await reader.readline()).split()[1] == b"101"
            served.signal(signal.SIGTERM)
            await served.said("stopping")
            refused = await rpc(http, "initiate", message="Hi", to=CALLEE)
            assert refused["error"]["data"]["code"] == "capacity_reached"
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/voice/stream", headers=upgrade)).status_code == 503
            writer.transport.abort()
            assert (await served.exit())[0] == 0

    run(case(), within_s=DEADLINE_S)


def _port(url: str) -> int:
    return httpx.URL(url).port or 0


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(tmp_path) as served:
            # A request whose body does not come is waited for, by the first signal.
            _, writer = await asyncio.open_connection("127.0.0.1", _port(served.url))
            writer.write(b"POST /voice/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            await writer.drain()
            served.signal(signal.SIGTERM)
            await served.said("stopping")
            served.signal(signal.SIGTERM)
            async with asyncio.timeout(AT_ONCE_S):
                status, said = await served.exit()
            assert (status, said) == (-signal.SIGTERM, "")
            writer.transport.abort()

    run(case(), within_s=DEADLINE_S)


def test_ctrl_c_stops_it_as_well(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(tmp_path) as served:
            served.signal(signal.SIGINT)
            assert (await served.exit())[0] == 0

    run(case(), within_s=DEADLINE_S)


# --- not starting --------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", ["serve", "streaming"])
def test_a_busy_port_is_one_clear_line(tmp_path: Path, plane: str) -> None:
    async def case() -> None:
        port = free_port()
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
        async with taken:
            config = settings(**{plane: {"port": port}})
            said = await asyncio.to_thread(refusal, tmp_path, config)
        assert len(said.splitlines()) == 1
        assert f"{port}" in said
        assert "in use" in said

    run(case(), within_s=DEADLINE_S)


def test_an_unknown_key_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    said = refusal(tmp_path, settings(streaming={"maxConections": 5}))
    assert said == (
        "Error: streaming.maxConections: unknown key; did you mean streaming.maxConnections?"
    )


def test_a_wrong_value_is_named_with_its_whole_path(tmp_path: Path) -> None:
    said = refusal(tmp_path, settings(serve={"port": 70000}))
    assert said.startswith("Error: serve.port: ")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"enabled": False}, "Error: enabled: is false, so nothing is served; set it to true"),
        (
            {
                "provider": "twilio",
                "fromNumber": "+15550001111",
                "twilio": {"accountSid": "AC1", "authToken": "not told"},
            },
            "Error: publicUrl: twilio reports calls to a URL of this server; set the one that "
            "leads to /voice/webhook here, or a tunnel.provider",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    said = refusal(tmp_path, {**settings(), **change})
    assert said.splitlines()[-1] == complaint
    assert "not told" not in said


@pytest.mark.parametrize(("section", "package"), [("tts", "hibari"), ("stt", "moonshine_voice")])
def test_a_missing_engine_is_named_with_how_to_install_it(
    tmp_path: Path, section: str, package: str
) -> None:
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / f"{package}.py").write_text("raise ImportError('blocked by a test')\n")
    config = settings(**{section: {"provider": "local"}})
    said = refusal(tmp_path, config, PYTHONPATH=str(blocker))
    assert len(said.splitlines()) == 1
    assert "pip install 'voicecall[local]'" in said


def test_a_broken_script_of_the_simulated_caller_is_named(tmp_path: Path) -> None:
    script = tmp_path / "caller.json5"
    script.write_text("{steps: [{do: 'dance'}]}")
    said = refusal(tmp_path, settings(mock={"persona": str(script)}))
    assert f"{script}: steps[0]" in said
