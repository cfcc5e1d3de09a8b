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

from tests.hosting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.socket

ROOT = Path(__file__).parent.parent.parent
STREAMS = 5
SECONDS = 2
DEADLINE_S = 30


@contextmanager
def target(mode: str) -> Iterator[tuple[int, int]]:
    """A target's port and process id; it has to end well."""
    process = subprocess.Popen(  # noqa: S603  (our own interpreter)
        [
            *(sys.executable, "-m", "benchmarks.load.target"),
            *("--port", str(free_port()), "--mode", mode),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert (ready["pid"], ready["mode"]) == (process.pid, mode)
        yield ready["port"], process.pid
        process.send_signal(signal.SIGTERM)
        rest, complaints = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, rest, complaints) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def load(port: int, pid: int, sound: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [
            *(sys.executable, "-m", "benchmarks.load.generate", "--json"),
            *("--port", str(port), "--pid", str(pid), "--sound", sound),
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


@pytest.mark.parametrize("mode", ["tone", "tts", "echo"])
def test_a_few_streams_are_served_in_time(mode: str) -> None:
    with target(mode) as (port, pid):
        result = load(port, pid, mode)
    heard, connections = result["regular"], result["connections"]
    assert (connections["open"], connections["closed"], connections["reset"]) == (STREAMS, 0, 0)
    assert (heard["late"], heard["lateStreams"], heard["gaps"]) == (0, 0, 0)
    assert (heard["repeated"], heard["unknown"]) == (0, 0)
    # 50 frames a second and stream.
    assert heard["frames"] == pytest.approx(STREAMS * SECONDS * 50, rel=0.05)
    assert result["server"]["cpu"] < 1
