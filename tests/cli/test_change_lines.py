"""Changes under each other."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tests.cli.records import CALL_ID, HARMLESS, STEERING, change
from voicecall.cli.change_lines import ChangeLines

pytestmark = pytest.mark.unit

CHANGES = [
    change("call.created", 0, state="initiated", direction="outbound"),
    change("call.answered", 1_007, state="answered"),
    change("call.speech", 2_040, state="listening", transcript="When are you open?"),
    change("call.ended", 99_999, state="hangup-user"),
]


def lines(*changes: dict[str, object], with_call: bool = True, columns: int = 100) -> list[str]:
    file = io.StringIO()
    shown = ChangeLines(with_call=with_call, console=Console(file=file, width=columns))
    for each in changes:
        shown.show(each)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_columns_are_in_line_whatever_is_in_them() -> None:
    seen = lines(*CHANGES)
    starts = {tuple(found.start() for found in re.finditer(r"\S+", line))[:4] for line in seen}
    assert len(starts) == 1
    assert [line.split()[2:4] for line in seen] == [
        ["created", "initiated"],
        ["answered", "answered"],
        ["speech", "listening"],
        ["ended", "hangup-user"],
    ]
    assert seen[2].endswith("When are you open?")


def test_the_time_is_told_to_the_millisecond() -> None:
    assert re.match(r"\d\d:\d\d:\d\d\.000 ", lines(CHANGES[0])[0])
    assert re.match(r"\d\d:\d\d:01\.007 ", lines(CHANGES[1])[0])


def test_calls_are_told_apart_where_there_may_be_several() -> None:
    assert CALL_ID[:8] in lines(CHANGES[0])[0]
    assert CALL_ID[:8] not in lines(CHANGES[0], with_call=False)[0]


def test_long_words_go_on_in_their_own_column() -> None:
    words = "all of this was said by somebody who likes to talk " * 3
    first, *more = lines(
        change("call.speech", state="listening", transcript=words), with_call=False, columns=80
    )
    column = first.index("all of")
    assert more
    assert all(line[:column].isspace() and not line[column].isspace() for line in more)


def test_something_without_a_call_or_a_state_is_shown_too() -> None:
    gap = {"type": "gap", "timestamp": CHANGES[0]["timestamp"]}
    assert lines(gap)[0].split()[1:] == ["gap", "changes", "are", "missing", "here"]


def test_nothing_from_outside_steers_the_terminal() -> None:
    (line,) = lines(change("call.speech", state="listening", transcript=STEERING))
    assert line.endswith(HARMLESS)
