"""What came of the set, kind by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.barge_in.trial import Outcome


def rates(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Shares of what went wrong, and how fast the bot fell silent.

    Returns:
        `missed`: of interruptions; `false`: answers lost of everything else; `held`: answers that
        paused of everything else; `p50_ms`, `p95_ms`: from the onset of an interruption to the
        clear, where it was one.
    """
    meant = [each for each in outcomes if each.case.kind == "interruption"]
    others = [each for each in outcomes if each.case.kind != "interruption"]
    silent_ms = [each.silent_ms for each in meant if each.silent_ms is not None]
    return {
        "missed": _share([not each.right for each in meant]),
        "false": _share([not each.right for each in others]),
        "held": _share([each.holds > 0 for each in others]),
        "p50_ms": float(np.percentile(silent_ms, 50)) if silent_ms else 0.0,
        "p95_ms": float(np.percentile(silent_ms, 95)) if silent_ms else 0.0,
    }


def table(outcomes: Sequence[Outcome]) -> str:
    """One line a kind, and one for all."""
    lines = [
        f"{'what':14}{'cases':>6}{'wrong':>6}{'paused':>7}{'for ms':>8}{'silent after ms':>17}"
    ]
    lines += [
        _line(kind, [each for each in outcomes if each.case.kind == kind])
        for kind in dict.fromkeys(each.case.kind for each in outcomes)
    ]
    whole = rates(outcomes)
    lines.append(
        f"missed {whole['missed']:.1%}, false {whole['false']:.1%}, paused for nothing "
        f"{whole['held']:.1%}, silent after {whole['p50_ms']:.0f} ms (p50), "
        f"{whole['p95_ms']:.0f} ms (p95)"
    )
    return "\n".join(lines)


def _line(kind: str, outcomes: Sequence[Outcome]) -> str:
    wrong = sum(not each.right for each in outcomes)
    paused = [each for each in outcomes if each.holds]
    pauses_ms = [each.pause_ms for each in paused if not each.interrupted]
    silent_ms = [each.silent_ms for each in outcomes if each.silent_ms is not None]
    percentiles = np.percentile(silent_ms, [50, 95]) if silent_ms else ()
    return (
        f"{kind:14}{len(outcomes):6}{wrong:6}{len(paused):7}"
        f"{f'{np.mean(pauses_ms):.0f}' if pauses_ms else '-':>8}"
        f"{' / '.join(f'{each:.0f}' for each in percentiles) or '-':>17}"
    )


def _share(wrong: Sequence[bool]) -> float:
    return sum(wrong) / len(wrong) if wrong else 0.0
