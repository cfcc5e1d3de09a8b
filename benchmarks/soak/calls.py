"""Thousands of calls from start to end: each is dialled once, and ends once and as it should."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.soak.caller import Caller
from voicecall.call.record import CallState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from benchmarks.soak.carrier import Carrier, Dialled

CALL_S = 40.0
SETTLE_S = 15.0
# The longest course takes three seconds and the grace for a lost socket two; a busy machine more.
# A lost socket that is noticed only by the silence on it takes thirty.
LONGEST_MS = 15_000
PROBLEMS_KEPT = 20

_RANK = {
    CallState.INITIATED: 0,
    CallState.RINGING: 1,
    CallState.ANSWERED: 2,
    CallState.ACTIVE: 3,
    CallState.SPEAKING: 4,
    CallState.LISTENING: 4,
}
# What may still be told of a call that has ended: the words that were on their way.
_LAST_WORDS = frozenset({"call.spoken", "call.speech"})


@dataclass(slots=True)
class Story:
    """What was told of one call.

    Attributes:
        rank: how far it is.
        ends: how often it has ended.
        over: set at the end.
        problems: what cannot be true.
    """

    rank: int = 0
    ends: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    problems: list[str] = field(default_factory=list)

    def tell(self, change: dict[str, Any]) -> None:
        """One more change."""
        state, kind = CallState(change["state"]), change["type"]
        if self.ends and kind not in _LAST_WORDS:
            self.problems.append(f"{kind} after the end")
        elif state.terminal:
            self.ends += not self.ends or kind not in _LAST_WORDS
            self.over.set()
        elif _RANK[state] < self.rank:
            self.problems.append(f"{kind} moves it back to {state.value}")
        else:
            self.rank = _RANK[state]


class Ledger:
    """Keeps the story of every call, as the server's event stream tells it.

    Args:
        carrier: of the server.

    Attributes:
        stories: by call id; those that were checked are gone.
        gaps: changes that the server could not tell, since nobody read fast enough.
    """

    def __init__(self, carrier: Carrier) -> None:
        self.stories: defaultdict[str, Story] = defaultdict(Story)
        self.gaps = 0
        self._carrier = carrier
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to listen."""
        ready = asyncio.Event()
        self._following = asyncio.create_task(self._follow(ready))
        waiting = asyncio.create_task(ready.wait())
        async with asyncio.timeout(SETTLE_S):
            await asyncio.wait({waiting, self._following}, return_when=asyncio.FIRST_COMPLETED)
        if self._following.done():
            self._following.result()

    async def close(self) -> None:
        """Listen no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self, ready: asyncio.Event) -> None:
        async for change in self._carrier.changes(ready):
            if change["type"] == "gap":
                self.gaps += change["dropped"]
            else:
                self.stories[change["callId"]].tell(change)


@dataclass(slots=True)
class Tally:
    """What came of all calls.

    Attributes:
        wanted: how many there will be.
        ends: how many ended how.
        wrong: calls that did not go as they should.
        problems: the first of what was wrong.
    """

    wanted: int
    ends: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many calls are over."""
        return self.ends.total() + self.wrong

    def note(self, name: str, problems: list[str], reason: str) -> None:
        """One call is over."""
        if not problems:
            self.ends[f"{name}: {reason}"] += 1
            return
        self.wrong += 1
        self.problems += [f"{name}: {problem}" for problem in problems]
        del self.problems[PROBLEMS_KEPT:]


# --- courses of a call ----------------------------------------------------------------------------


async def _converse(carrier: Carrier, call: Dialled, rng: random.Random) -> None:
    """Two turns; the bot says goodbye."""
    del rng
    async with await _picked_up(carrier, call) as caller:
        while not caller.closed.done():
            await caller.hears()
            await asyncio.sleep(0.35)
            await caller.say(200)


async def _hang_up(carrier: Carrier, call: Dialled, rng: random.Random) -> None:
    """The caller hangs up; the carrier reports it twice, and an answer after that."""
    async with await _picked_up(carrier, call) as caller:
        await asyncio.sleep(rng.uniform(0.1, 0.5))
        caller.send(caller.wire.stop())
    for _ in range(2):
        await carrier.report(call, "call.ended", reason="completed")
    await carrier.report(call, "call.answered")


async def _drop(carrier: Carrier, call: Dialled, rng: random.Random) -> None:
    """The connection breaks, and nobody reports anything."""
    async with await _picked_up(carrier, call):
        await asyncio.sleep(rng.uniform(0.1, 0.5))


