"""The demonstration as people run it: a process of its own, real speech, judged from outside."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyte
import pytest

from tests.e2e.listening import channels, said, spoken, understood
from voicecall.llm.persona import builtin_persona
from voicecall.simulator import check_audio, check_transcript

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.timed]

DEADLINE_S = 200
COLUMNS, LINES = 110, 40
# What the caller's script has him say, in its order.
SAID = [
    "Hello. What are your opening hours?",
    "I would like to book an appointment.",
    "Yes, please.",
    "Tell me about your services.",
    "Stop, please.",
    "That is all, thank you. Goodbye.",
]
INTERRUPTED = 4


@dataclass(frozen=True)
class Demo:
    """One run whose output is JSON."""

    status: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads(self.stdout))

    @property
    def record(self) -> dict[str, Any]:
        return dict(json.loads(Path(self.report["transcript"]).read_text("utf-8"))["call"])

    @property
    def bot_said(self) -> list[str]:
        """What the caller heard of the bot, by the server's account."""
        return [each["text"] for each in self.record["transcript"] if each["speaker"] == "bot"]


def run_demo(output: Path, *options: str) -> Demo:
    command = [sys.executable, "-m", "voicecall", "demo", "--json", "--output", str(output)]
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [*command, *options],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Demo(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return run_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def recording(demo: Demo) -> list[bytes]:
    return channels(Path(demo.report["recording"]))


def intended(heard: str) -> list[str]:
    """The pieces in which the bot was given the text of which this was heard."""
    persona = builtin_persona()
    if heard == persona.greeting:
        return [heard]
    replies = [reply for rule in persona.rules for reply in rule.reply]
    replies += [*persona.fallback, persona.farewell]
    (whole,) = {reply for reply in replies if " ".join(reply.split()).startswith(heard)}
    return re.findall(r"\S+\s*", whole)


# --- other models ---------------------------------------------------------------------------------


def test_the_conversation_is_the_same_with_whatever_models_and_protocols(tmp_path: Path) -> None:
    """Three calls at once, which may cost a slow machine a frame, but nobody a word."""
    ways = [("openai", "pipeline"), ("local", "realtime"), ("openai", "realtime")]
    with ThreadPoolExecutor(len(ways)) as workers:
        demos = [
            workers.submit(run_demo, tmp_path / "-".join(way), "--speech", way[0], "--mode", way[1])
            for way in ways
        ]
    for way, running in zip(ways, demos, strict=True):
        demo = running.result()
        assert demo.stdout, (way, demo.stderr)
        report = demo.report
        slow = ("framesLate: ", "underruns: ")
        assert [each for each in report["problems"] if not each.startswith(slow)] == [], way
        assert [turn["said"] for turn in report["turns"]] == SAID, way
        assert report["summary"]["endReason"] == "hangup-bot", way
        assert report["summary"]["bargeIns"] == 1, way


# --- piped ---------------------------------------------------------------------------------------


def test_it_succeeds_and_prints_one_json_object_and_nothing_else(demo: Demo) -> None:
    assert demo.status == 0, demo.stderr
    assert len(demo.stdout.splitlines()) == 1
    report = demo.report
    assert (report["ok"], report["problems"]) == (True, [])


def test_the_summary_has_its_figures(demo: Demo) -> None:
    summary = demo.report["summary"]
    assert summary["turns"] == len(SAID)
    assert summary["bargeIns"] == 1
    assert summary["keysPressed"] == "5"
    assert (summary["underruns"], summary["framesLate"]) == (0, 0)
    assert summary["protocolErrors"] == 0
    assert summary["framesSent"] > 1000
    assert summary["endReason"] == "hangup-bot"
    assert 0 < summary["answerAfterMs"]["median"] <= summary["answerAfterMs"]["worst"] < 2000
    assert 0 < summary["bargeInToSilenceMs"] < 1500
    assert set(summary["wordErrorRate"]) == {"bot", "caller", "callerAtServer"}


def test_each_turn_has_its_time(demo: Demo) -> None:
    turns = demo.report["turns"]
    assert [turn["said"] for turn in turns] == SAID
    for index, turn in enumerate(turns):
        assert (turn["answerAfterMs"] is None) is (index == INTERRUPTED)
        assert (turn["silentAfterMs"] is None) is (index != INTERRUPTED)


def test_it_tells_on_standard_error_what_is_going_on(demo: Demo) -> None:
    for text in SAID:
        assert text in demo.stderr
    assert "understood" in demo.stderr
    assert "(interrupted)" in demo.stderr
    assert "(presses 5)" in demo.stderr
    assert "Traceback" not in demo.stderr


def test_the_transcript_holds_the_call(demo: Demo) -> None:
    record = demo.record
    assert (record["state"], record["provider"]) == ("hangup-bot", "mock")
    assert record["callId"] == demo.report["summary"]["callId"]
    heard = [entry["text"] for entry in record["transcript"] if entry["speaker"] == "user"]
    assert check_transcript(SAID, heard).error_rate <= 0.10


@pytest.mark.parametrize("side", ["caller", "bot"])
def test_a_recogniser_outside_the_server_understands_both_channels(
    demo: Demo, recording: list[bytes], side: str
) -> None:
    texts = SAID if side == "caller" else demo.bot_said
    check = check_transcript(texts, understood(recording[side == "bot"]))
    assert check.words >= 25
    assert check.error_rate <= 0.10, check


def test_the_bot_is_heard_without_gap_or_click(demo: Demo, recording: list[bytes]) -> None:
    async def case() -> list[bytes]:
        return [await spoken(intended(heard)) for heard in demo.bot_said]

    checks = check_audio(asyncio.run(case()), recording[1])
    assert len(checks) == len(SAID) + 2
    assert [check.complete for check in checks] == [
        index != INTERRUPTED for index in range(len(checks))
    ]
    assert [(check.gaps, check.clicks) for check in checks] == [((), ())] * len(checks)


def test_the_caller_is_recorded_without_gap_or_click(recording: list[bytes]) -> None:
    async def case() -> list[bytes]:
        return [await said(text) for text in SAID]

    checks = check_audio(asyncio.run(case()), recording[0])
    assert all(check.complete for check in checks)
    assert [(check.gaps, check.clicks) for check in checks] == [((), ())] * len(SAID)


# --- in a terminal -------------------------------------------------------------------------------


def read_terminal(descriptor: int, screen: pyte.Screen) -> list[list[str]]:
    """Everything a terminal shows until its program ends: the picture after each change."""
    stream = pyte.ByteStream(screen)
    pictures: list[list[str]] = []
    while True:
        try:
            octets = os.read(descriptor, 65536)
        except OSError:
            # Linux tells that nobody has the terminal open any more by an error.
            return pictures
        if not octets:
            return pictures
        stream.feed(octets)
        pictures.append([line.rstrip() for line in screen.display])


def test_in_a_terminal_it_is_shown_live_with_a_table_at_the_end(tmp_path: Path) -> None:
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(  # noqa: S603  (our own interpreter)
        [sys.executable, "-m", "voicecall", "demo", "--output", str(tmp_path)],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)},
    )
    os.close(inner)
    try:
        pictures = read_terminal(terminal, pyte.Screen(COLUMNS, LINES))
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    during = ["\n".join(picture) for picture in pictures]
    assert sum("█" in picture for picture in during) > 100
    # The bot's words are there while it says them.
    assert any("bot" in picture and "▍" in picture for picture in during)
    assert any("caller" in picture and SAID[0] in picture for picture in during)
    assert any("(interrupts) Stop, please." in picture for picture in during)
    assert any("(presses 5)" in picture for picture in during)
    end = during[-1]
    for text in (
        "the caller said",
        "answer after",
        "barge-in to silence",
        "underruns",
        "0 late",
        "recording",
        "transcript",
        "What was heard is what was said.",
    ):
        assert text in end
    assert re.search(r"turns +6\b", end)
