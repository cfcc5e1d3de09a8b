"""kill -9 of a whole server under simulated calls, again and again; nothing acknowledged is lost.

    python -m benchmarks.soak.crash --kills 100 [--carrier twilio] [--calls 50] [--seed 1]

The carrier is simulated in this process and goes on; the server is `voicecall serve` in a process
of its own, on the same ports and the same store each time. Calls are asked for, come in, talk,
press keys and hang up at random, while the server is killed at a random instant up to two seconds
after it is ready, or while it starts. Without `--carrier` the three carriers take turns; of each
one's kills a third is under calls whose media are streamed.

After each restart everything that the server had acknowledged, to clients and to the carrier, has
to be in the store; nothing may be there that nobody asked for; calls that ended meanwhile have to
be closed, and those that live have to go on. At the end no call may be left, at the server or at
the carrier, nobody may have been called twice, and as many calls as are allowed have to fit again.

The exit status is 1 when any of that fails.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.load.machine import command_line, describe
from benchmarks.load.process import allow_files
from benchmarks.soak.carrier import WEBHOOKS_AT_ONCE
from benchmarks.soak.ledger import Ledger, Stored, read_store
from benchmarks.soak.people import CARRIERS, People, exchange
from benchmarks.soak.target import PERSONA
from benchmarks.soak.victim import GONE, NotReady, Refused, Victim, fixed_ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.simulator.exchange import Exchange

OUR_NUMBER = "+15550000000"
OPEN_FILES = 4096
MEDIA_SHARE = 1 / 3
# Phones take this process more time than words do.
MEDIA_CALLS_SHARE = 1 / 2
INBOUND_SHARE, NOTIFY_SHARE, END_SHARE, DURING_START_SHARE = 0.4, 0.15, 0.2, 0.15
NEXT_CALL_S = 0.05
KILL_WITHIN_S = 2.0
START_S = 2.5
# Within which a server that has started again has asked the carrier about all calls.
RECONCILED_S = 1.2
END_WITHIN_S = (0.3, 5.0)
RING_MS = 5000
# Words, keys and ends that are on their way arrive within that.
SETTLE_S = 3.0
OVER_WITHIN_S = 60.0
FORGOTTEN_WITHIN_S = 5.0
POLL_S = 0.05
FULL = "capacity_reached"
PROBLEMS_SHOWN = 40


def say(text: str) -> None:
    print(text, flush=True)


def settings(plan: Plan, simulated: Exchange[Any], store: Path) -> dict[str, Any]:
    """The server's configuration."""
    carrier = plan.carrier
    port, media_port = fixed_ports(2)
    return {
        "provider": carrier,
        "fromNumber": OUR_NUMBER,
        carrier: simulated.account,
        "publicUrl": f"http://127.0.0.1:{port}",
        "serve": {"port": port},
        "store": str(store),
        "inboundPolicy": "open",
        "inboundGreeting": "Hi.",
        "maxConcurrentCalls": plan.limit,
        "maxDurationSeconds": 600,
        "ringTimeoutMs": RING_MS,
        "outbound": {"notifyHangupDelaySec": 0.1},
        "responseModel": f"scripted/{PERSONA}",
        "stt": {"provider": "scripted"},
        "tts": {"provider": "scripted"},
        "streaming": {
            "enabled": plan.media,
            "port": media_port,
            "publicUrl": f"http://127.0.0.1:{media_port}",
            "maxPendingConnections": plan.limit,
            "maxPendingConnectionsPerIp": plan.limit,
        },
    }


