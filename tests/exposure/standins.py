"""Executables that behave as the documentation of `ngrok` and `tailscale` says, without a network.

Each is a script in a folder of the test's, found by PATH. What it should do is in a JSON file next
to it; what it was asked is in another.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import signal

# Forwards every connection to the local port, with the headers that the service adds to each
# request added to the first one.
# SIGUSR1 takes the connection to the service away, SIGUSR2 restores it at another URL.
NGROK = r"""#!{python} -IS
import asyncio, json, os, signal, subprocess, sys
from urllib.parse import urlsplit
folder = {folder!r}
asked = json.load(open(folder + "/ngrok.json"))
with open(folder + "/ngrok.runs", "a") as runs:
    run = {{"pid": os.getpid(), "argv": sys.argv[1:], "token": os.environ.get("NGROK_AUTHTOKEN")}}
    runs.write(json.dumps(run) + "\n")


def say(message, lvl="info", **fields):
    print(json.dumps({{"lvl": lvl, "msg": message, "t": "2026-01-01", **fields}}), flush=True)


def authenticate():
    trouble = asked.get("refuses")
    if trouble:
        say("failed to reconnect session", "eror", obj="tunnels.session", err=trouble)
        say("command failed", "crit", err=trouble)
        for line in trouble.split("\n"):
            print("ERROR:  " + line, file=sys.stderr, flush=True)
        sys.exit(1)
    say("client session established", obj="tunnels.session")


