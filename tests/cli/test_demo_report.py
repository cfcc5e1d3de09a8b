"""What makes a demonstration a failure."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from voicecall.call.record import CallRecord, CallState, Direction, Speaker, TranscriptEntry
from voicecall.cli.demo_report import DemoReport, judge, print_report
from voicecall.cli.demo_timing import LineTiming
from voicecall.simulator import PhoneStats, Pickup, Said
from voicecall.simulator.script import parse_script

if TYPE_CHECKING:
    from voicecall.ports import DialRequest

pytestmark = pytest.mark.unit

SCRIPT = parse_script(
    """{steps: [
      {do: 'say', text: 'When are you open?'},
      {do: 'say', text: 'Tell me about your services.'},
      {do: 'interrupt', text: 'Stop, please.'},
      {do: 'press', digits: '5'},
    ]}""",
    origin="a test",
)
SAID = ["When are you open?", "Tell me about your services.", "Stop, please."]
BOT = ["From ten until six.", "We have four doctors and", "You pressed five."]


class Timing(LineTiming):
    """A line on which every answer takes 600 ms and every interruption works after 400."""

    def answer_after_ms(self, ended_ns: int) -> float | None:
        return 600.04 + ended_ns / 1e9

    def silent_after_ms(self, began_ns: int, ended_ns: int) -> float | None:
        del began_ns, ended_ns
        return 400.0


class DeafTiming(Timing):
    """The bot talks on when interrupted."""

    def silent_after_ms(self, began_ns: int, ended_ns: int) -> float | None:
        del began_ns, ended_ns
        return None


TURNS = [
    {"finalMs": 500.0, "firstTokenMs": 3.0, "firstAudioMs": 60.04, "firstFrameMs": 1.0},
    {"finalMs": 520.0, "firstTokenMs": 5.0, "firstAudioMs": 80.0, "firstFrameMs": 1.0},
    # The caller's keys are no speech that could be over.
    {"firstTokenMs": 4.0, "firstAudioMs": 40.0, "firstFrameMs": 1.0},
]


def record(user: list[str]) -> CallRecord:
    entries = [TranscriptEntry(0, Speaker.BOT, text) for text in BOT]
    entries += [TranscriptEntry(0, Speaker.USER, text) for text in user]
    return CallRecord(
        call_id="c-1",
        provider="mock",
        direction=Direction.OUTBOUND,
        state=CallState.HANGUP_BOT,
        from_number="+15550001111",
        to_number="+15550002222",
        session_key="+15550002222",
        started_at=0,
        answered_at=1_000,
        ended_at=31_000,
        end_reason=CallState.HANGUP_BOT,
        transcript=entries,
        metadata={"turns": TURNS},
    )


def stats(late: int = 0, underruns: int = 0, protocol_errors: int = 0) -> PhoneStats:
    counted = PhoneStats(protocol_errors=protocol_errors)
    counted.playout.octets = 160 * 500
    counted.playout.late = late
    counted.playout.underruns = underruns
    return counted


def pickup(steps_done: int = 4, failure: str | None = None) -> Pickup:
    # The judge does not look at the phone itself.
    phone: Any = SimpleNamespace()
    request = cast("DialRequest", SimpleNamespace())
    return Pickup(phone, SCRIPT, request, list(SCRIPT.steps[:steps_done]), failure)


def judged(**changes: Any) -> DemoReport:
    given: dict[str, Any] = {
        "record": record(SAID),
        "said": [Said(text, index * 10**9, index * 10**9) for index, text in enumerate(SAID)],
        "heard_bot": BOT,
        "heard_caller": SAID,
        "stats": stats(),
        "timing": Timing(),
        "talker": pickup(),
        "recording": Path("call.wav"),
        "transcript": Path("call.json"),
    }
    return judge(**{**given, **changes})


def test_a_call_in_which_all_was_heard_as_it_was_said_is_good() -> None:
    report = judged()
    assert (report.ok, report.problems) == (True, [])
    assert report.summary == {
        "callId": "c-1",
        "endReason": "hangup-bot",
        "durationMs": 30_000,
        "turns": 3,
        "answerAfterMs": {"median": 600, "worst": 601},
        "stepsMs": {
            "finalMs": 500.0,
            "firstTokenMs": 4.0,
            "firstAudioMs": 60.0,
            "firstFrameMs": 1.0,
        },
        "bargeIns": 1,
        "bargeInToSilenceMs": 400,
        "framesSent": 500,
        "framesLate": 0,
        "underruns": 0,
        "protocolErrors": 0,
        "wordErrorRate": {"bot": 0.0, "caller": 0.0, "callerAtServer": 0.0},
        "keysPressed": "5",
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"heard_bot": ["From ten until nine.", *BOT[1:]]}, None),
        ({"heard_bot": [BOT[0]]}, "word error rate of bot: 67%"),
        ({"heard_bot": []}, "word error rate of bot: 100%"),
        ({"heard_caller": SAID[1:]}, "word error rate of caller: 36%"),
        ({"record": record(SAID[:2])}, "word error rate of callerAtServer: 18%"),
        ({"record": record([])}, "word error rate of callerAtServer: 100%"),
        ({"stats": stats(underruns=1)}, "underruns: 1"),
        ({"stats": stats(late=2)}, "framesLate: 2"),
        ({"stats": stats(protocol_errors=3)}, "protocolErrors: 3"),
        ({"timing": DeafTiming()}, "the caller's interruption did not stop the bot"),
        ({"talker": pickup(steps_done=3)}, "the call ended before the caller's script did"),
        ({"talker": pickup(failure="the bot was silent for 30 s")}, "the bot was silent for 30 s"),
    ],
)
def test_whatever_was_not_as_it_should_be_is_a_problem(
    change: dict[str, Any], problem: str | None
) -> None:
    report = judged(**change)
    # One wrong word in twelve is within what recognition may get wrong.
    assert list(report.problems) == ([] if problem is None else [problem])
    assert report.ok is (problem is None)


def test_a_call_with_too_few_turns_is_a_problem() -> None:
    report = judged(
        said=[Said(SAID[0], 0, 0), Said(SAID[2], 0, 0)],
        heard_caller=[SAID[0], SAID[2]],
        record=record([SAID[0], SAID[2]]),
    )
    assert list(report.problems) == ["the caller got only 2 turns"]


def test_the_report_as_json_names_its_files_and_what_was_said() -> None:
    report = json.loads(json.dumps(judged().to_json()))
    assert report["ok"] is True
    assert (report["recording"], report["transcript"]) == ("call.wav", "call.json")
    assert report["turns"][0] == {
        "said": "When are you open?",
        "understood": "when are you open",
        "answerAfterMs": 600.0,
        "silentAfterMs": None,
    }
    assert report["turns"][2]["answerAfterMs"] is None
    assert report["turns"][2]["silentAfterMs"] == 400.0
    assert [each["said"] for each in report["bot"]] == BOT


def test_the_table_shows_turns_figures_and_files(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(judged())
    shown = capsys.readouterr().out
    for text in ("Stop, please.", "601 ms worst", "500 sent, 0 late", "call.wav", "call.json"):
        assert text in shown
    rows = [" ".join(line.split()) for line in shown.splitlines()]
    assert rows[rows.index("answer after 600 ms median, 601 ms worst") + 1 :][:4] == [
        "understood 500 ms median",
        "first words 4 ms median",
        "first audio made 60 ms median",
        "first audio sent 1 ms median",
    ]
    assert "What was heard is what was said." in shown


def test_the_table_shows_problems_instead_of_praise(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(judged(stats=stats(underruns=1), timing=DeafTiming()))
    shown = capsys.readouterr().out
    assert "underruns: 1" in shown
    assert "What was heard is what was said." not in shown