class Callers:
    """Keeps as many calls going as there may be: some are asked for, some come in.

    Args:
        victim: places calls.
        simulated: the carrier.
        ledger: told of what the server acknowledges.
        rng: decides who calls.
        calls: how many live at once.

    Attributes:
        outcomes: what came of asking for calls, and how many came in.
    """

    def __init__(
        self,
        victim: Victim,
        simulated: Exchange[Any],
        ledger: Ledger,
        rng: random.Random,
        calls: int,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._victim = victim
        self._simulated = simulated
        self._ledger = ledger
        self._rng = rng
        self._calls = calls
        self._numbers = itertools.count(15_551_000_000)
        self._asking: set[asyncio.Task[object]] = set()
        self._placing = 0

    async def run(self) -> None:
        """Let people call and be called until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._rng.expovariate(1 / NEXT_CALL_S))
                if len(self._ledger.alive()) + self._placing < self._calls:
                    await self._one_more()
        finally:
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    async def _one_more(self) -> None:
        if self._rng.random() < INBOUND_SHARE:
            url = f"{self._victim.url}/voice/webhook"
            await self._simulated.call_in(f"+{next(self._numbers)}", OUR_NUMBER, url)
            self.outcomes["came in"] += 1
            return
        mode = "notify" if self._rng.random() < NOTIFY_SHARE else "conversation"
        end_after_s = None
        if self._rng.random() < END_SHARE:
            end_after_s = self._rng.uniform(*END_WITHIN_S)
        task = asyncio.create_task(self._ask_for(mode, end_after_s))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask_for(self, mode: str, end_after_s: float | None) -> None:
        number = str(next(self._numbers))
        call_id = await self.place(number, mode)
        if call_id is not None and end_after_s is not None:
            await asyncio.sleep(end_after_s)
            await self.end(number, call_id)

    async def place(self, number: str = "", mode: str = "conversation") -> str | None:
        """Ask for a call; the server's id of it if it was placed."""
        number = number or str(next(self._numbers))
        self._ledger.asked.add(number)
        self._placing += 1
        try:
            told = await self._victim.ask("initiate", message="Hi.", to=f"+{number}", mode=mode)
        except Refused as refused:
            self._refused("initiate", number, refused)
        except GONE:
            self.outcomes["asked for in vain"] += 1
        else:
            self.outcomes["placed"] += 1
            call_id: str = told["callId"]
            self._ledger.acknowledge(number, "known", call_id)
            return call_id
        finally:
            self._placing -= 1
        return None

    async def end(self, number: str, call_id: str) -> None:
        """Ask for the end of a call."""
        try:
            await self._victim.ask("end", callId=call_id)
        except Refused as refused:
            self._refused("end", number, refused)
        except GONE:
            self.outcomes["not told of an end"] += 1
        else:
            self.outcomes["ended"] += 1
            self._ledger.acknowledge(number, "ended")

    def _refused(self, what: str, number: str, refused: Refused) -> None:
        self.outcomes[f"{what} refused: {refused.code}"] += 1
        if refused.code != FULL:
            self._ledger.problems.append(f"{number}: {what} was refused: {refused}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a stage is.

    Attributes:
        carrier: its name.
        media: whether media are streamed.
        kills: how many.
        calls: how many live at once.
        seed: of all that is random.
    """

    carrier: str
    media: bool
    kills: int
    calls: int
    seed: int = 1

    @property
    def limit(self) -> int:
        """How many calls the server takes: also as many new ones as ended while it was down."""
        return 2 * self.calls

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.carrier}, {'media' if self.media else 'words'}"


@dataclass(slots=True)
class Watched:
    """Who lived and who did not when a server was ready, to be looked at after the next start.

    Attributes:
        over: calls that had ended at the carrier.
        doubtful: calls that lived there, but not for the server.
    """

    over: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)


class Stage:
    """The kills of one server, on one store, under the calls of one carrier.

    Args:
        plan: what is done.
        folder: for the store, the configuration and the log.

    Attributes:
        problems: what was wrong; complete after `perform`.
        result: numbers, likewise.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.problems: list[str] = []
        self.result: dict[str, Any] = {}
        self._plan = plan
        self._folder = folder
        self._store = folder / "calls.sqlite"
        self._rng = random.Random(f"{plan.carrier} {plan.media} {plan.seed}")
        self._people = People(self._rng)
        self._kills: Counter[str] = Counter()
        self._watched = Watched()

    async def perform(self) -> None:
        """Do it all."""
        plan = self._plan
        async with exchange(plan.carrier, self._people) as simulated:
            simulated.webhooks.limit(WEBHOOKS_AT_ONCE)
            self._simulated = simulated
            self._ledger = Ledger(plan.carrier, simulated, media=plan.media)
            self._victim = Victim(self._folder, settings(plan, simulated, self._store))
            self._callers = Callers(self._victim, simulated, self._ledger, self._rng, plan.calls)
            began_s = time.monotonic()
            try:
                await self._kill_all()
                await self._wind_up()
            except NotReady as error:
                self._ledger.problems.append(str(error))
            finally:
                await self._victim.stop()
            self._sum_up(time.monotonic() - began_s)

    async def _kill_all(self) -> None:
        calling = asyncio.create_task(self._callers.run())
        try:
            for _ in range(self._plan.kills):
                await self._kill_once()
            await self._victim.start()
            await self._victim.until_ready()
        finally:
            calling.cancel()
            ended = (await asyncio.gather(calling, return_exceptions=True))[0]
        if isinstance(ended, Exception):
            raise ended

    async def _kill_once(self) -> None:
        await self._victim.start()
        if self._rng.random() < DURING_START_SHARE:
            await asyncio.sleep(self._rng.uniform(0.0, START_S))
            await self._victim.kill()
            self._kills["while it started"] += 1
            return
        await self._victim.until_ready()
        up_s = self._rng.uniform(0.0, KILL_WITHIN_S)
        over = self._ledger.over()
        checking = asyncio.create_task(self._check(long=up_s >= RECONCILED_S, over=over))
        try:
            await asyncio.sleep(up_s)
            await self._victim.kill()
            self._kills["while it was ready"] += 1
        finally:
            await checking

    async def _check(self, *, long: bool, over: set[str]) -> Stored:
        """Compare, after a start; what has to be true then of calls seen at the start before."""
        ledger = self._ledger
        ledger.take_deliveries()
        alive = ledger.alive()
        with_keys = ledger.numbers_with_keys()
        facts, ledger.facts = ledger.facts, []
        stored = await asyncio.to_thread(read_store, self._store, with_keys)
        ledger.check(facts, stored)
        ledger.found += facts
        ledger.check_reconciled(self._watched.over, stored)
        ledger.check_live(self._watched.doubtful & alive, stored)
        doubtful = {number for number in alive if not stored.lives(number)}
        self._watched = Watched(over, doubtful) if long else Watched()
        return stored

    # --- the end ------------------------------------------------------------------------------

    async def _wind_up(self) -> None:
        """Nobody calls any more: all that there is comes to its end, and leaves nothing."""
        ledger = self._ledger
        await self._check(long=True, over=ledger.over())
        await asyncio.sleep(SETTLE_S)
        await self._check(long=False, over=set())
        await self._until(
            lambda: ledger.over() == ledger.lines().keys(),
            OVER_WITHIN_S,
            "calls live at the carrier",
        )
        await self._simulated.webhooks.idle()
        await self._check_empty("after the last call")
        await self._fill()
        ledger.take_deliveries()
        ledger.facts += ledger.found
        ledger.found = []
        stored = await self._check(long=False, over=set())
        ledger.check_reconciled(ledger.over(), stored, at_last=True)
        ledger.check_reasons(stored)
        ledger.check_dials()
        self.result["records"] = len(stored.records)

    async def _fill(self) -> None:
        """As many calls as are allowed have to fit, and not one more."""
        self._people.stay = True
        numbers = [str(15_552_000_000 + number) for number in range(self._plan.limit)]
        placed = await asyncio.gather(*(self._callers.place(number) for number in numbers))
        if None in placed:
            self.problems.append(f"only {len(placed) - placed.count(None)} calls fit at the end")
        elif await self._callers.place(str(15_553_000_000)) is not None:
            self.problems.append("there is room for more calls than are allowed")
        await asyncio.gather(
            *(
                self._callers.end(number, call_id)
                for number, call_id in zip(numbers, placed, strict=True)
                if call_id is not None
            )
        )
        await self._until(
            lambda: not self._ledger.alive(), FORGOTTEN_WITHIN_S, "calls were not hung up"
        )
        await self._check_empty("after all were ended")

    async def _check_empty(self, when: str) -> None:
        deadline_s = time.monotonic() + FORGOTTEN_WITHIN_S
        while True:
            state = await self._victim.state()
            left = state["calls"]["live"] + state["streams"]["open"]
            if not left or time.monotonic() > deadline_s:
                break
            await asyncio.sleep(POLL_S)
        if left:
            self.problems.append(f"{when}: {state['calls']} calls, {state['streams']} streams")

    async def _until(self, done: Callable[[], bool], within_s: float, otherwise: str) -> None:
        deadline_s = time.monotonic() + within_s
        while not done():
            if time.monotonic() > deadline_s:
                self.problems.append(f"{otherwise} after {within_s:.0f} s")
                return
            await asyncio.sleep(POLL_S)

    def _sum_up(self, duration_s: float) -> None:
        ledger = self._ledger
        refused = {status: count for status, count in ledger.statuses.items() if status >= 300}
        if refused:
            self.problems.append(f"webhooks were refused: {refused}")
        self.problems = [f"{self._plan.name}: {each}" for each in self.problems + ledger.problems]
        self.result |= {
            "name": self._plan.name,
            "kills": dict(self._kills),
            "calls": len(ledger.lines()),
            "acknowledged": ledger.acknowledged,
            "facts": dict(Counter(fact.kind for fact in ledger.found + ledger.facts)),
            "outcomes": dict(sorted(self._callers.outcomes.items())),
            "webhooks": dict(ledger.statuses),
            "durationSeconds": round(duration_s, 1),
            "problems": self.problems,
        }


def plans(options: argparse.Namespace) -> list[Plan]:
    """The stages of a run: the kills shared among the carriers, and between words and media."""
    carriers = [options.carrier] if options.carrier else list(CARRIERS)
    found = []
    for position, carrier in enumerate(carriers):
        kills = len(range(position, options.kills, len(carriers)))
        with_media = round(kills * MEDIA_SHARE)
        media_calls = max(1, round(options.calls * MEDIA_CALLS_SHARE))
        found += [
            Plan(carrier, False, kills - with_media, options.calls, options.seed),
            Plan(carrier, True, with_media, media_calls, options.seed),
        ]
    return [plan for plan in found if plan.kills]


async def perform(options: argparse.Namespace, folder: Path) -> list[Stage]:
    """Do all stages, and show what came of each."""
    stages = []
    for position, plan in enumerate(plans(options)):
        place = folder / f"{position}"
        place.mkdir(parents=True)
        stage = Stage(plan, place)
        stages.append(stage)
        await stage.perform()
        report(stage)
    return stages


def report(stage: Stage) -> None:
    """Show what has come of a stage."""
    result = stage.result
    kills = " and ".join(f"{count} {when}" for when, count in result["kills"].items())
    say(f"{result['name']}: killed {kills}, in {result['durationSeconds']} s")
    say(f"  {result['calls']} calls, {result['acknowledged']} acknowledged changes")
    for what in ("facts", "outcomes", "webhooks"):
        say(f"  {what}: " + ", ".join(f"{count} {name}" for name, count in result[what].items()))
    for problem in stage.problems[:PROBLEMS_SHOWN]:
        say(f"PROBLEM: {problem}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--carrier", choices=CARRIERS, help="all in turn when left out")
    parser.add_argument("--calls", type=int, default=50, help="how many live at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep stores and logs there")
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    allow_files(OPEN_FILES)
    with tempfile.TemporaryDirectory(prefix="voicecall-crash-") as temporary:
        stages = uvloop.run(perform(options, options.folder or Path(temporary)))
    problems = sum(len(stage.problems) for stage in stages)
    kills = sum(sum(stage.result["kills"].values()) for stage in stages)
    calls = sum(stage.result["calls"] for stage in stages)
    changes = sum(stage.result["acknowledged"] for stage in stages)
    say(f"{kills} kills, {calls} calls, {changes} acknowledged changes, {problems} problems")
    if options.output:
        told = {
            "command": command_line("benchmarks.soak.crash"),
            "machine": describe(),
            "stages": [stage.result for stage in stages],
        }
        options.output.write_text(json.dumps(told, indent=1) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
