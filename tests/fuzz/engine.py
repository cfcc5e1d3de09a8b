"""Runs a target on mutated inputs, in a process of its own, until time is up or something breaks.

Inputs that reach a line of the package for the first time are mutated further, where a target wants
that; everything else is chance.

The process keeps the input it is working on in a shared page, so that even one that is killed by a
signal leaves it behind.
"""

import mmap
import multiprocessing
import random
import tempfile
import time
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.coverage import Coverage
from tests.fuzz.mutation import LENGTH_MAX, mutated
from tests.fuzz.targets import TARGETS

LENGTH_OCTETS = 8
PAGE_OCTETS = LENGTH_OCTETS + 16 * LENGTH_MAX
# How long one input may take before the target counts as hanging.
HANG_S = 30.0
# The share of mutated inputs whose lines are looked at: tracing takes several times what they do.
TRACED = 0.25


@dataclass(frozen=True, slots=True)
class Outcome:
    """How fuzzing one target ended.

    Attributes:
        inputs: how many were tried.
        finding: what went wrong; None when nothing did.
        kept: where the input that does it is stored.
    """

    inputs: int
    finding: str | None = None
    kept: Path | None = None


class Page:
    """The input at work, in memory that outlives the process that works on it."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), PAGE_OCTETS)

    def write(self, data: bytes) -> None:
        self._memory[:LENGTH_OCTETS] = len(data).to_bytes(LENGTH_OCTETS, "little")
        self._memory[LENGTH_OCTETS : LENGTH_OCTETS + len(data)] = data

    def read(self) -> bytes:
        length = int.from_bytes(self._memory[:LENGTH_OCTETS], "little")
        return self._memory[LENGTH_OCTETS : LENGTH_OCTETS + length]


def fuzz(name: str, seconds: float, seed: int) -> Outcome:
    """Fuzz the target `name` for about `seconds`; the first finding ends it and is kept."""
    with tempfile.NamedTemporaryFile(prefix="voicecall-fuzz-") as file:
        file.truncate(PAGE_OCTETS)
        file.flush()
        page = Page(Path(file.name))
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(name, seconds, seed, file.name, theirs))
        process.start()
        theirs.close()
        outcome = supervise(process, ours, seconds)
        if outcome.finding is None:
            return outcome
        return Outcome(outcome.inputs, outcome.finding, corpus.keep(name, page.read()))


def supervise(
    process: "multiprocessing.context.SpawnProcess", pipe: Connection, seconds: float
) -> Outcome:
    """Wait for the report; a process that dies or hangs without one is a finding too."""
    deadline = time.monotonic() + seconds + HANG_S
    report: tuple[int, str | None] | None = None
    try:
        if pipe.poll(deadline - time.monotonic()):
            report = pipe.recv()
    except EOFError:
        report = None
    else:
        if report is None:
            process.kill()
    process.join()
    if report is not None:
        return Outcome(*report)
    return Outcome(0, f"the process ended with status {process.exitcode} before it could report")


def work(name: str, seconds: float, seed: int, page_path: str, pipe: Connection) -> None:
    """What the process of its own does."""
    target = TARGETS[name]
    page = Page(Path(page_path))
    source = random.Random(seed)
    inputs = [*corpus.inputs_of(name), *target.seeds()]
    pending = list(inputs)
    coverage = Coverage()
    deadline = time.monotonic() + seconds
    tried = 0
    while pending or time.monotonic() < deadline:
        data = pending.pop() if pending else None
        if data is None:
            data = mutated(source.choice(inputs), source, target.tokens, inputs)
        page.write(data)
        tried += 1
        traced = target.guided and (tried <= len(inputs) or source.random() < TRACED)
        try:
            with coverage if traced else nullcontext():
                target.run(data)
        except Exception:  # noqa: BLE001 - whatever is raised is what is looked for
            pipe.send((tried, traceback.format_exc()))
            return
        if coverage.grew():
            inputs.append(data)
    pipe.send((tried, None))
