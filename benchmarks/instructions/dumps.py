"""What callgrind writes at the driver's request, and the cost of a call out of two such files."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The driver's loop around a function that does nothing.
EMPTY = "empty"

_DUMP = re.compile(
    r"^desc: Trigger: Client Request: (?P<name>\w+) (?P<units>\d+) (?P<calls>\d+)\n"
    r"(?:.*\n)*?summary: (?P<instructions>\d+)$",
    re.MULTILINE,
)


@dataclass(slots=True, frozen=True)
class Dump:
    """Instructions of one loop of the driver.

    Attributes:
        name: the case's.
        units: how many of what is counted one call does.
        calls: made in the loop.
        instructions: of the whole loop.
    """

    name: str
    units: int
    calls: int
    instructions: int


def label(name: str, units: int, calls: int) -> str:
    """What the driver names a dump."""
    return f"{name} {units} {calls}"


def dump_of(text: str) -> Dump | None:
    """Read one of callgrind's files; None when it is not one that the driver asked for."""
    match = _DUMP.search(text)
    if match is None:
        return None
    units, calls, instructions = map(int, match.group("units", "calls", "instructions"))
    return Dump(match["name"], units, calls, instructions)


def cost_of(short: Dump, long: Dump) -> float:
    """Instructions of one call, from two loops of different length."""
    return (long.instructions - short.instructions) / (long.calls - short.calls)


def counts_of(dumps: Iterable[Dump]) -> dict[str, int]:
    """Instructions of one unit of each case, without the loop.

    Args:
        dumps: of a short and a long loop for each case, and for EMPTY.
    """
    loops: dict[str, list[Dump]] = defaultdict(list)
    for dump in sorted(dumps, key=lambda dump: dump.calls):
        loops[dump.name].append(dump)
    empty = cost_of(*loops.pop(EMPTY))
    return {
        name: round((cost_of(short, long) - empty) / short.units)
        for name, (short, long) in loops.items()
    }