async def pump(reader, writer):
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def forward(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        local = await asyncio.open_connection(target.hostname, target.port)
    except (OSError, asyncio.IncompleteReadError):
        writer.close()
        return
    (host,) = [line[5:].strip() for line in head.splitlines() if line[:5].lower() == b"host:"]
    added = b"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: "
    added += host
    local[1].write(head[:-2] + added + b"\r\n\r\n")
    await asyncio.gather(pump(reader, local[1]), pump(local[0], writer))


class Tunnel:
    server = None

    async def open(self):
        self.server = await asyncio.start_server(forward, "127.0.0.1", 0)
        url = "http://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        say("started tunnel", obj="tunnels", name="command_line", addr=sys.argv[2], url=url)

    def lose(self):
        self.server.close()
        say("session closed, starting reconnect loop", "eror", obj="tunnels.session", err="EOF")

    def restore(self):
        say("client session established", obj="tunnels.session")
        self.opening = asyncio.ensure_future(self.open())


async def main():
    loop, stop, tunnel = asyncio.get_running_loop(), asyncio.Event(), Tunnel()
    loop.add_signal_handler(signal.SIGUSR1, tunnel.lose)
    loop.add_signal_handler(signal.SIGUSR2, tunnel.restore)
    loop.add_signal_handler(signal.SIGTERM, (lambda: None) if asked.get("stubborn") else stop.set)
    await tunnel.open()
    await stop.wait()


say("starting web service", obj="web", addr="127.0.0.1:4040")
if asked.get("silent"):
    signal.pause()
authenticate()
if asked.get("helper"):
    helper = subprocess.Popen([sys.executable, "-IS", "-c", "import signal; signal.pause()"])
    with open(folder + "/helper.pid", "w") as file:
        file.write(str(helper.pid))
target = urlsplit(sys.argv[2])
asyncio.run(main())
"""

# Keeps what it serves in the form in which `tailscale serve status --json` shows it.
TAILSCALE = r"""#!{python} -IS
import json, os, sys, time
folder = {folder!r}
asked = json.load(open(folder + "/tailscale.json"))
while asked.get("waits") and not os.path.exists(folder + "/go"):
    time.sleep(0.02)
arguments = sys.argv[1:]
with open(folder + "/tailscale.runs", "a") as runs:
    runs.write(json.dumps({{"pid": os.getpid(), "argv": arguments}}) + "\n")
state = asked.get("state", "Running")
served_in = folder + "/served.json"


def fail(text, status=1):
    print(text, file=sys.stderr)
    sys.exit(status)


if state == "down":
    fail("failed to connect to local tailscaled; it doesn't appear to be running "
         "(sudo systemctl start tailscaled ?)")
if arguments[:2] == ["status", "--json"]:
    name = asked.get("name", "box.tail1.ts.net") + "."
    own = {{"DNSName": name if state == "Running" and len(name) > 1 else ""}}
    print(json.dumps({{"BackendState": state, "Self": own, "MagicDNSSuffix": "tail1.ts.net"}}))
    sys.exit(0 if state == "Running" else 1)
served = json.load(open(served_in)) if os.path.exists(served_in) else {{}}
if arguments == ["serve", "status", "--json"]:
    print(json.dumps(served, indent=2))
    sys.exit(0)
mode, *options, last = arguments
flags = dict(each[2:].split("=", 1) for each in options if "=" in each)
port, path = flags["https"], flags["set-path"]
key = asked.get("name", "box.tail1.ts.net") + ":" + port
if asked.get("denied"):
    fail("error: Access denied: serve config denied\n\nUse 'sudo tailscale serve'.")
if asked.get("consent"):
    print("Funnel is not enabled on your tailnet.\nTo enable, visit:\n\n"
          "         https://login.tailscale.com/f/funnel?node=n1\n", flush=True)
    sys.exit(0)
handlers = served.setdefault("Web", {{}}).setdefault(key, {{}}).setdefault("Handlers", {{}})
if last == "off":
    if path not in handlers:
        fail("error: failed to remove web serve: handler does not exist")
    del handlers[path]
    if not handlers:
        del served["Web"][key]
        del served["TCP"][port]
        served.get("AllowFunnel", {{}}).pop(key, None)
else:
    if "--bg" not in options or "--yes" not in options:
        fail("this would wait for a person")
    served.setdefault("TCP", {{}})[port] = {{"HTTPS": True}}
    handlers[path] = {{"Proxy": last}}
    if mode == "funnel":
        served.setdefault("AllowFunnel", {{}})[key] = True
    else:
        served.get("AllowFunnel", {{}}).pop(key, None)
    print("Available on the internet:" if mode == "funnel" else "Available within your tailnet:")
with open(served_in + ".new", "w") as file:
    json.dump(served, file)
os.replace(served_in + ".new", served_in)
"""


class StandIn:
    """One such executable."""

    def __init__(self, folder: Path, name: str, script: str) -> None:
        self.folder = folder
        self.name = name
        folder.mkdir(exist_ok=True)
        program = folder / name
        program.write_text(script.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        self.behave()

    @property
    def path(self) -> str:
        """A PATH on which it is found before anything else."""
        return f"{self.folder}:{os.environ['PATH']}"

    def behave(self, **how: object) -> None:
        """How it is to behave from its next run on."""
        (self.folder / f"{self.name}.json").write_text(json.dumps(how))

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What it was run with: `pid`, `argv`."""
        runs = self.folder / f"{self.name}.runs"
        return [json.loads(line) for line in runs.read_text().splitlines()] if runs.exists() else []

    @property
    def pid(self) -> int:
        return int(self.runs[-1]["pid"])

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


def ngrok(folder: Path) -> StandIn:
    return StandIn(folder / "ngrok-bin", "ngrok", NGROK)


class TailscaleStandIn(StandIn):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "tailscale-bin", "tailscale", TAILSCALE)

    @property
    def served(self) -> dict[str, Any]:
        """What it serves, without sections that are empty."""
        file = self.folder / "served.json"
        status = json.loads(file.read_text()) if file.exists() else {}
        return {name: section for name, section in status.items() if section}

    @served.setter
    def served(self, status: dict[str, Any]) -> None:
        (self.folder / "served.json").write_text(json.dumps(status))

    def handlers(self, key: str = "box.tail1.ts.net:443") -> dict[str, str]:
        """Where each path leads."""
        web = self.served.get("Web", {}).get(key, {}).get("Handlers", {})
        return {path: handler.get("Proxy", "") for path, handler in web.items()}

    def go_on(self) -> None:
        """End the wait of one that `waits`."""
        (self.folder / "go").touch()

    @property
    def changes(self) -> list[list[str]]:
        """The commands that changed something."""
        return [run["argv"] for run in self.runs if "status" not in run["argv"]]


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not collected yet does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] not in {"Z", "X"}
    return False
