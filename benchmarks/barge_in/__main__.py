"""How well interruptions are told from everything else, and how fast the bot falls silent.

    python -m benchmarks.barge_in [--scale 0.2] [--kinds music,echo] [--seed 1] [-v]
    python -m benchmarks.barge_in --clears 100 [--seconds 20]

The first form plays a seeded set (interruptions, murmurs, coughs, clicks, music, echo), made with
the local engines, over the bot's answers, in virtual time with the local recogniser. The second
measures from the decision to the clear message with so many calls on real sockets.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks.barge_in import cases, clears, report, trial, virtual
from benchmarks.barge_in.voices import Recordings, VirtualEars
from voicecall.dialog.turns import BargeIn

if TYPE_CHECKING:
    from benchmarks.barge_in.trial import Outcome

FOLDER = Path("build/bench/barge_in")


async def play(scale: float, kinds: list[str], seed: int, *, verbose: bool) -> list[Outcome]:
    """The set, or a part of it."""
    recordings = Recordings(FOLDER)
    ears = VirtualEars(virtual.VirtualClock())
    outcomes = []
    for number, case in enumerate(await cases.make(recordings, seed, scale)):
        if kinds and case.kind not in kinds:
            continue
        outcome = await trial.attempt(case, ears, recordings, BargeIn(), number)
        outcomes.append(outcome)
        if verbose or not outcome.right:
            print(
                f"{'right' if outcome.right else 'WRONG'} {case.kind} {case.name}, echo "
                f"{case.surrounding.echo_db}, noise {case.surrounding.noise_dbfs:.0f}: silent "
                f"after {outcome.silent_ms}, {outcome.holds} holds, understood {outcome.turns}",
                flush=True,
            )
    await recordings.close()
    await ears.close()
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the set")
    parser.add_argument("--kinds", default="", help="only these, with commas between")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clears", type=int, default=0, help="how many calls")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("-v", "--verbose", action="store_true", help="every case")
    options = parser.parse_args()
    if options.clears:
        for name, value in uvloop.run(clears.measure(options.clears, options.seconds)).items():
            print(f"{name:18}{value:10.3f}")
        return 0
    kinds = [kind for kind in options.kinds.split(",") if kind]
    outcomes = virtual.run(play(options.scale, kinds, options.seed, verbose=options.verbose))
    print(report.table(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
