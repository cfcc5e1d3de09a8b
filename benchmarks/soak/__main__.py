"""Soak runs of a whole server in a process of its own.

    python -m benchmarks.soak --minutes 30 [--callers 40] [--seed 1] [--output FILE]
    python -m benchmarks.soak --calls 10000 [--at-once 40] [--seed 1] [--output FILE]

With `--minutes`, callers talk, barge in, vanish, come back, send garbage and crowd the door, until
the time is over; with `--calls`, so many calls are held from start to end, and each has to end once
and properly. First everything that the server remembers on purpose is filled up, so that whatever
grows from then on is a leak. Memory, files, threads, tasks, timers and objects are sampled all the
time; `benchmarks/soak/flatness.py` has the bounds. When the callers are gone, not one object more
may live than before they came.

The exit status is 1 when something has grown, is left over, or was answered wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.load.machine import command_line, describe
from benchmarks.load.process import allow_files
from benchmarks.soak import calls, flatness
from benchmarks.soak.carrier import Carrier, Dials, fill_memories
from benchmarks.soak.churn import Site, churn
from benchmarks.soak.process import ServerProcess
from benchmarks.soak.quiet import until_quiet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# What the server remembers: refused calls, facts applied, ended calls.
MEMORIES = {"refused": 10_000, "facts": 10_000, "ended": 1100}
SAMPLES_PER_RUN = 20
PERIOD_MAX_S = 10.0
OPEN_FILES = 4096
# Sockets in the kernel's hands and the HTTP server's helpers take a moment to go.
SETTLE_S = 3.0


def say(text: str) -> None:
    print(text, flush=True)


class Watch:
    """Samples the server while callers are at work.

    Args:
        server: its process.
        carrier: asks how many calls and sockets there are.
        period_s: between two samples.
        progress: says how far the callers are.
    """

    def __init__(
        self,
        server: ServerProcess,
        carrier: Carrier,
        period_s: float,
        progress: Callable[[], str],
    ) -> None:
        self.samples: list[dict[str, float]] = []
        self._server = server
        self._carrier = carrier
        self._period_s = period_s
        self._progress = progress
        self._began_s = time.monotonic()

    async def run(self) -> None:
        """Sample until cancelled."""
        due_s = self._began_s
        while True:
            due_s += self._period_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await self.sample()

    async def sample(self) -> None:
        """Take one sample and show it."""
        process = self._server.measure()
        census = await self._server.census(full=False)
        state = await self._carrier.state()
        taken = flatness.sample(time.monotonic() - self._began_s, process, census, state)
        self.samples.append(taken)
        say(
            f"{taken['atSeconds']:7.1f} s  {taken['residentKib'] / 1024:6.1f} MiB"
            f"  {taken['openFiles']:4.0f} files  {taken['threads']:3.0f} threads"
            f"  {taken['tasks']:4.0f} tasks  {taken['sockets']:3.0f} sockets"
            f"  {taken['calls']:3.0f} calls"
            f"  {taken['objects']:7.0f} objects  {self._progress()}"
        )


async def watched(watch: Watch, work: Awaitable[None]) -> None:
    """Do `work` while `watch` samples."""
    watching = asyncio.create_task(watch.run())
    try:
        await work
    finally:
        watching.cancel()
        ended = (await asyncio.gather(watching, return_exceptions=True))[0]
    if isinstance(ended, Exception):
        raise ended


async def settled(server: ServerProcess, carrier: Carrier) -> tuple[dict[str, Any], list[str]]:
    """A census of the server when nobody calls, and what is there all the same."""
    left = await until_quiet(carrier)
    await carrier.hang_up_connections()
    await asyncio.sleep(SETTLE_S)
    census = await server.census(full=True)
    census |= server.measure()
    return census, left


class Run:
    """One soak run: fill the memories, count, let the callers loose, count again.

    Args:
        options: the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.problems: list[str] = []
        self.result: dict[str, Any] = {}

    async def perform(self) -> None:
        """Do it all; `problems` and `result` are complete afterwards."""
        dials = Dials()
        async with (
            ServerProcess(dials.on_dial) as server,
            Carrier(server.control_url, dials) as carrier,
        ):
            say("filling what the server remembers")
            await fill_memories(carrier, MEMORIES)
            dials.counts.clear()
            before, left = await settled(server, carrier)
            self.problems += left
            if self._options.calls:
                watch = await self._hold_calls(server, carrier)
            else:
                watch = await self._churn(server, carrier)
            say("waiting for silence")
            after, left = await settled(server, carrier)
            self.problems += left
        self._judge(watch.samples, before, after)

    async def _churn(self, server: ServerProcess, carrier: Carrier) -> Watch:
        options = self._options
        site = Site(carrier, server.media_url)
        duration_s = options.minutes * 60
        watch = Watch(
            server,
            carrier,
            min(PERIOD_MAX_S, duration_s / SAMPLES_PER_RUN),
            lambda: f"{site.outcomes.total()} callers, {site.failed} wrong answers",
        )
        until_s = asyncio.get_running_loop().time() + duration_s
        await watched(watch, churn(site, options.callers, options.seed, until_s))
        self.problems += site.failures
        self.result |= {
            "callers": site.outcomes.total(),
            "outcomes": dict(sorted(site.outcomes.items())),
            "wrongAnswers": site.failed,
            "callsDialled": carrier.dials.counts.total(),
        }
        return watch

    async def _hold_calls(self, server: ServerProcess, carrier: Carrier) -> Watch:
        options = self._options
        ledger, tally = calls.Ledger(carrier), calls.Tally(options.calls)
        period_s = min(PERIOD_MAX_S, max(0.5, options.calls / 1000))
        watch = Watch(
            server,
            carrier,
            period_s,
            lambda: f"{tally.done} of {tally.wanted} calls, {tally.wrong} wrong",
        )
        await ledger.open()
        began_s = time.monotonic()
        try:
            holding = calls.hold(carrier, ledger, tally, options.at_once, options.seed)
            await watched(watch, holding)
            duration_s = time.monotonic() - began_s
            await asyncio.sleep(SETTLE_S)
        finally:
            await ledger.close()
        self.problems += tally.problems + calls.late_problems(ledger, carrier)
        self.result |= {
            "calls": tally.done,
            "atOnce": options.at_once,
            "durationSeconds": round(duration_s, 1),
            "callsPerSecond": round(tally.done / duration_s, 1),
            "ends": dict(sorted(tally.ends.items())),
            "wrongCalls": tally.wrong,
            "dialled": carrier.dials.counts.total(),
        }
        return watch

    def _judge(
        self, samples: list[dict[str, float]], before: dict[str, Any], after: dict[str, Any]
    ) -> None:
        self.problems += flatness.grown(samples)
        self.problems += flatness.left_over(before, after)
        if after["openFiles"] > before["openFiles"]:
            self.problems.append(f"{after['openFiles'] - before['openFiles']} files stay open")
        early, late = (
            {
                bound.name: statistics.median(
                    each[bound.name] for each in flatness.part(samples, share)
                )
                for bound in flatness.BOUNDS
            }
            for share in (flatness.EARLY, flatness.LATE)
        )
        self.result |= {
            "command": command_line("benchmarks.soak"),
            "machine": describe(),
            "seed": self._options.seed,
            "problems": self.problems,
            "early": early,
            "late": late,
            "before": before,
            "after": after,
            "samples": samples,
        }


def report(run: Run) -> None:
    """Show what has come of it."""
    result = run.result
    for outcome, count in {**result.get("outcomes", {}), **result.get("ends", {})}.items():
        say(f"{count:8}  {outcome}")
    say("")
    for bound in flatness.BOUNDS:
        early, late = result["early"][bound.name], result["late"][bound.name]
        say(f"{bound.name:12} {early:10.0f} early {late:10.0f} late {bound.unit}")
    if "callsPerSecond" in result:
        say(f"{result['calls']} calls in {result['durationSeconds']} s")
    for problem in run.problems:
        say(f"PROBLEM: {problem}")
    say("flat" if not run.problems else f"{len(run.problems)} problems")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--minutes", type=float, default=0.0, help="how long callers churn")
    kind.add_argument("--calls", type=int, default=0, help="how many calls are held")
    parser.add_argument("--callers", type=int, default=40, help="how many churn side by side")
    parser.add_argument("--at-once", type=int, default=40, help="how many calls are live")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    allow_files(OPEN_FILES)
    run = Run(options)
    uvloop.run(run.perform())
    report(run)
    if options.output:
        options.output.write_text(json.dumps(run.result, indent=1) + "\n")
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main())
