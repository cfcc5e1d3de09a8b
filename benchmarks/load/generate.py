"""Thousands of callers on a media plane: is its audio on time, and what does it cost?

    python -m benchmarks.load.generate --port P --streams N --seconds S [--pid SERVER_PID]
    python -m benchmarks.load.generate --server 'COMMAND with {port}' --streams N --seconds S

Drives `generator.c`, whose head explains the player and what counts as late, and prints one JSON
object. With `--server` the server is started, asked for its counters and stopped; with `--pid`
only its CPU and memory are read. `--arrivals M --burst S` lets M more callers come within S seconds
while the first N are measured; `--burst S` alone lets all N come within S seconds, before the
window.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from benchmarks.load import machine
from benchmarks.load.process import Usage, allow_files, usage
from benchmarks.load.server import Server
from benchmarks.load.target import DIALECTS, reference
from benchmarks.peers.environment import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

SOURCE = Path(__file__).with_name("generator.c")
# Files a server or the generator has open besides its sockets.
OTHER_FILES = 256
CONNECT_LIMIT_S = 60
GRACE_S = 30
STOP_S = 5
FRAME_S = 0.02
# A generator that sends more than one frame in a hundred later than this, leaves some out or has no
# time left says nothing about the server.
SEND_LATENESS_MAX_MS = 5.0
CPU_MAX = 0.95

Sound = Literal["tone", "tts", "echo", "any"]


class GeneratorFailed(RuntimeError):
    """The generator has ended without a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a server has to bear.

    Attributes:
        streams: callers that are there from the beginning.
        seconds: length of the measured window.
        warmup_s: from the moment they are all connected to the window.
        connect_rate: callers a second while they connect.
        arrivals: more callers who come when the window begins.
        burst_s: time in which the arrivals come or, without any, all callers.
        path: of the upgrade request.
        dialect: what the callers talk, and the server has to: a name in `target.DIALECTS`.
        sound: what the server sends, so that skipped and repeated frames are found; `any` is not
            checked.
        server_core, generator_core: the only CPU core of each; None for all.
        helped: share of the streams that a second process of the generator serves, which goes first
            on the core of the server. Carrying messages through TCP takes longer than reading
            them takes a good server, so one core of callers may be too little for one of server.
    """

    streams: int
    seconds: float = 60.0
    warmup_s: float = 5.0
    connect_rate: float = 500.0
    arrivals: int = 0
    burst_s: float = 0.0
    path: str = "/voice/stream"
    dialect: str = "twilio"
    sound: Sound = "tone"
    server_core: int | None = 0
    generator_core: int | None = 1
    helped: float = 0.0

    def __post_init__(self) -> None:
        if self.streams < 1 or self.arrivals < 0 or self.seconds < 1 or self.warmup_s < 0:
            raise ValueError("at least one stream and a window of a second are needed")
        if not 0 <= self.helped < 1:
            raise ValueError("the helper's share of the streams is less than all of them")
        if self.dialect not in DIALECTS:
            raise ValueError(f"the callers talk one of the dialects {', '.join(DIALECTS)}")
        if self.connect_rate <= 0 or self.burst_s < 0:
            raise ValueError("callers have to come at some rate")
        if self.arrivals and not 0 < self.burst_s < self.seconds:
            raise ValueError("arrivals come within the window: 0 < burst < seconds")

    @property
    def connect_interval_us(self) -> int:
        """Time between two of the first callers."""
        if self.burst_s and not self.arrivals:
            return int(self.burst_s * 1e6 / self.streams)
        return int(1e6 / self.connect_rate)

    @property
    def arrival_interval_us(self) -> int:
        """Time between two arrivals."""
        return int(self.burst_s * 1e6 / self.arrivals) if self.arrivals else 0

    @property
    def limit_s(self) -> float:
        """How long a run may take at most."""
        connecting_s = self.streams * self.connect_interval_us / 1e6 + CONNECT_LIMIT_S
        return connecting_s + self.warmup_s + self.seconds + GRACE_S


@dataclass(frozen=True, slots=True)
class Edge:
    """What was known at one end of the window."""

    usage: Usage | None
    counters: dict[str, Any] | None
    media_sent: int


@contextlib.contextmanager
def _reference_file(sound: Sound) -> Iterator[list[str]]:
    """The options that tell the generator what it will hear."""
    if sound in ("echo", "any"):
        yield ["--echo"] if sound == "echo" else []
        return
    with tempfile.NamedTemporaryFile(suffix=".ulaw") as file:
        file.write(reference(sound))
        file.flush()
        yield ["--reference", file.name]


def _options(load: Load, port: int) -> list[str]:
    options = {
        "port": port,
        "path": load.path,
        "dialect": load.dialect,
        "streams": load.streams,
        "arrivals": load.arrivals,
        "connect-interval-us": load.connect_interval_us,
        "arrival-interval-us": load.arrival_interval_us,
        "warmup-ms": int(load.warmup_s * 1000),
        "window-ms": int(load.seconds * 1000),
    }
    if load.generator_core is not None:
        options["cpu"] = load.generator_core
    if load.helped:
        options["helped"] = int(load.helped * load.streams)
        if load.server_core is not None:
            options["helper-cpu"] = load.server_core
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


@contextlib.contextmanager
def _running(arguments: list[str], limit_s: float) -> Iterator[Iterator[dict[str, Any]]]:
    """Start the generator and give what it reports; it is gone afterwards."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        too_long = threading.Timer(limit_s, process.kill)
        too_long.start()
        try:
            yield (json.loads(line) for line in process.stdout)
        finally:
            too_long.cancel()
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def measure(
    load: Load, port: int, pid: int | None = None, server: Server | None = None
) -> dict[str, Any]:
    """Put a load on the server at a port of loopback, and say what was heard and what it cost.

    Args:
        load: what to put on it.
        port: where it listens.
        pid: its process, for CPU and memory.
        server: to ask for its counters.

    Raises:
        TooFewFiles: the system allows fewer sockets.
        GeneratorFailed: it could not run, or took too long.
        ServerFailed: the server has ended meanwhile.
        CalledProcessError: the generator does not compile.
    """
    allow_files(load.streams + load.arrivals + OTHER_FILES)
    program = compiled(SOURCE)

    def edge(message: dict[str, Any]) -> Edge:
        used = usage(pid) if pid is not None else None
        return Edge(used, server.counters() if server else None, message["mediaSent"])

    idle = usage(pid) if pid is not None else None
    edges: list[Edge] = []
    result: dict[str, Any] | None = None
    with (
        _reference_file(load.sound) as hearing,
        _running([str(program), *_options(load, port), *hearing], load.limit_s) as messages,
    ):
        for message in messages:
            if message["event"] in ("window", "windowEnd"):
                edges.append(edge(message))
            elif message["event"] == "result":
                result = message
                break
    if result is None or len(edges) != 2:
        raise GeneratorFailed("the generator has ended without a result")
    return _point(load, result, idle, edges)


