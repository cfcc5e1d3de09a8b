"""Holds one call for each fault and carrier, and says what came of it.

    python -m tests.faults.matrix [--write] [--only WORDS] [--log]

Prints the matrix as a Markdown table; with `--write`, puts it into docs/faults.md.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.faults.cells import Outcome, hold
from tests.faults.rows import ROWS, Row
from tests.faults.site import CARRIERS, CarrierName
from tests.hosting import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Matrix: TypeAlias = Mapping[tuple[str, CarrierName], Outcome | None]

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN: Final = "<!-- what `python -m tests.faults.matrix --write` found -->"
NOT_THERE: Final = "-"

# More would make each other late on a small machine.
_AT_ONCE: Final = 9
_WITHIN_S: Final = 110.0
_TITLES: Mapping[CarrierName, str] = {"twilio": "Twilio", "telnyx": "Telnyx", "plivo": "Plivo"}


async def fill(rows: Sequence[Row] = ROWS, carriers: Sequence[CarrierName] = CARRIERS) -> Matrix:
    """Hold all calls, several at once, each on a server of its own."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def cell(row: Row, carrier: CarrierName) -> Outcome | None:
        async with free:
            return await hold(row, carrier)

    cells = [(row, carrier) for row in rows for carrier in carriers]
    outcomes = await asyncio.gather(*(cell(*each) for each in cells))
    named = [(row.wrong, carrier) for row, carrier in cells]
    return dict(zip(named, outcomes, strict=True))


def said(outcome: Outcome | None) -> str:
    """A cell in words."""
    return NOT_THERE if outcome is None else str(outcome)


def table(matrix: Matrix) -> str:
    """The matrix in Markdown."""
    head = ["What goes wrong", *(_TITLES[carrier] for carrier in CARRIERS)]
    rows = [
        [wrong, *(said(matrix[wrong, carrier]) for carrier in CARRIERS)]
        for wrong in dict.fromkeys(wrong for wrong, _ in matrix)
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written() -> str:
    """The table that the documentation has."""
    return DOCUMENT.read_text("utf-8").partition(f"{BEGIN}\n\n")[2]


def _write(found: str) -> None:
    before = DOCUMENT.read_text("utf-8").partition(BEGIN)[0]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{found}", "utf-8")


def main() -> None:
    """Fill the matrix, and print it or keep it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.matrix")
    parser.add_argument("--write", action="store_true", help="put the table into docs/faults.md")
    parser.add_argument("--only", default="", help="rows that have these words")
    parser.add_argument("--log", action="store_true", help="show what the server logs")
    asked = parser.parse_args()
    if asked.log:
        logging.basicConfig(level=logging.INFO)
    rows = [row for row in ROWS if asked.only in row.wrong]
    found = table(run(fill(rows), within_s=_WITHIN_S))
    if asked.write:
        _write(found)
    print(found, end="")  # noqa: T201  (a command)


if __name__ == "__main__":
    main()
