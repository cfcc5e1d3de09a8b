"""The whole series of load results, and the page of them.

    python -m benchmarks.load.series [--only NAME ...] [--runs 3] [--seconds 60]
        [--folder results] [--page benchmarks/RESULTS.md]

What one core carries, and what others do. Each member of the series is a comparison whose runs are
interleaved, written to a file of its own as soon as it is done; members whose file is there are not
measured again, so a series that was broken off goes on where it was. `--list` says what there is
and how long it takes.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.load import machine, report
from benchmarks.load.compare import Contestant, measure_in_turn
from benchmarks.load.generate import Load, run_program
from benchmarks.load.target import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path("results")
# What a run takes besides its window: connecting at 500 a second, settling, saying goodbye.
OVERHEAD_S = 15
READY_S = 900.0

Mode = Literal["tone", "tts", "echo"]


def _ours(mode: Mode, load: Load, options: str = "") -> Contestant:
    command = f"python -m benchmarks.load.target --port {{port}} --mode {mode}"
    if load.dialect != "twilio":
        command += f" --dialect {load.dialect}"
    return Contestant(f"{command} {options}".rstrip(), replace(load, sound=mode))


def _peer(name: str, streams: int) -> Contestant:
    # What the peers play is no sound of ours.
    command = f"python -m benchmarks.peers.run {name} --port {{port}}"
    return Contestant(command, Load(streams=streams, sound="any"))


@dataclass(frozen=True, slots=True)
class Member:
    """One comparison of the series.

    Attributes:
        question: what it answers.
        contestants: who takes part, by name.
    """

    question: str
    contestants: Mapping[str, Contestant]


SERIES: dict[str, Member] = {
    "tone": Member(
        "How many two-way streams does one core carry, and at what cost?",
        {
            "1000 streams": _ours("tone", Load(streams=1000)),
            "2200 streams": _ours("tone", Load(streams=2200)),
            "3000 streams": _ours("tone", Load(streams=3000, helped=0.2)),
        },
    ),
    "dialects": Member(
        "Does it matter which carrier is at the other end of the sockets?",
        {name: _ours("tone", Load(streams=1000, dialect=name)) for name in DIALECTS},
    ),
    "peers": Member(
        "What do others carry? Two counts each, around their limit.",
        {
            "voicecall 3000": _ours("tone", Load(streams=3000, helped=0.2)),
            "c_epoll 1900": _peer("c_epoll", 1900),
            "c_epoll 2500": _peer("c_epoll", 2500),
            "picows 1200": _peer("picows_echo", 1200),
            "picows 1600": _peer("picows_echo", 1600),
            "starlette 400": _peer("starlette", 400),
            "starlette 600": _peer("starlette", 600),
            "pipecat 40": _peer("pipecat", 40),
            "pipecat 75": _peer("pipecat", 75),
        },
    ),
    "speech": Member(
        "What does audio of a speech engine cost, resampled and encoded for each call?",
        {"tone": _ours("tone", Load(streams=1700)), "tts": _ours("tts", Load(streams=1700))},
    ),
    "echo": Member(
        "How long is the way in and out again?", {"voicecall": _ours("echo", Load(streams=1000))}
    ),
    "arrivals": Member(
        "1500 callers come within 5 s: does anybody who is there notice, and is anybody lost?",
        {"voicecall": _ours("tone", Load(streams=500, arrivals=1500, burst_s=5.0))},
    ),
    "batching": Member(
        "What does it bring to send ahead of time, and several frames in one message?",
        {
            "no lead": _ours("tone", Load(streams=1200), "--lead-ms 20 --group 1"),
            "lead 160 ms, 1 frame": _ours("tone", Load(streams=1200), "--lead-ms 160 --group 1"),
            "lead 160 ms, 2 frames": _ours("tone", Load(streams=1200), "--lead-ms 160 --group 2"),
            "lead 160 ms, 5 frames": _ours("tone", Load(streams=1200), "--lead-ms 160"),
        },
    ),
}


def minutes(member: Member, runs: int, seconds: float) -> float:
    """About how long a member takes."""
    return len(member.contestants) * runs * (seconds + OVERHEAD_S) / 60


def measure(name: str, runs: int, seconds: float) -> dict[str, Any]:
    """Measure one member; the document that the report reads."""
    contestants = {
        label: replace(each, load=replace(each.load, seconds=seconds))
        for label, each in SERIES[name].contestants.items()
    }
    return {
        "kind": "compare",
        "question": SERIES[name].question,
        "command": f"python -m benchmarks.load.series --only {name} --runs {runs} "
        f"--seconds {seconds:g}",
        "machine": machine.describe(),
        **measure_in_turn(contestants, runs, READY_S),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sorted(SERIES), default=list(SERIES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--page", type=Path, default=report.PAGE)
    parser.add_argument("--list", action="store_true", help="measure nothing")
    options = parser.parse_args()

    def program() -> None:
        for name in options.only:
            member = SERIES[name]
            takes = minutes(member, options.runs, options.seconds)
            print(f"{name}: {member.question} About {takes:.0f} minutes.", file=sys.stderr)
            path = options.folder / f"{name}.json"
            if options.list or path.exists():
                continue
            document = measure(name, options.runs, options.seconds)
            options.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document, indent=1) + "\n")
        if not options.list:
            documents = {
                name: json.loads(path.read_text())
                for name in SERIES
                if (path := options.folder / f"{name}.json").exists()
            }
            options.page.write_text(report.page(documents, options.page.parent / "pictures"))

    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
