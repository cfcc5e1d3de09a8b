"""What the demonstration found: was what was heard what was said, and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from voicecall.call.record import Speaker
from voicecall.control.latency import latencies
from voicecall.simulator.script import Interrupt, Press
from voicecall.simulator.verify import TranscriptCheck, check_transcript

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from voicecall.call.record import CallRecord
    from voicecall.cli.demo_line import Talker
    from voicecall.cli.demo_timing import LineTiming
    from voicecall.simulator.phone import Said
    from voicecall.simulator.stream import PhoneStats

# The steps of an answer, each from the one before.
STEPS = {
    "finalMs": "  understood",
    "firstTokenMs": "  first words",
    "firstAudioMs": "  first audio made",
    "firstFrameMs": "  first audio sent",
}
MAX_WORD_ERROR_RATE = 0.10
MIN_TURNS = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing the caller said, and how long the bot's answer took.

    Attributes:
        said: the caller's words.
        understood: what the server understood.
        answer_after_ms: from the caller's last sound to the bot's first; None when interrupting.
        silent_after_ms: from the first sound of an interruption until the bot was silent.
    """

    said: str
    understood: str
    answer_after_ms: float | None
    silent_after_ms: float | None


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The whole result.

    Attributes:
        turns: what the caller said, in order.
        bot: what the bot said and what can be understood of it in the recording.
        caller: what the caller said and what can be understood of it in the recording.
        summary: figures, camelCase.
        problems: what was not as it should be; none when all is well.
        recording: the stereo WAV.
        transcript: the JSON file.
    """

    turns: Sequence[Turn]
    bot: TranscriptCheck
    caller: TranscriptCheck
    summary: Mapping[str, Any]
    problems: Sequence[str]
    recording: Path
    transcript: Path

    @property
    def ok(self) -> bool:
        """Whether what was heard is what was said, without a break."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "ok": self.ok,
            "problems": list(self.problems),
            "summary": dict(self.summary),
            "turns": [
                {
                    "said": turn.said,
                    "understood": turn.understood,
                    "answerAfterMs": turn.answer_after_ms,
                    "silentAfterMs": turn.silent_after_ms,
                }
                for turn in self.turns
            ],
            "bot": [
                {"said": check.said, "heard": check.heard, "wrongWords": check.errors}
                for check in self.bot.utterances
            ],
            "recording": str(self.recording),
            "transcript": str(self.transcript),
        }


def judge(  # noqa: PLR0913  (all that is known about the call)
    *,
    record: CallRecord,
    said: Sequence[Said],
    heard_caller: Sequence[str],
    heard_bot: Sequence[str],
    stats: PhoneStats,
    timing: LineTiming,
    talker: Talker,
    recording: Path,
    transcript: Path,
) -> DemoReport:
    """Compare both ends of the call and put the figures together.

    Args:
        record: the server's record of it; the bot's entries hold what was heard of them.
        said: what the caller said.
        heard_caller: what can be understood of the caller in the recording.
        heard_bot: likewise of the bot.
        stats: the phone's counters.
        timing: who was audible when.
        talker: what the caller was to do and did.
        recording: the WAV, for the report.
        transcript: the JSON file, for the report.
    """
    bot = check_transcript(
        [entry.text for entry in record.transcript if entry.speaker is Speaker.BOT], heard_bot
    )
    texts = [each.text for each in said]
    caller = check_transcript(texts, heard_caller)
    understood = check_transcript(
        texts, [entry.text for entry in record.transcript if entry.speaker is Speaker.USER]
    )
    interruptions = {step.text for step in talker.steps if isinstance(step, Interrupt)}
    turns = [
        Turn(
            said=each.text,
            understood=check.heard,
            answer_after_ms=_rounded(
                None if each.text in interruptions else timing.answer_after_ms(each.ended_ns)
            ),
            silent_after_ms=_rounded(
                timing.silent_after_ms(each.began_ns, each.ended_ns)
                if each.text in interruptions
                else None
            ),
        )
        for each, check in zip(said, understood.utterances, strict=True)
    ]
    errors = {"bot": bot, "caller": caller, "callerAtServer": understood}
    summary = _summary(record, turns, errors, stats)
    summary["keysPressed"] = "".join(
        step.digits for step in talker.steps if isinstance(step, Press)
    )
    return DemoReport(
        turns=turns,
        bot=bot,
        caller=caller,
        summary=summary,
        problems=_problems(summary, talker),
        recording=recording,
        transcript=transcript,
    )