async def _ended_by_us(carrier: Carrier, call: Dialled, rng: random.Random) -> None:
    """Ended by RPC, twice at the same time."""
    async with await _picked_up(carrier, call) as caller:
        await asyncio.sleep(rng.uniform(0.1, 0.5))
        await asyncio.gather(*(carrier.ask("end", callId=call.call_id) for _ in range(2)))
        await caller.ended()


async def _in_vain(carrier: Carrier, call: Dialled, rng: random.Random) -> None:
    """Busy."""
    del rng
    await carrier.report(call, "call.ringing")
    await carrier.report(call, "call.ended", reason="busy")


async def _picked_up(carrier: Carrier, call: Dialled) -> Caller:
    """Ring, answer, and connect the media."""
    await carrier.report(call, "call.ringing")
    await carrier.report(call, "call.answered")
    caller = await Caller.open(call)
    caller.start()
    return caller


@dataclass(frozen=True, slots=True)
class Course:
    """One way a call can go.

    Attributes:
        weight: how often.
        run: what the far end does.
        reason: how it has to end.
    """

    weight: int
    run: Callable[[Carrier, Dialled, random.Random], Awaitable[None]]
    reason: str


COURSES = {
    "conversation": Course(30, _converse, "hangup-bot"),
    "caller hangs up": Course(30, _hang_up, "completed"),
    "connection breaks": Course(15, _drop, "hangup-user"),
    "ended by RPC": Course(15, _ended_by_us, "hangup-bot"),
    "busy": Course(10, _in_vain, "busy"),
}


async def hold(carrier: Carrier, ledger: Ledger, tally: Tally, at_once: int, seed: int) -> None:
    """Hold all the calls of a tally, `at_once` at a time.

    Raises:
        ExceptionGroup: the server cannot be talked to.
    """
    numbers = iter(range(tally.wanted))
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(_hold_some(carrier, ledger, tally, numbers, seed))


async def _hold_some(
    carrier: Carrier, ledger: Ledger, tally: Tally, numbers: Iterator[int], seed: int
) -> None:
    for number in numbers:
        rng = random.Random(f"{seed}/{number}")
        (name,) = rng.choices(list(COURSES), [course.weight for course in COURSES.values()])
        problems, reason = await _hold_one(carrier, ledger, COURSES[name], rng)
        tally.note(name, problems, reason)


async def _hold_one(
    carrier: Carrier, ledger: Ledger, course: Course, rng: random.Random
) -> tuple[list[str], str]:
    """One call; what was wrong with it, and how it ended."""
    try:
        async with asyncio.timeout(CALL_S):
            call = await carrier.place("Hi")
            await course.run(carrier, call, rng)
            await ledger.stories[call.call_id].over.wait()
            record = await carrier.record(call.call_id)
    except (TimeoutError, RuntimeError, OSError) as error:
        return [repr(error)], ""
    story = ledger.stories[call.call_id]
    return check(story, record, course.reason, carrier.dials.counts[call.call_id]), course.reason


def check(story: Story, record: dict[str, Any], reason: str, dials: int) -> list[str]:
    """What is wrong with a call that is over."""
    problems = list(story.problems)
    if story.ends != 1:
        problems.append(f"ended {story.ends} times")
    if dials != 1:
        problems.append(f"dialled {dials} times")
    if (record.get("state"), record.get("endReason")) != (reason, reason):
        problems.append(f"ended as {record.get('endReason')} instead of {reason}")
    elif (
        not record["startedAt"]
        <= (record["answeredAt"] or record["startedAt"])
        <= record["endedAt"]
    ):
        problems.append("its times are not in order")
    elif record["endedAt"] - record["startedAt"] > LONGEST_MS:
        problems.append(f"took {record['endedAt'] - record['startedAt']} ms")
    return problems


def late_problems(ledger: Ledger, carrier: Carrier) -> list[str]:
    """What came to light after calls were checked: ends that were told again, second dials."""
    problems = [
        f"a call ended {story.ends} times: {', '.join(story.problems)}"
        for story in ledger.stories.values()
        if story.ends != 1 or story.problems
    ]
    problems += [
        f"a call was dialled {count} times" for count in carrier.dials.counts.values() if count != 1
    ]
    if ledger.gaps:
        problems.append(f"{ledger.gaps} changes were never seen")
    return problems[:PROBLEMS_KEPT]
