"""A call while it happens, for programs and for people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.records import BEGAN_MS, CALL_ID, HARMLESS, STEERING, change, drawn, over
from voicecall.call.record import CallState
from voicecall.cli.call_view import JsonCallView, TerminalCallView

pytestmark = pytest.mark.unit

CALL = [
    change("call.created", 0, state="initiated", direction="outbound"),
    change("call.ringing", 500, state="ringing"),
    change("call.answered", 4_200, state="answered"),
    change("call.active", 4_210, state="active"),
    change("call.speaking", 4_300, state="speaking", text="Hello, how can I help?"),
    change("call.spoken", 5_900, state="listening", heard="Hello, how", interrupted=True),
    change("call.speech", 6_300, state="listening", transcript="When are", isFinal=False),
    change("call.speech", 7_300, state="listening", transcript="When are you open?", isFinal=True),
    change("call.dtmf", 8_000, state="listening", digits="5#"),
    change("call.speaking", 8_100, state="speaking", text="Until six."),
    change("call.error", 8_200, state="speaking", message="a sentence was lost"),
    change("call.ended", 69_200, state="hangup-user"),
]


def picture(view: TerminalCallView) -> list[str]:
    """What is below the lines just now."""
    return drawn(view._picture()).splitlines()


def shown(
    capsys: pytest.CaptureFixture[str], *changes: dict[str, Any], to: str | None = "+15550001234"
) -> tuple[TerminalCallView, list[str]]:
    """A view that was told of a call, and the lines that it printed; where there is no terminal."""
    view = TerminalCallView(to)
    view.begin()
    view.placed(CALL_ID)
    for each in changes:
        view.change(each)
    view.end()
    return view, [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_people_read_what_happened_when_and_who_said_what(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, lines = shown(capsys, *CALL)
    assert [line.split(None, 2) for line in lines[1:]] == [
        ["0.5", "call", "ringing"],
        ["4.2", "call", "answered"],
        ["5.9", "bot", "Hello, how …"],
        ["7.3", "caller", "When are you open?"],
        ["8.0", "caller", "(presses 5#)"],
        ["8.2", "call", "a sentence was lost"],
    ]
    assert lines[0].split() == ["call", CALL_ID]
    assert len({line.index(line.split(None, 2)[2]) for line in lines[1:]}) == 1


def test_the_picture_tells_how_the_call_stands(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []
    for count in range(len(CALL) + 1):
        view, _ = shown(capsys, *CALL[:count])
        seen.append(picture(view)[-1])
    told = [" ".join(line.split()[1:-4]) for line in seen[:-1]]
    assert told[:5] == [
        "dialling +15550001234",
        "dialling +15550001234",
        "ringing +15550001234",
        "answered",
        "connected",
    ]
    assert set(told[5:]) == {"the bot speaks", "listening"}
    assert all(line.endswith("0:00  Ctrl-C hangs up") for line in seen[:-1])
    assert seen[-1].split()[1:] == ["over", "0:00"]


def test_what_is_being_said_is_seen_until_it_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    view, _ = shown(capsys, *CALL[:5])
    assert picture(view)[0].split(None, 1) == ["bot", "Hello, how can I help? ▍"]
    view, _ = shown(capsys, *CALL[:6])
    assert len(picture(view)) == 1
    view, _ = shown(capsys, *CALL)
    assert len(picture(view)) == 1


def test_what_nobody_heard_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    unheard = change("call.spoken", 5_900, state="listening", heard="", interrupted=True)
    _, lines = shown(capsys, unheard)
    assert len(lines) == 1


def test_without_a_number_the_picture_names_none(capsys: pytest.CaptureFixture[str]) -> None:
    view, _ = shown(capsys, CALL[0], to=None)
    assert picture(view)[0].split()[1:3] == ["dialling", "0:00"]


def test_who_hung_up_is_told_how_to_leave(capsys: pytest.CaptureFixture[str]) -> None:
    view, _ = shown(capsys, *CALL[:4])
    view.hanging_up()
    assert picture(view)[0].split(None, 1)[1] == "hanging up 0:00  Ctrl-C leaves at once"


@pytest.mark.parametrize("state", [state.value for state in CallState if not state.terminal])
def test_every_state_is_told(capsys: pytest.CaptureFixture[str], state: str) -> None:
    view, _ = shown(capsys, change("call.active", state=state))
    assert len(picture(view)[0].split()) >= 5


def test_the_end_is_told_with_its_reason_and_the_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = TerminalCallView(None)
    view.begin()
    for each in CALL:
        view.change(each)
    capsys.readouterr()
    view.ended(over("hangup-user", metadata={"turnCount": 1}))
    view.end()
    first, second = capsys.readouterr().out.splitlines()
    assert first.split(None, 2) == ["69.2", "ended", "the other side hung up"]
    assert second.strip() == "1:05, 1 turn"
    assert second.index("1:05") == first.index("the other")


def test_a_call_of_which_nothing_was_told_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    view = TerminalCallView(None)
    view.begin()
    view.ended(over("failed", answeredAt=None, endedAt=BEGAN_MS + 1_500))
    view.end()
    assert capsys.readouterr().out.split(None, 2) == ["1.5", "ended", "it could not be placed\n"]


def test_nothing_from_outside_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    speech = change("call.speech", state="listening", transcript=STEERING, isFinal=True)
    view, lines = shown(capsys, speech, change("call.ringing", state="ringing"), to=STEERING)
    view.begin()
    view.note(STEERING)
    view.end()
    told = "\n".join([*lines, *picture(view), capsys.readouterr().out])
    assert "\x1b" not in told
    assert told.count(HARMLESS) == 3


def test_programs_get_the_record_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonCallView(follow=False)
    view.begin()
    view.placed(CALL_ID)
    for each in CALL:
        view.change(each)
    view.hanging_up()
    view.ended(over("hangup-bot"))
    view.end()
    out, err = capsys.readouterr()
    assert json.loads(out) == over("hangup-bot")
    assert err.splitlines() == [f"placed call {CALL_ID}", "hanging up"]


def test_programs_that_follow_get_every_change_as_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = JsonCallView(follow=True)
    view.begin()
    for each in CALL:
        view.change(each)
    view.ended(over("hangup-user"))
    view.end()
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == CALL
    assert err == ""
