from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from voicecall.cli.demo_timing import LineTiming
from voicecall.cli.demo_view import LINES_SHOWN, LineView, TerminalView
from voicecall.simulator.script import AwaitHangUp, HangUp, Interrupt, Listen, Press, Say

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit


def spoken(heard: str, interrupted: bool = False) -> dict[str, Any]:
    return {"type": "call.spoken", "state": "listening", "heard": heard, "interrupted": interrupted}


def speaking(text: str) -> dict[str, Any]:
    return {"type": "call.speaking", "state": "speaking", "text": text}


def speech(text: str) -> dict[str, Any]:
    return {"type": "call.speech", "state": "listening", "transcript": text}


def picture(view: TerminalView) -> str:
    console = Console(file=io.StringIO(), width=100, height=40)
    console.print(view._picture())
    shown = console.file
    assert isinstance(shown, io.StringIO)
    return shown.getvalue()


@pytest.fixture
def view() -> Iterator[TerminalView]:
    made = TerminalView()
    yield made
    made.end()


def test_words_are_shown_while_they_are_said(view: TerminalView) -> None:
    view.change(speaking("We are open"))
    assert "We are open ▍" in picture(view)
    assert "speaking" in picture(view)
    view.change(spoken("We are open from ten."))
    assert "▍" not in picture(view)
    assert "We are open from ten." in picture(view)


def test_both_sides_and_the_keys_are_shown(view: TerminalView) -> None:
    view.step(Say(text="When are you open?"))
    view.change(speech("When are you open"))
    view.change(spoken("From ten", interrupted=True))
    view.step(Interrupt(text="Stop!"))
    view.step(Press(digits="5"))
    view.change({"type": "call.dtmf", "state": "listening", "digits": "5"})
    view.step(HangUp())
    shown = picture(view)
    for text in (
        "caller      When are you open?",
        "understood  When are you open",
        "bot         From ten …",
        "(interrupts) Stop!",
        "(presses 5)",
        "key 5",
        "(hangs up)",
    ):
        assert text in shown


@pytest.mark.parametrize("step", [Listen(), AwaitHangUp()])
def test_waiting_is_not_shown(view: TerminalView, step: Listen | AwaitHangUp) -> None:
    before = picture(view).splitlines()[1:]
    view.step(step)
    assert picture(view).splitlines()[1:] == before


def test_levels_follow_the_line(view: TerminalView) -> None:
    assert "█" not in picture(view)
    timing = LineTiming()
    timing.caller_dbfs, timing.bot_dbfs = -30, -60
    view.line(timing)
    meters = next(line for line in picture(view).splitlines() if "█" in line)
    caller, bot = meters.split("bot")
    assert caller.count("█") == 15
    assert "█" not in bot


def test_the_picture_does_not_grow_without_end(view: TerminalView) -> None:
    for number in range(LINES_SHOWN + 5):
        view.step(Say(text=f"number {number}."))
    shown = picture(view)
    assert "number 4." not in shown
    assert f"number {LINES_SHOWN + 4}." in shown


def test_text_of_others_is_not_markup(view: TerminalView) -> None:
    view.change(speech("[red]oh[/red]"))
    assert "[red]oh[/red]" in picture(view)


def test_piped_one_line_tells_each_thing(capsys: pytest.CaptureFixture[str]) -> None:
    view = LineView()
    view.begin()
    view.change({"type": "call.answered", "state": "answered"})
    view.step(Say(text="When are you open?"))
    view.step(Listen())
    view.line(LineTiming())
    view.change(speech("When are you open"))
    view.change(speaking("From ten"))
    view.change(spoken("From ten", interrupted=True))
    view.change(spoken(""))
    view.change({"type": "call.dtmf", "state": "listening", "digits": "5"})
    view.change({"type": "call.ended", "state": "hangup-bot"})
    view.end()
    told = capsys.readouterr()
    assert told.out == ""
    lines = [line.split(" s  ", 1)[1].strip() for line in told.err.splitlines()]
    assert lines[1:] == [
        "call        answered",
        "caller      When are you open?",
        "understood  When are you open",
        "bot         From ten (interrupted)",
        "understood  key 5",
        "call        hangup-bot",
    ]
