"""Calls in a table."""

from __future__ import annotations

import time

import pytest

from tests.cli.records import BEGAN_MS, CALL_ID, HARMLESS, STEERING, drawn, over, record, said
from voicecall.cli.call_table import CallTable

pytestmark = pytest.mark.unit

DAY_MS = 86_400_000


def table(*records: dict[str, object], columns: int = 120, now_ms: float = BEGAN_MS) -> list[str]:
    return drawn(CallTable(records, now_ms), columns).splitlines()


def test_a_call_is_a_line_under_its_heads() -> None:
    head, line = table(over("hangup-user", transcript=[said("bot", "Hello!"), said("user", "Hi")]))
    assert head.split() == ["call", "started", "with", "state", "lasted", "last", "said"]
    began = time.strftime("%H:%M:%S", time.localtime(BEGAN_MS / 1000))
    cells = [CALL_ID, began, "→", "+15550001234", "hangup-user", "1:05", "Hi"]
    assert line.split() == cells
    # Under its own head, and the time as a number is.
    for name, cell in (("started", began), ("with", "→"), ("state", "hangup"), ("last said", "Hi")):
        assert line.index(cell) == head.index(name)
    assert line.index("1:05") + len("1:05") == head.index("lasted") + len("lasted")


def test_who_called_us_is_told_apart_from_whom_we_called() -> None:
    lines = table(record(), record(direction="inbound"))
    assert "→ +15550001234" in lines[1]
    assert "← +15550000000" in lines[2]


def test_the_date_is_told_of_calls_that_are_not_of_today() -> None:
    expected = time.strftime("%d %b %H:%M", time.localtime(BEGAN_MS / 1000))
    assert expected in table(record(), now_ms=BEGAN_MS + DAY_MS)[1]


def test_a_narrow_terminal_shows_less_of_each_call_and_ids_whole() -> None:
    records = [over("hangup-user", transcript=[said("user", "Hi there, " * 20)])]
    heads = {width: table(*records, columns=width)[0].split() for width in (100, 90, 80)}
    assert heads == {
        100: ["call", "started", "with", "state", "lasted", "last", "said"],
        90: ["call", "started", "with", "state", "lasted"],
        80: ["call", "with", "state", "lasted"],
    }
    for width in (100, 90, 80):
        line = table(*records, columns=width)[1]
        assert len(line) <= width
        for cell in (CALL_ID, "+15550001234", "hangup-user", "1:05"):
            assert cell in line


def test_long_words_are_cut_where_the_line_ends() -> None:
    lines = table(record(transcript=[said("user", "so much to say " * 20)]))
    assert len(lines) == 2
    assert lines[1].endswith("…")


def test_nothing_from_outside_steers_the_terminal() -> None:
    lines = table(record(to=STEERING, transcript=[said("user", STEERING)]), columns=200)
    assert "\x1b" not in lines[1]
    assert lines[1].count(HARMLESS) == 2


def test_markup_in_what_was_said_is_only_text() -> None:
    assert "[red]a[/red] [/]" in table(record(transcript=[said("user", "[red]a[/red] [/]")]))[1]
