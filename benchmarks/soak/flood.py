"""A flood of webhooks and upgrades that nobody should believe, beside one live call.

    python -m benchmarks.soak.flood --requests 100000 [--at-once 24] [--seed 1] [--output FILE]

A whole server in a process of its own takes one call by signed webhook, and talks on it all the
time. Meanwhile attackers send webhooks that are unsigned, forged, malformed, oversized, slow or
replayed, and upgrades without a good token. Each has to be refused in the right way, none may have
an effect; memory, files, threads, tasks and objects may not grow, and the call may not notice.

The exit status is 1 when any of that fails.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import statistics
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import uvloop

from benchmarks.load.machine import command_line, describe
from benchmarks.load.process import allow_files
from benchmarks.soak import flatness
from benchmarks.soak.attacks import WEIGHTS, Site, Webhook, attack, crowd, webhook
from benchmarks.soak.carrier import Carrier, Dials
from benchmarks.soak.process import ServerProcess
from voicecall.metrics import FRAME_LATENESS
from voicecall.simulator import Engines, Phone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GUARDED = "benchmarks.soak.guarded"
CALL_SID = "CA" + "1" * 32
OVER_SID = "CA" + "2" * 32
LONG_WORDS = "incomprehensibilities and counterrevolutionaries notwithstanding"
OPEN_FILES = 4096
SAMPLES = 20
PERIOD_MIN_S, PERIOD_MAX_S = 0.1, 10.0
# The first of the requests warm the server up and are not sampled.
WARM_UP_SHARE = 0.2
# A player with 60 ms of buffer runs dry then; the server counts in powers of two.
LATE_BUCKET = "0.064"
TALK_MIN_PER_S = 4
# Sockets in the kernel's hands take a moment to go, and helpers of the HTTP server hold some files.
SETTLE_S = 5.0
FILES_MORE = 4


@dataclass(slots=True)
class LiveCall:
    """The call beside the flood.

    Attributes:
        phone: its other end.
        site: what is attacked.
    """

    phone: Phone
    site: Site


def _token(twiml: bytes) -> str:
    found = re.search(rb'url="[^"]*/([^"/]+)"', twiml)
    if found is None:
        raise RuntimeError("a call that arrives is not told where to stream its media")
    return found[1].decode()


async def _deliver(http: httpx.AsyncClient, told: Webhook) -> bytes:
    answer = await http.post(
        f"/voice/webhook{told.query}", content=told.body, headers=dict(told.headers)
    )
    answer.raise_for_status()
    return answer.content


@asynccontextmanager
async def live_call(server: ServerProcess) -> AsyncIterator[LiveCall]:
    """One call that has arrived and is connected, and another one that is over."""
    async with httpx.AsyncClient(base_url=server.control_url, trust_env=False) as http:
        over = _token(await _deliver(http, webhook(OVER_SID, "ringing")))
        await _deliver(http, webhook(OVER_SID, "completed", query="?kind=status"))
        arrival = webhook(CALL_SID, "ringing")
        answer = await _deliver(http, arrival)
        site = Site(server.control_url, server.media_url, CALL_SID, arrival, answer, over)
        url = f"{server.media_url}/{_token(answer)}"
        async with Phone(url, call_sid=CALL_SID, engines=Engines(None, None)) as phone:
            yield LiveCall(phone, site)
        await _deliver(http, webhook(CALL_SID, "completed", query="?kind=status"))


async def _talk(carrier: Carrier) -> None:
    """Have the bot talk without a break; runs until cancelled."""
    while True:
        answer = await carrier.ask("speak", callId=CALL_SID, message=LONG_WORDS)
        if "error" in answer:
            raise RuntimeError(f"the live call cannot be spoken on: {answer['error']['message']}")


async def readings(control_url: str) -> dict[str, float]:
    """What `/metrics` says, by name and labels."""
    async with httpx.AsyncClient(base_url=control_url, trust_env=False) as http:
        answer = await http.get("/metrics", headers={"Authorization": "Bearer soak"})
        answer.raise_for_status()
    lines = (line.rpartition(" ") for line in answer.text.splitlines() if line[:1] not in {"#", ""})
    return {name: float(value) for name, _, value in lines}


async def _more_files(server: ServerProcess, before: int) -> int:
    """How many more files the server has open than `before`, once those of the flood are closed."""
    deadline_s = time.monotonic() + SETTLE_S
    while (more := server.measure()["openFiles"] - before) > FILES_MORE:
        if time.monotonic() > deadline_s:
            break
        await asyncio.sleep(0.1)
    return more


@dataclass(slots=True)
class Flood:
    """One run.

    Args:
        requests: how many attacks.
        at_once: how many attackers.
        seed: of what they do.

    Attributes:
        problems: what was wrong; complete after `perform`.
        result: numbers, likewise.
    """

    requests: int
    at_once: int = 24
    seed: int = 1
    problems: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    _samples: list[dict[str, float]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def perform(self) -> None:
        """Do it all."""
        async with (
            ServerProcess(lambda _: None, GUARDED) as server,
            Carrier(server.control_url, Dials()) as carrier,
            Carrier(server.control_url, Dials()) as talker,
            live_call(server) as call,
        ):
            talking = asyncio.create_task(_talk(talker))
            try:
                await self._attack(call.site, server, carrier)
            finally:
                talking.cancel()
                ended = (await asyncio.gather(talking, return_exceptions=True))[0]
            if isinstance(ended, Exception):
                self.problems.append(f"the live call: {ended!r}")
            await self._check_call(carrier, call)

    async def _attack(self, site: Site, server: ServerProcess, carrier: Carrier) -> None:
        await self._attackers(site, round(self.requests * WARM_UP_SHARE))
        before, files = await readings(site.control_url), server.measure()["openFiles"]
        began_s = time.monotonic()
        sampling = asyncio.create_task(self._sample(server, carrier, began_s))
        crowding = asyncio.create_task(crowd(site))
        try:
            await self._attackers(site, self.requests)
            await crowding
        finally:
            sampling.cancel()
            crowding.cancel()
            await asyncio.gather(sampling, crowding, return_exceptions=True)
        duration_s = time.monotonic() - began_s
        self._check_effects(before, await readings(site.control_url), duration_s)
        await carrier.hang_up_connections()
        self._check_growth(await _more_files(server, files))
        self.problems += site.failures
        self.result |= {
            "command": command_line("benchmarks.soak.flood"),
            "machine": describe(),
            "requests": site.outcomes.total() + site.failed,
            "wrongAnswers": site.failed,
            "durationSeconds": round(duration_s, 1),
            "outcomes": dict(sorted(site.outcomes.items())),
            "samples": self._samples,
        }

    async def _attackers(self, site: Site, until: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.at_once):
                group.create_task(
                    self._attacker(site, random.Random(f"{self.seed}/{until}/{number}"), until)
                )

    async def _attacker(self, site: Site, rng: random.Random, until: int) -> None:
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
        while next(self._numbers) < until:
            (kind,) = rng.choices(kinds, weights)
            await attack(site, kind, rng)

    async def _sample(self, server: ServerProcess, carrier: Carrier, began_s: float) -> None:
        period_s = min(PERIOD_MAX_S, max(PERIOD_MIN_S, self.requests / 1000 / SAMPLES))
        while True:
            taken = flatness.sample(
                time.monotonic() - began_s,
                server.measure(),
                await server.census(full=False),
                await carrier.state(),
            )
            self._samples.append(taken)
            await asyncio.sleep(period_s)

    # --- judging ------------------------------------------------------------------------------

    def _check_effects(
        self, before: dict[str, float], after: dict[str, float], duration_s: float
    ) -> None:
        """Nothing was believed, and the live call got its audio in time."""
        applied = 'voicecall_webhooks_total{carrier="twilio",result="applied"}'
        if after[applied] != before[applied]:
            self.problems.append(f"{after[applied] - before[applied]:.0f} webhooks were believed")
        bucket = f'voicecall_{FRAME_LATENESS}_bucket{{le="{LATE_BUCKET}"}}'
        count = f"voicecall_{FRAME_LATENESS}_count"
        sent = after[count] - before[count]
        late = sent - (after[bucket] - before[bucket])
        if late:
            self.problems.append(f"{late:.0f} of {sent:.0f} pieces of audio left too late")
        if sent < TALK_MIN_PER_S * duration_s:
            self.problems.append(f"only {sent:.0f} pieces of audio were sent in {duration_s:.0f} s")
        self.result |= {"audioSent": sent, "audioLate": late}

    def _check_growth(self, more_files: int) -> None:
        self.problems += flatness.grown(self._samples)
        if more_files > FILES_MORE:
            self.problems.append(f"{more_files} files stay open")
        self.result["memory"] = {
            name: statistics.median(
                each["residentKib"] for each in flatness.part(self._samples, share)
            )
            for name, share in (("earlyKib", flatness.EARLY), ("lateKib", flatness.LATE))
        }

    async def _check_call(self, carrier: Carrier, call: LiveCall) -> None:
        record = await carrier.record(CALL_SID)
        state = await carrier.state()
        if record.get("state") not in {"speaking", "listening"}:
            self.problems.append(f"the live call is {record.get('state')}")
        if state["calls"]["live"] != 1:
            self.problems.append(f"{state['calls']['live']} calls are live instead of one")
        if call.phone.closed.done():
            self.problems.append("the live call has lost its media")
        self.result["lateAtThePhone"] = call.phone.stats.late


def report(flood: Flood) -> None:
    """Show what has come of it."""
    result = flood.result
    for outcome, count in result.get("outcomes", {}).items():
        print(f"{count:8}  {outcome}")
    if result:
        memory = result["memory"]
        print(
            f"\n{result['requests']} requests in {result['durationSeconds']} s; "
            f"{memory['earlyKib'] / 1024:.1f} MiB early, {memory['lateKib'] / 1024:.1f} MiB late; "
            f"{result['audioLate']:.0f} of {result['audioSent']:.0f} pieces of audio late, "
            f"{result['lateAtThePhone']} at the phone"
        )
    for problem in flood.problems:
        print(f"PROBLEM: {problem}")
    print("flat, and nothing believed" if not flood.problems else f"{len(flood.problems)} problems")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=24, help="how many attackers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    allow_files(OPEN_FILES)
    flood = Flood(options.requests, options.at_once, options.seed)
    uvloop.run(flood.perform())
    report(flood)
    if options.output:
        options.output.write_text(json.dumps(flood.result, indent=1) + "\n")
    return 1 if flood.problems else 0


if __name__ == "__main__":
    sys.exit(main())
