"""The conversation benchmark, as short as it can be: its figures are those of a conversation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.conversation.__main__ import STEPS, show, spread
from benchmarks.conversation.talker import Answers
from voicecall.clock import NS_PER_MS
from voicecall.simulator.stream import LineAudio

pytest.importorskip("hibari")
pytest.importorskip("openai")

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

ROOT = Path(__file__).parents[2]
SILENCE_MS = 400
QUIET, LOUD = b"\xff" * 160, b"\x80\x00" * 80


def line(at_ms: int, *, spoken: bytes = QUIET, heard: bytes = QUIET) -> LineAudio:
    return LineAudio(spoken, at_ms * NS_PER_MS, heard, at_ms * NS_PER_MS)


def test_an_answer_is_timed_from_the_callers_last_sound_to_the_bots_first() -> None:
    answers = Answers()
    answers.feed(line(0, heard=LOUD))
    answers.feed(line(20, spoken=LOUD))
    answers.feed(line(40, spoken=LOUD))
    for at_ms in range(60, 600, 20):
        answers.feed(line(at_ms))
    answers.feed(line(600, heard=LOUD))
    answers.feed(line(620, heard=LOUD))
    assert answers.after_ms == [540]


def test_values_are_summed_up_by_those_that_occur() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"count": 3, "p50": 2.0, "p95": 3.0, "p99": 3.0, "worst": 3.0}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command has written, of two calls of one question, the first to warm up."""
    output = tmp_path_factory.mktemp("conversation") / "result.json"
    command = [sys.executable, "-m", "benchmarks.conversation", "--models", "instant"]
    options = ["--calls", "1", "--questions", "1", "--silence-ms", str(SILENCE_MS)]
    done = subprocess.run(  # noqa: S603  (our own command)
        [*command, *options, "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert output.is_file(), done.stdout + done.stderr
    assert "1 conversations" in done.stdout
    return dict(json.loads(output.read_text()))


def test_a_conversation_is_held_without_a_fault(result: dict[str, Any]) -> None:
    assert result["failures"] == []
    assert result["frames"] > 50
    assert (result["calls"], result["models"], result["silenceMs"]) == (1, "instant", SILENCE_MS)


def test_an_answer_takes_longer_than_the_silence_that_it_waits_for(result: dict[str, Any]) -> None:
    answers, beyond = result["answerAfterMs"], result["beyondSilenceMs"]
    assert answers["count"] == beyond["count"] == 1
    assert answers["p50"] - beyond["p50"] == pytest.approx(SILENCE_MS, abs=0.2)
    assert beyond["p50"] > 0


def test_the_steps_of_an_answer_make_its_latency(result: dict[str, Any]) -> None:
    steps = {name: found["worst"] for name, found in result["steps"].items()}
    assert tuple(steps) == STEPS
    latency_ms = steps.pop("latencyMs")
    assert sum(steps.values()) == pytest.approx(latency_ms, abs=1)
    ours = steps["firstTokenMs"] + steps["firstFrameMs"]
    assert result["oursMs"]["worst"] == pytest.approx(ours, abs=0.2)


def test_the_table_has_a_row_for_each_figure(
    result: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    show(result)
    shown = capsys.readouterr().out
    for row in ("answer after", f"beyond {SILENCE_MS} ms of silence", "ours: ", *STEPS):
        assert row in shown
