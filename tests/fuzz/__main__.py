"""Fuzz what strangers can reach.

::

    python -m tests.fuzz [--seconds 60] [--target NAME] [--seed 0]

Each target has the seconds. An input that breaks something is stored in the corpus, which the
normal test run replays, and the exit status is 1. With `atheris` installed, `--atheris` hands one
target to it instead, and what follows on the command line too.
"""

import argparse
import importlib
import sys

from tests.fuzz import corpus, engine
from tests.fuzz.targets import TARGETS


def say(text: str) -> None:
    # What was found may hold what no terminal shows.
    sys.stdout.write(f"fuzz: {text}\n".encode("utf-8", "backslashreplace").decode())
    sys.stdout.flush()


def run(name: str, seconds: float, seed: int) -> bool:
    """Fuzz one target and tell; whether nothing was found."""
    outcome = engine.fuzz(name, seconds, seed)
    if outcome.finding is None:
        say(f"{name}: {outcome.inputs} inputs, nothing found")
        return True
    say(f"{name}: input {outcome.inputs} breaks it, kept as {outcome.kept}\n{outcome.finding}")
    return False


def run_atheris(name: str, arguments: list[str]) -> None:
    """Let atheris choose the inputs; it ends the process itself."""
    # Optional, and not to be had for every Python.
    atheris = importlib.import_module("atheris")
    folder = corpus.FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], str(folder), *arguments], TARGETS[name].run)
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--target", choices=sorted(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    options, rest = parser.parse_known_args(arguments)
    names = [options.target] if options.target else list(TARGETS)
    if options.atheris:
        run_atheris(names[0], rest)
    elif rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    results = [run(name, options.seconds, options.seed) for name in names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