def _point(
    load: Load, result: dict[str, Any], idle: Usage | None, edges: list[Edge]
) -> dict[str, Any]:
    """All that is known about one run."""
    del result["event"]
    result["sent"]["share"] = _sent_share(load, result)
    result["generator"]["trusted"] = is_trusted(result)
    point = {"load": asdict(load), **result}
    first, last = edges
    if idle and first.usage and last.usage:
        point["server"] = _cost(load, result["seconds"], idle, first.usage, last.usage)
    if first.counters and last.counters:
        point["inbound"] = _inbound(first, last)
    return point


def _sent_share(load: Load, result: dict[str, Any]) -> float:
    """How much of the load the server really got: frames sent, of those that the callers owe it."""
    seconds: float = result["seconds"]
    sent: int = result["sent"]["messages"]
    owed_s = load.streams * seconds + load.arrivals * (seconds - load.burst_s / 2)
    return round(min(1.0, sent * FRAME_S / owed_s), 6)


def is_trusted(result: dict[str, Any]) -> bool:
    """Whether the generator itself was on time, so that the result speaks of the server."""
    generator = result["generator"]
    lateness = generator["sendLatenessMs"]
    return (
        lateness is not None
        and lateness["p99"] <= SEND_LATENESS_MAX_MS
        and generator["cpu"] <= CPU_MAX
        and not generator["skipped"]
    )


def _cost(load: Load, seconds: float, idle: Usage, first: Usage, last: Usage) -> dict[str, Any]:
    cpu_s = last.cpu_s - first.cpu_s
    streams = load.streams + load.arrivals
    return {
        "cpu": round(cpu_s / seconds, 4),
        "cpuMicrosecondsPerStreamSecond": round(cpu_s / seconds / streams * 1e6, 1),
        "residentKib": {
            "idle": idle.resident_kib,
            "begin": first.resident_kib,
            "end": last.resident_kib,
        },
        "residentKibPerStream": round((last.resident_kib - idle.resident_kib) / streams, 1),
        "threads": last.threads,
        "processes": last.processes,
    }


def _inbound(first: Edge, last: Edge) -> dict[str, Any]:
    """How much of the callers' audio the server has taken, and how long it kept it back."""
    assert first.counters is not None
    assert last.counters is not None
    grown = {
        name: value - first.counters.get(name, 0)
        for name, value in last.counters.items()
        if isinstance(value, (int, float))
    }
    sent = last.media_sent - first.media_sent
    taken_frames = grown["stream_in_octets"] / 160
    return {
        "sentFrames": sent,
        "takenFrames": round(taken_frames, 2),
        "takenShare": round(taken_frames / sent, 6) if sent else None,
        "counters": grown,
        "heldMs": _held_ms(first.counters, last.counters),
    }


