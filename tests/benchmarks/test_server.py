"""A server under load is started, asked and stopped, and nothing of it is left."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

import pytest

from benchmarks.load.server import Server, ServerFailed, free_port

pytestmark = [pytest.mark.socket, pytest.mark.timed]

READY_S = 20
SERVER = """
import json, os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
counters = json.dumps({"event": "counters", "n": 7})
signal.signal(signal.SIGUSR1, lambda *_: print(counters, flush=True))
print("not json", flush=True)
print(json.dumps({"pid": os.getpid(), "port": int(sys.argv[1]), "child": child.pid}), flush=True)
while True:
    time.sleep(0.05)
"""


def command(code: str) -> str:
    return f"python -c {shlex.quote(code)} {{port}}"


def is_gone(pid: int) -> bool:
    """Whether it has ended; who reaps an orphan is not our business."""
    end_s = time.monotonic() + 5
    while time.monotonic() < end_s:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        os.sched_yield()
    return False


def test_a_server_is_ready_when_it_says_so_and_gone_with_its_children_afterwards() -> None:
    with Server(command(SERVER), None, READY_S) as server:
        assert server.counters() == {"event": "counters", "n": 7}
        pid, child = server.pid, server.ready["child"]
        assert server.port > 0
        assert not Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].startswith(" Z")
    assert is_gone(pid)
    assert is_gone(child)


def test_a_server_runs_on_its_core() -> None:
    core = min(os.sched_getaffinity(0))
    with Server(command(SERVER), core, READY_S) as server:
        assert os.sched_getaffinity(server.pid) == {core}


def test_a_server_without_a_handler_is_not_signalled() -> None:
    code = SERVER.replace("signal.signal(", "(lambda *_: None)(")
    with Server(command(code), None, READY_S) as server:
        assert server.counters() is None


def test_a_server_that_ends_at_once_has_failed() -> None:
    with pytest.raises(ServerFailed, match="has ended"), Server(command("pass"), None, READY_S):
        pass


def test_a_server_that_is_never_ready_is_stopped() -> None:
    code = "import time; time.sleep(60)"
    with pytest.raises(ServerFailed, match="no answer"), Server(command(code), None, 0.3):
        pass


def test_free_ports_are_ports() -> None:
    assert 0 < free_port() < 65536
