"""The barge-in benchmark on a small part of its set: callers are told from everything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.barge_in import cases, clears, report, sounds, trial, virtual
from benchmarks.barge_in.cases import Case
from benchmarks.barge_in.line import Surrounding
from benchmarks.barge_in.trial import Outcome
from benchmarks.barge_in.voices import Recordings, VirtualEars
from voicecall.dialog.turns import BargeIn

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("moonshine_voice")
pytest.importorskip("hibari")

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

CLEAN = Surrounding()
ECHO = Surrounding(echo_db=-20.0, echo_ms=200)


def play(folder: Path, *wanted: tuple[str, str, Surrounding]) -> list[Outcome]:
    """Kinds of sounds on lines, in virtual time; what is spoken is given as text."""

    async def sound(recordings: Recordings, kind: str, text: str) -> sounds.Sound:
        rng = np.random.default_rng(7)
        match kind:
            case "cough":
                return sounds.at_level(sounds.cough(rng), -16)
            case "music":
                return sounds.at_level(sounds.music(rng, 3), -26)
            case "echo":
                return sounds.silence(20)
            case _:
                return sounds.at_level(await recordings.spoken(text, 1.0), -24)

    async def case() -> list[Outcome]:
        recordings, ears = Recordings(folder), VirtualEars(virtual.VirtualClock())
        outcomes = []
        for number, (kind, text, line) in enumerate(wanted):
            made = Case(kind, text, await sound(recordings, kind, text), 1500, line, greeted=False)
            outcomes.append(await trial.attempt(made, ears, recordings, BargeIn(), number))
        await recordings.close()
        await ears.close()
        return outcomes

    return virtual.run(case())


def test_callers_are_told_from_coughs_music_murmurs_and_echo(tmp_path: Path) -> None:
    outcomes = play(
        tmp_path,
        ("interruption", "Hold on a second please.", CLEAN),
        ("interruption", "How much does it cost?", ECHO),
        ("back-channel", "Okay.", CLEAN),
        ("cough", "", CLEAN),
        ("music", "", CLEAN),
        ("echo", "", ECHO),
    )
    assert [outcome.right for outcome in outcomes] == [True] * 6
    first, second, murmur, *_ = outcomes
    for interruption in (first, second):
        assert interruption.silent_ms is not None
        assert interruption.silent_ms <= 200
        assert len(interruption.turns) == 1
    # It paused for the murmur, then went on.
    assert murmur.holds == 1
    assert 0 < murmur.pause_ms < 2000
    assert outcomes[-1].holds == 0
    assert not outcomes[-1].turns


def test_time_passes_only_while_everybody_waits() -> None:
    async def case() -> float:
        clock = virtual.VirtualClock()
        began_ns = clock.now_ns()
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(60))
        assert await asyncio.to_thread(sum, [1, 2]) == 3
        return (clock.now_ns() - began_ns) / 1e9

    assert virtual.run(case()) == pytest.approx(3600, abs=0.01)


def test_waiting_for_nothing_is_noticed() -> None:
    async def case() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing is going to happen"):
        virtual.run(case())


def test_the_set_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    async def case() -> tuple[list[Case], list[Case]]:
        recordings = Recordings(tmp_path)
        made = [await cases.make(recordings, seed=3, scale=0.05) for _ in range(2)]
        await recordings.close()
        return made[0], made[1]

    one, two = virtual.run(case())
    assert [each.name for each in one] == [each.name for each in two]
    assert all(np.array_equal(a.sound, b.sound) for a, b in zip(one, two, strict=True))
    kinds = {"interruption", "back-channel", "cough", "clicks", "music", "echo"}
    assert {each.kind for each in one} == kinds


def test_what_went_wrong_is_counted() -> None:
    def outcome(kind: str, silent_ms: float | None, *, interrupted: bool) -> Outcome:
        case = Case(kind, "", sounds.silence(20), 0, CLEAN, greeted=False)
        return Outcome(case, interrupted, silent_ms, int(silent_ms is not None), 500.0, ())

    outcomes = [
        outcome("interruption", 100, interrupted=True),
        outcome("interruption", 200, interrupted=True),
        outcome("interruption", None, interrupted=False),
        outcome("cough", 100, interrupted=False),
        outcome("cough", 100, interrupted=True),
        outcome("music", None, interrupted=False),
        outcome("music", None, interrupted=False),
    ]
    found = report.rates(outcomes)
    assert found["missed"] == pytest.approx(1 / 3)
    assert (found["false"], found["held"], found["p50_ms"]) == (0.25, 0.5, 150)
    assert "cough" in report.table(outcomes)


def test_every_decision_to_fall_silent_is_followed_by_a_clear() -> None:
    found = asyncio.run(clears.measure(calls=2, seconds=5))
    assert found["decisions"] >= 1
    assert found["clears"] == found["decisions"]
    assert found["written_p50_ms"] <= found["read_p50_ms"]
