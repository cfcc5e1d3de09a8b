"""Kill a process that stores changes, again and again, and look what is left.

::

    python -m tests.store.crash [--rounds 100] [--seed 0] [--store redis://127.0.0.1/0]

Each round starts a process that stores changes of 50 calls in the store of the round before, and
says which change of which call was acknowledged. It is killed at a random instant, sometimes
before its store is open. Then every acknowledged change has to be there, in order, once; at most
one more a call may be, and each record has to be that of its call's last change.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.store.stores import ended, stored
from voicecall.clock import SystemClock
from voicecall.store.redis import RedisCallStore
from voicecall.store.redis_address import RedisAddress
from voicecall.store.sqlite import SqliteCallStore

CALLS = 50
CHANGES = 12
"""How many changes a call has; with the last one it ends."""

_DEADLINE_S = 30


# --- the process that is killed ------------------------------------------------------------------


def store_at(place: str, *, shared: bool = False) -> SqliteCallStore | RedisCallStore:
    """The store in a file, or at a URL."""
    if "://" in place:
        # A name for each process, so that none waits for the lease of the one before.
        address = RedisAddress.parse(place, server=uuid.uuid4().hex)
        return RedisCallStore(address, clock=SystemClock(), shared=shared)
    return SqliteCallStore(Path(place), clock=SystemClock(), shared=shared)


async def write(place: str) -> None:
    """Store changes of 50 calls at a time, for ever; tell of each once it is acknowledged."""
    store = store_at(place)
    await store.open()
    while True:
        await asyncio.gather(*(_one_call(store, uuid.uuid4().hex) for _ in range(CALLS)))


async def _one_call(store: SqliteCallStore | RedisCallStore, call_id: str) -> None:
    for number in range(CHANGES):
        await store.save(record_after(call_id, number), change(call_id, number))
        # In one write, so that the reader gets it whole even if the next moment is the last.
        os.write(1, f"{call_id} {number}\n".encode())


def record_after(call_id: str, number: int) -> dict[str, Any]:
    """The record of a call after change `number`."""
    fields: dict[str, Any] = {"metadata": {"turnCount": number}, "provider_call_id": f"p{call_id}"}
    if number == CHANGES - 1:
        return ended(call_id, 9_000 + number, words=number, **fields)
    return stored(call_id=call_id, words=number, **fields)


def change(call_id: str, number: int) -> dict[str, Any]:
    return {"type": "call.speech", "timestamp": number, "callId": call_id}


# --- who kills it --------------------------------------------------------------------------------


@dataclass(slots=True)
class Findings:
    """What the rounds have shown.

    Attributes:
        acknowledged: by call, the last change that was acknowledged; of all rounds.
        rounds: how many there were.
        problems: what should not be.
    """

    acknowledged: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def changes(self) -> int:
        """How many changes were acknowledged."""
        return sum(number + 1 for number in self.acknowledged.values())


def crash_once(place: str, findings: Findings, chance: random.Random) -> None:
    """One round: let a writer work for a while, kill it, and look."""
    command = [sys.executable, "-m", "tests.store.crash", "--write", place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:  # noqa: S603
        try:
            said = _until_then(process, chance)
        finally:
            process.kill()
        assert process.stdout is not None
        said += process.stdout.read()
    for line in said.decode().splitlines():
        call_id, number = line.split()
        findings.acknowledged[call_id] = int(number)
    asyncio.run(_look(place, findings))
    findings.rounds += 1


def _until_then(process: subprocess.Popen[bytes], chance: random.Random) -> bytes:
    """What the process says until a random instant."""
    assert process.stdout is not None
    if chance.random() < 0.2:
        # While it starts, makes the file or recovers it.
        time.sleep(chance.uniform(0.0, 0.4))
        return b""
    wanted = chance.randrange(1, 60_000)
    deadline = time.monotonic() + _DEADLINE_S
    said = b""
    while len(said) < wanted and time.monotonic() < deadline:
        said += process.stdout.read(4096) or b""
    time.sleep(chance.uniform(0.0, 0.005))
    return said


async def _look(place: str, findings: Findings) -> None:
    store = store_at(place, shared=True)
    await store.open()
    try:
        found = {record["callId"]: record for record in await store.recent(1_000_000)}
        live = {record["callId"] for record in await store.live()}
        for call_id in findings.acknowledged.keys() - found.keys():
            findings.problems.append(f"{call_id}: acknowledged, but not there")
        for call_id, record in found.items():
            acknowledged = findings.acknowledged.get(call_id, -1)
            history = list(await store.history(call_id))
            problem = _problem(call_id, record, history, acknowledged)
            if problem is None and (call_id in live) != (len(history) < CHANGES):
                problem = "live and ended at once"
            if problem is not None:
                findings.problems.append(f"{call_id}: {problem}")
            # What is there stays there, acknowledged or not.
            findings.acknowledged[call_id] = len(history) - 1
    finally:
        await store.close()


def _problem(call_id: str, record: Any, history: list[Any], acknowledged: int) -> str | None:
    last = len(history) - 1
    if last < acknowledged:
        return f"change {acknowledged} was acknowledged, {last} is the last one there"
    if last > acknowledged + 1:
        return f"change {last} is there, {acknowledged} was the last one acknowledged"
    if history != [change(call_id, number) for number in range(last + 1)]:
        return "changes are missing, repeated or out of order"
    if record != record_after(call_id, last):
        return f"the record is not that of change {last}"
    return None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.store.crash")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", help="a database; a file of its own without")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.write is not None:
        asyncio.run(write(options.write))
    findings = Findings()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="voicecall-crash-") as folder:
        for _ in range(options.rounds):
            crash_once(options.store or str(Path(folder) / "calls"), findings, chance)
    told = (
        f"{findings.rounds} kills, {len(findings.acknowledged)} calls, {findings.changes} changes"
    )
    sys.stdout.write("\n".join([told, *findings.problems, ""]))
    return 1 if findings.problems else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
