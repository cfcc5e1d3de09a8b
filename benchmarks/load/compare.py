"""Servers side by side: the same load on each in turn, round after round.

    python -m benchmarks.load.compare --a 'COMMAND with {port}' --b '...' --streams N --runs R
        [--peer NAME[@STREAMS]='COMMAND with {port}' ...] [--seconds 60] [--output FILE]

A peer may have a number of streams of its own, to show what each server bears. The runs are
interleaved (A B A B ...), so that a machine that gets slower or faster meanwhile favours nobody.
Prints the median and the range of each figure, and its ratio to the first server's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.load.generate import (
    Load,
    add_load_options,
    load_of,
    publish,
    run_program,
    serve_and_measure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What is compared: its name, and where it is in a point.
FIGURES = {
    "streams": ("load", "streams"),
    "sentShare": ("sent", "share"),
    "onTime": ("regular", "onTime"),
    "latenessP50Ms": ("regular", "latenessMs", "p50"),
    "latenessP99Ms": ("regular", "latenessMs", "p99"),
    "latenessP99.9Ms": ("regular", "latenessMs", "p99.9"),
    "roundTripP50Ms": ("regular", "roundTripMs", "p50"),
    "roundTripP99Ms": ("regular", "roundTripMs", "p99"),
    "roundTripP99.9Ms": ("regular", "roundTripMs", "p99.9"),
    "connectP99Ms": ("connections", "connectMs", "p99"),
    "cpu": ("server", "cpu"),
    "cpuMicrosecondsPerStreamSecond": ("server", "cpuMicrosecondsPerStreamSecond"),
    "residentKibPerStream": ("server", "residentKibPerStream"),
    "generatorCpu": ("generator", "cpu"),
}
# Differences of these mean something, their ratios do not: they may be negative, or are shares.
NO_RATIO = frozenset(
    {"streams", "sentShare", "onTime", "latenessP50Ms", "latenessP99Ms", "latenessP99.9Ms"}
)


def figure(point: Mapping[str, Any], path: Sequence[str]) -> float | None:
    """The number at `path` in a point; None when the run had none."""
    value: Any = point
    for key in path:
        if value is None:
            return None
        value = value.get(key)
    return None if value is None else float(value)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def figures(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Median and range of every figure that all runs of a server have."""
    result = {}
    for name, path in FIGURES.items():
        values = [figure(run, path) for run in runs]
        known = [value for value in values if value is not None]
        if runs and len(known) == len(runs):
            result[name] = spread(known)
    return result


def ratios(
    runs: Sequence[Mapping[str, Any]], firsts: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """How many times the first server's figure another's is, round by round."""
    result = {}
    for name, path in FIGURES.items():
        if name in NO_RATIO:
            continue
        values = []
        for run, first in zip(runs, firsts, strict=True):
            ours, theirs = figure(first, path), figure(run, path)
            if ours and theirs is not None:
                values.append(round(theirs / ours, 4))
        if values and len(values) == len(runs):
            result[name] = spread(values)
    return result


def result(runs: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """The comparison of all servers with the first one."""
    firsts = next(iter(runs.values()))
    return {
        name: {
            "figures": figures(points),
            "ratiosToFirst": ratios(points, firsts),
            "trusted": all(point["generator"]["trusted"] for point in points),
            "complete": all(
                point["connections"]["open"] == point["connections"]["wanted"] for point in points
            ),
            "runs": list(points),
        }
        for name, points in runs.items()
    }


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that takes part.

    Attributes:
        command: starts it; `{port}` is filled in.
        load: what is put on it.
    """

    command: str
    load: Load


def contestants(options: argparse.Namespace) -> dict[str, Contestant]:
    """Those who take part by name, in the order in which they take turns.

    Raises:
        ValueError: a peer has no name, or the name of another.
    """
    commands = {"a": options.a, "b": options.b}
    found = {
        name: Contestant(command, load_of(options, options.streams))
        for name, command in commands.items()
        if command
    }
    for peer in options.peer:
        label, equals, command = peer.partition("=")
        name, at, streams = label.partition("@")
        if not equals or not name or not command or name in found or bool(at) != streams.isdigit():
            raise ValueError(
                f"a peer is given as NAME=COMMAND or NAME@STREAMS=COMMAND, each with its own "
                f"name: {peer}"
            )
        load = load_of(options, int(streams) if at else options.streams)
        found[name] = Contestant(command, load)
    if len(found) < 2:
        raise ValueError("at least two servers are needed")
    return found


def measure_in_turn(
    servers: Mapping[str, Contestant], rounds: int, ready_s: float
) -> dict[str, Any]:
    """Put each server's load on it, round after round; the runs and what they say.

    Raises:
        ServerFailed, GeneratorFailed, TooFewFiles: see `serve_and_measure`.
    """
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    for turn in range(rounds):
        for name, server in servers.items():
            point = serve_and_measure(server.command, server.load, ready_s)
            runs[name].append(point)
            told = f"{point['regular']['onTime']:.4%} on time, CPU {point['server']['cpu']:.3f}"
            print(f"run {turn + 1}, {name}: {told}", file=sys.stderr)
    return {
        "serverCommands": {name: server.command for name, server in servers.items()},
        "servers": result(runs),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--a", help="command of a server; {port} is filled in")
    parser.add_argument("--b", help="command of another one")
    parser.add_argument("--peer", action="append", default=[], help="NAME=COMMAND; may be repeated")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    add_load_options(parser)
    options = parser.parse_args()

    def program() -> None:
        content = measure_in_turn(contestants(options), options.runs, options.ready_timeout)
        publish("compare", "benchmarks.load.compare", content, options)

    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
