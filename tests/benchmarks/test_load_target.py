"""The load target and its generator on a small scale: right before they are fast."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.load.target import DIALECTS
from tests.hosting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.socket, pytest.mark.timed]

ROOT = Path(__file__).parent.parent.parent
STREAMS = 5
SECONDS = 2
DEADLINE_S = 30


class Target:
    """A target that runs.

    Attributes:
        process: its own.
        port: where it listens.
    """

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def counters(self) -> dict[str, Any]:
        """What it has counted so far."""
        self.process.send_signal(signal.SIGUSR1)
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))


@contextmanager
def target(mode: str, dialect: str) -> Iterator[Target]:
    """A target that has to end well."""
    process = subprocess.Popen(  # noqa: S603  (our own interpreter)
        [
            *(sys.executable, "-m", "benchmarks.load.target"),
            *("--port", str(free_port()), "--mode", mode, "--dialect", dialect),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        port = ready.pop("port")
        assert ready == {"pid": process.pid, "mode": mode, "dialect": dialect}
        yield Target(process, port)
        process.send_signal(signal.SIGTERM)
        rest, complaints = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, rest, complaints) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def load(served: Target, sound: str, dialect: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [
            *(sys.executable, "-m", "benchmarks.load.generate", "--json"),
            *("--port", str(served.port), "--pid", str(served.process.pid)),
            *("--sound", sound, "--dialect", dialect),
            *("--streams", str(STREAMS), "--seconds", str(SECONDS), "--warmup", "0.5"),
            *("--server-core", "-1", "--generator-core", "-1"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("mode", ["tone", "tts", "echo"])
def test_a_few_streams_are_served_in_time(mode: str, dialect: str) -> None:
    with target(mode, dialect) as served:
        result = load(served, mode, dialect)
        counted = served.counters()
    heard, connections = result["regular"], result["connections"]
    assert (connections["open"], connections["closed"], connections["reset"]) == (STREAMS, 0, 0)
    assert (heard["late"], heard["lateStreams"], heard["gaps"]) == (0, 0, 0)
    assert (heard["repeated"], heard["unknown"]) == (0, 0)
    # 50 frames a second and stream.
    assert heard["frames"] == pytest.approx(STREAMS * SECONDS * 50, rel=0.05)
    # An echo is no utterance, which alone has marks; one or two may be on their way at each end.
    assert bool(heard["marks"]) == (mode != "echo")
    assert heard["marksReturned"] == pytest.approx(heard["marks"], abs=2 * STREAMS)
    assert counted["stream_faults"] == 0
    assert counted["stream_in_octets"] >= STREAMS * SECONDS * 50 * 160
    assert result["server"]["cpu"] < 1