def _held_ms(first: dict[str, Any], last: dict[str, Any]) -> dict[str, float] | None:
    """Upper bounds of the latency that the jitter buffer has added to frames of callers."""
    before, after = (counters.get("inbound_latency_seconds") for counters in (first, last))
    if not before or not after:
        return None
    counts = [b - a for a, b in zip(before["counts"], after["counts"], strict=True)]
    total = sum(counts)
    if not total:
        return None
    bounds_ms: list[float] = [1000 * bound for bound in after["upperBoundsSeconds"]]
    bounds_ms.append(2 * bounds_ms[-1])

    def at(share: float) -> float:
        seen = 0
        for bound_ms, count in zip(bounds_ms, counts, strict=True):
            seen += count
            if seen >= share * total:
                return bound_ms
        return bounds_ms[-1]

    mean_ms = (after["sumSeconds"] - before["sumSeconds"]) / total * 1000
    return {"mean": round(mean_ms, 4), "p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999)}


def serve_and_measure(command: str, load: Load, ready_s: float = 60) -> dict[str, Any]:
    """Start a server afresh, put a load on it, and stop it.

    Raises:
        ServerFailed: it did not start.
        GeneratorFailed, TooFewFiles: see `measure`.
    """
    allow_files(load.streams + load.arrivals + OTHER_FILES)
    with Server(command, load.server_core, ready_s) as server:
        point = measure(load, server.port, server.pid, server)
        point["server"]["ready"] = {
            key: value for key, value in server.ready.items() if key not in ("pid", "port")
        }
        return point


# --- the command line, shared with the other programs ---


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """The options that make a `Load`, except the number of streams."""
    defaults = {field.name: field.default for field in fields(Load)}
    for name, kind, text in (
        ("seconds", float, "length of the measured window"),
        ("warmup", float, "seconds between the last connection and the window"),
        ("connect-rate", float, "callers a second while they connect"),
        ("arrivals", int, "more callers who come when the window begins"),
        ("burst", float, "seconds in which the arrivals, or else all callers, come"),
        ("path", str, "of the upgrade request"),
        ("helped", float, "share of the streams that come from the server's core"),
    ):
        field_name = {"warmup": "warmup_s", "burst": "burst_s"}.get(name, name.replace("-", "_"))
        default = defaults[field_name]
        parser.add_argument(
            f"--{name}", dest=field_name, type=kind, default=default, help=f"{text} ({default})"
        )
    parser.add_argument("--dialect", choices=tuple(DIALECTS), default="twilio", help="of callers")
    parser.add_argument("--sound", choices=("tone", "tts", "echo", "any"), default="tone")
    parser.add_argument("--server-core", type=int, default=0, help="-1 for all")
    parser.add_argument("--generator-core", type=int, default=1, help="-1 for all")
    parser.add_argument("--ready-timeout", type=float, default=60, help="seconds")
    parser.add_argument("--output", type=Path, help="write the JSON to this file, too")


def load_of(options: argparse.Namespace, streams: int) -> Load:
    """The load that the command line asks for.

    Raises:
        ValueError: it is impossible.
    """
    given = {name: value for name, value in vars(options).items() if name in _LOAD_FIELDS}
    cores = [options.server_core, options.generator_core]
    allowed = os.sched_getaffinity(0)
    for core in cores:
        if core >= 0 and core not in allowed:
            raise ValueError(f"core {core} is not among those of this machine: {sorted(allowed)}")
    server_core, generator_core = (core if core >= 0 else None for core in cores)
    given.update(streams=streams, server_core=server_core, generator_core=generator_core)
    return Load(**given)


_LOAD_FIELDS = frozenset(field.name for field in fields(Load))


def publish(kind: str, module: str, content: dict[str, Any], options: argparse.Namespace) -> None:
    """Print a result, and write it to the file that was asked for."""
    document = {
        "kind": kind,
        "command": machine.command_line(module),
        "machine": machine.describe(),
        **content,
    }
    compact = getattr(options, "json", False)
    print(json.dumps(document, indent=None if compact else 2))
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(document, indent=1) + "\n")


def end_cleanly() -> None:
    """Let SIGTERM end this program as Ctrl-C does, so that nothing it started is left behind."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def run_program(program: Callable[[], None]) -> int:
    """Run a program's main part; failures that have a reason are told in one line."""
    end_cleanly()
    try:
        program()
    except KeyboardInterrupt:
        return 130
    except (RuntimeError, ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="of a server that runs on loopback")
    where.add_argument("--server", help="command of a server to start; {port} is filled in")
    parser.add_argument("--pid", type=int, help="the running server's process id")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print one line")
    add_load_options(parser)
    options = parser.parse_args()

    def program() -> None:
        load = load_of(options, options.streams)
        if options.server:
            point = serve_and_measure(options.server, load, options.ready_timeout)
            point["serverCommand"] = options.server
        else:
            point = measure(load, options.port, options.pid)
        publish("point", "benchmarks.load.generate", point, options)

    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
