"""Count, then compare with the budget, renew it or show where the instructions go.

::

    python -m benchmarks.instructions [--renew | --profile CASE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.instructions import budget
from benchmarks.instructions.callgrind import CannotCount, count
from benchmarks.instructions.dumps import counts_of
from benchmarks.instructions.environment import LIMIT_HERE, Environment, environment, limit

FILE = Path(__file__).parent / "budget.json"
PROFILE_DEADLINE_S = 60

OVER_BUDGET = 1
CANNOT_COUNT = 2


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--renew", action="store_true", help="write the budget anew")
    choice.add_argument("--profile", metavar="CASE", help="show where a case's instructions go")
    return parser.parse_args(given)


def counted() -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="voicecall-budget-") as folder:
        return counts_of(count(Path(folder)).values())


def renew() -> int:
    old = budget.read(FILE).instructions if FILE.exists() else {}
    new = counted()
    budget.write(FILE, budget.Budget(environment(), new))
    print(budget.table(budget.changes(old, new, LIMIT_HERE)))
    print(f"\n{FILE.name} is renewed.")
    return 0


def differences(recorded: Environment, here: Environment) -> str:
    then, now = asdict(recorded), asdict(here)
    return "\n".join(
        f"  {name}: {then[name]} in the budget, {now[name]} here"
        for name in then
        if then[name] != now[name]
    )


def compare() -> int:
    recorded, here = budget.read(FILE), environment()
    allowed = limit(recorded.environment, here)
    if allowed is None:
        print("NOT COMPARED: the budget was counted on another kind of processor.")
        print(differences(recorded.environment, here))
        return 0
    found = budget.changes(recorded.instructions, counted(), allowed)
    print(budget.table(found))
    if recorded.environment != here:
        print(f"\nCounted elsewhere, so up to {allowed:.0%} more is allowed:")
        print(differences(recorded.environment, here))
    if advice := budget.advice(found, allowed):
        print(f"\n{advice}")
    return 0 if budget.passes(found) else OVER_BUDGET


def profile(case: str) -> int:
    with tempfile.TemporaryDirectory(prefix="voicecall-budget-") as folder:
        loops = {
            dump.calls: file
            for file, dump in count(Path(folder), [case]).items()
            if dump.name == case
        }
        if not loops:
            raise CannotCount(f"there is no case {case}")
        calls = max(loops)
        print(f"{calls} calls, with the loop around them", flush=True)
        command = ["callgrind_annotate", "--inclusive=yes", "--auto=no", str(loops[calls])]
        subprocess.run(command, timeout=PROFILE_DEADLINE_S, check=True)
    return 0


def main(given: list[str]) -> int:
    chosen = arguments(given)
    try:
        if chosen.profile:
            return profile(chosen.profile)
        return renew() if chosen.renew else compare()
    except CannotCount as error:
        print(error, file=sys.stderr)
        return CANNOT_COUNT


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
