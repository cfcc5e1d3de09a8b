"""Every cell of the fault matrix; docs/faults.md has what is expected of each."""

from __future__ import annotations

import logging
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.faults.matrix import fill, said, table, written
from tests.faults.rows import ROWS
from tests.faults.site import CARRIERS
from tests.hosting import run

if TYPE_CHECKING:
    from tests.faults.cells import Outcome
    from tests.faults.matrix import Matrix
    from tests.faults.rows import Row
    from tests.faults.site import CarrierName

pytestmark = [pytest.mark.socket, pytest.mark.timed]

_WITHIN_S = 110.0
_LOGGERS = ("voicecall", "asyncio")

KINDS = tuple(dict.fromkeys(row.kind for row in ROWS))


class Errors(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(f"{record.name}: {record.getMessage()} {record.exc_text or ''}")


@cache
def filled(kind: str) -> tuple[Matrix, list[str]]:
    """The rows of one kind, filled at once for all tests, and the errors logged meanwhile."""
    errors = Errors()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(errors)
    try:
        rows = [row for row in ROWS if row.kind == kind]
        matrix = dict(run(fill(rows), within_s=_WITHIN_S))
        for row, carrier in product(rows, CARRIERS):
            first = matrix[row.wrong, carrier]
            as_written = said(first) == documented()[row.wrong, carrier]
            if not as_written and first is not None and not first.problems:
                # Which of two reports comes first may be another one on a busy machine.
                matrix.update(run(fill([row], [carrier]), within_s=_WITHIN_S))
        return matrix, errors.kept
    finally:
        for logger in loggers:
            logger.removeHandler(errors)


def outcome_of(row: Row, carrier: CarrierName) -> Outcome | None:
    return filled(row.kind)[0][row.wrong, carrier]


@cache
def documented() -> dict[tuple[str, CarrierName], str]:
    lines = [line.strip("| \n").split(" | ") for line in written().splitlines()[2:]]
    return {(line[0], carrier): line[1 + n] for line in lines for n, carrier in enumerate(CARRIERS)}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.wrong)
def test_a_fault_costs_no_second_dial_no_slot_no_record_and_no_open_line(
    row: Row, carrier: CarrierName
) -> None:
    outcome = outcome_of(row, carrier)
    assert (outcome is None) == (row.place(carrier) is None)
    assert outcome is None or outcome.problems == []


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.wrong)
def test_a_fault_comes_to_what_is_documented(row: Row, carrier: CarrierName) -> None:
    assert said(outcome_of(row, carrier)) == documented()[row.wrong, carrier]


def test_the_documentation_has_the_whole_table_and_no_more() -> None:
    matrix = {cell: outcome for kind in KINDS for cell, outcome in filled(kind)[0].items()}
    assert written() == table(matrix)


@pytest.mark.parametrize("kind", KINDS)
def test_no_fault_of_the_carriers_is_an_error_of_ours(kind: str) -> None:
    assert filled(kind)[1] == []
