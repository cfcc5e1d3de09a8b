"""How many streams does a server bear? The highest count with enough of the audio on time.

    python -m benchmarks.load.ladder --server 'COMMAND with {port}' [--from 250] [--to 4000]
        [--step 100] [--repeat 3] [--seconds 60] [--output FILE]

Doubles the count until the server fails, then halves the interval until it is not wider than
`--step`. Each run has a server of its own. A count passes when, in the median of its runs, at least
`--share` of the frames are on time, and no connection fails in any; one that fails clearly is not
repeated.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.load.generate import (
    add_load_options,
    load_of,
    publish,
    run_program,
    serve_and_measure,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SHARE = 0.999
# Of the callers' frames; what the generator has to send for a count to be one.
LOADED_SHARE = 0.999
# Below this a count is not repeated: no second run would lift the median over the bar.
HOPELESS_SHARE = 0.99


@dataclass(slots=True)
class Rung:
    """One count and its runs."""

    streams: int
    share: float
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def on_time(self) -> float:
        """Median share of the frames that were on time."""
        return float(statistics.median(run["regular"]["onTime"] for run in self.runs))

    @property
    def complete(self) -> bool:
        """Whether every caller had its stream in every run."""
        return all(run["connections"]["open"] == run["connections"]["wanted"] for run in self.runs)

    @property
    def loaded(self) -> bool:
        """Whether the generator put the whole load on the server, be it late, in every run."""
        return all(run["sent"]["share"] >= LOADED_SHARE for run in self.runs)

    @property
    def passed(self) -> bool:
        """Whether the server bears this count: a late generator can only make that harder."""
        return self.on_time >= self.share and self.complete and self.loaded

    @property
    def trusted(self) -> bool:
        """Whether a failure is the server's and not the generator's."""
        return all(run["generator"]["trusted"] for run in self.runs)


def climb(bears: Callable[[int], bool], first: int, last: int, step: int) -> int:
    """The highest count up to `last` that `bears` is true for, to within `step`; 0 for none.

    Args:
        bears: tells whether a count is borne; if one is, smaller ones are.
        first: where to begin.
        last: the highest count of interest.
        step: how exactly; counts are its multiples, apart from `first` and `last`.
    """
    borne, failed = 0, 0
    count = min(first, last)
    while not failed:
        if bears(count):
            borne = count
            if borne == last:
                return borne
            count = min(2 * count, last)
        else:
            failed = count
    while failed - borne > step:
        middle = (borne + failed) // 2 // step * step
        if middle <= borne:
            middle += step
        if bears(middle):
            borne = middle
        else:
            failed = middle
    return borne


def measured(streams: int, share: float, repeat: int, run: Callable[[int], dict[str, Any]]) -> Rung:
    """Measure one count up to `repeat` times."""
    rung = Rung(streams, share)
    for _ in range(repeat):
        rung.runs.append(run(streams))
        if rung.runs[0]["regular"]["onTime"] < HOPELESS_SHARE:
            break
    return rung


def result(rungs: list[Rung], highest: int, share: float) -> dict[str, Any]:
    """What the ladder has shown, in the order of the counts."""
    failed = [rung for rung in rungs if not rung.passed]
    lowest = min(failed, key=lambda rung: rung.streams, default=None)
    if lowest is None:
        limited_by = "the range"
    else:
        limited_by = "the server" if lowest.trusted else "the generator"
    return {
        "highest": highest,
        "share": share,
        "limitedBy": limited_by,
        "rungs": [
            {
                "streams": rung.streams,
                "onTime": rung.on_time,
                "passed": rung.passed,
                "trusted": rung.trusted,
                "runs": rung.runs,
            }
            for rung in sorted(rungs, key=lambda rung: rung.streams)
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--server", required=True, help="command; {port} is filled in")
    parser.add_argument("--from", dest="first", type=int, default=250)
    parser.add_argument("--to", dest="last", type=int, default=4000)
    parser.add_argument("--step", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--share", type=float, default=SHARE, help="on time (0.999)")
    add_load_options(parser)
    options = parser.parse_args()
    if not (0 < options.first <= options.last and options.step > 0 and options.repeat > 0):
        parser.error("0 < from <= to, and step and repeat are positive")
    rungs: list[Rung] = []

    def run(streams: int) -> dict[str, Any]:
        load = load_of(options, streams)
        return serve_and_measure(options.server, load, options.ready_timeout)

    def bears(streams: int) -> bool:
        rung = measured(streams, options.share, options.repeat, run)
        rungs.append(rung)
        verdict = "passes" if rung.passed else "fails"
        doubt = "" if rung.trusted else " (the generator was late itself)"
        print(f"{streams} streams: {rung.on_time:.4%} on time, {verdict}{doubt}", file=sys.stderr)
        return rung.passed

    def program() -> None:
        highest = climb(bears, options.first, options.last, options.step)
        content = {"serverCommand": options.server, **result(rungs, highest, options.share)}
        publish("ladder", "benchmarks.load.ladder", content, options)

    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