def _summary(
    record: CallRecord,
    turns: Sequence[Turn],
    checks: Mapping[str, TranscriptCheck],
    stats: PhoneStats,
) -> dict[str, Any]:
    answers = [turn.answer_after_ms for turn in turns if turn.answer_after_ms is not None]
    silences = [turn.silent_after_ms for turn in turns if turn.silent_after_ms is not None]
    duration_ms = (record.ended_at or 0) - (record.answered_at or record.ended_at or 0)
    return {
        "callId": record.call_id,
        "endReason": record.state.value,
        "durationMs": duration_ms,
        "turns": len(turns),
        "answerAfterMs": {
            "median": round(median(answers)) if answers else None,
            "worst": round(max(answers)) if answers else None,
        },
        "stepsMs": _steps(record),
        "bargeIns": len(silences),
        "bargeInToSilenceMs": round(max(silences)) if silences else None,
        "framesSent": stats.frames_received,
        "framesLate": stats.late,
        "underruns": stats.underruns,
        "protocolErrors": stats.protocol_errors,
        "wordErrorRate": {side: round(check.error_rate, 4) for side, check in checks.items()},
    }


def _steps(record: CallRecord) -> dict[str, float]:
    """What the server says of each step of its answers, as medians; none that it cannot tell."""
    steps = latencies([record])["steps"]
    return {name: round(steps[name]["p50"], 1) for name in STEPS if steps[name]["count"]}


def _problems(summary: Mapping[str, Any], talker: Talker) -> list[str]:
    problems = [talker.failure] if talker.failure else []
    if talker.script is not None and len(talker.steps) < len(talker.script.steps):
        problems.append("the call ended before the caller's script did")
    for side, rate in summary["wordErrorRate"].items():
        if rate > MAX_WORD_ERROR_RATE:
            problems.append(f"word error rate of {side}: {rate:.0%}")
    if summary["turns"] < MIN_TURNS:
        problems.append(f"the caller got only {summary['turns']} turns")
    if not summary["bargeIns"]:
        problems.append("the caller's interruption did not stop the bot")
    faults = ("framesLate", "underruns", "protocolErrors")
    return problems + [f"{name}: {summary[name]}" for name in faults if summary[name]]


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def print_report(report: DemoReport) -> None:
    """Show the report on the terminal."""
    # Slow to import, and only needed here.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    turns = Table("the caller said", "the server understood", "answer after", "silent after")
    for column in turns.columns[2:]:
        column.justify = "right"
    for turn in report.turns:
        turns.add_row(
            Text(turn.said),
            Text(turn.understood),
            _milliseconds(turn.answer_after_ms),
            _milliseconds(turn.silent_after_ms),
        )
    console.print(turns)
    figures = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _figures(report.summary):
        figures.add_row(Text(name, style="dim"), Text(value))
    console.print(figures)
    console.print(Text(f"recording   {report.recording}"), soft_wrap=True)
    console.print(Text(f"transcript  {report.transcript}"), soft_wrap=True)
    if report.ok:
        console.print(Text("What was heard is what was said.", style="bold green"))
    for problem in report.problems:
        console.print(Text(problem, style="bold red"))


def _figures(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    answer = summary["answerAfterMs"]
    rate = summary["wordErrorRate"]
    return [
        ("turns", str(summary["turns"])),
        (
            "answer after",
            f"{_milliseconds(answer['median'])} median, {_milliseconds(answer['worst'])} worst",
        ),
        *((STEPS[step], f"{_milliseconds(ms)} median") for step, ms in summary["stepsMs"].items()),
        ("barge-in to silence", _milliseconds(summary["bargeInToSilenceMs"])),
        ("frames", f"{summary['framesSent']} sent, {summary['framesLate']} late"),
        ("underruns", str(summary["underruns"])),
        ("word errors", f"{rate['bot']:.1%} of the bot's, {rate['caller']:.1%} of the caller's"),
        ("call", f"{summary['durationMs'] / 1000:.1f} s, ended by {summary['endReason']}"),
    ]


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"
