"""The recorded counts, and what a new count says next to them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.instructions.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# A budget that much above what is needed hides the next regression.
NOTABLE_SAVING = 0.10

RENEW = "make budget-renew"

Verdict = Literal["within", "over", "saving", "new", "gone"]


@dataclass(slots=True, frozen=True)
class Budget:
    """Instructions of each case, and where they were counted."""

    environment: Environment
    instructions: Mapping[str, int]


@dataclass(slots=True, frozen=True)
class Change:
    """One case: what was recorded and what was counted now; None where there is nothing."""

    name: str
    recorded: int | None
    counted: int | None
    verdict: Verdict

    @property
    def share(self) -> float | None:
        """How much more was counted, as a share of what was recorded."""
        if self.recorded is None or self.counted is None:
            return None
        return self.counted / self.recorded - 1


def read(path: Path) -> Budget:
    """The budget in a file that `write` wrote."""
    document = json.loads(path.read_text("utf-8"))
    return Budget(Environment(**document["environment"]), document["instructions"])


def write(path: Path, budget: Budget) -> None:
    """Keep a budget: sorted, one line an entry, so that a change of it reads well."""
    document = {
        "environment": asdict(budget.environment),
        "instructions": dict(sorted(budget.instructions.items())),
    }
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _verdict(recorded: int | None, counted: int | None, limit: float) -> Verdict:
    if recorded is None:
        return "new"
    if counted is None:
        return "gone"
    if counted > recorded * (1 + limit):
        return "over"
    return "saving" if counted < recorded * (1 - NOTABLE_SAVING) else "within"


def changes(recorded: Mapping[str, int], counted: Mapping[str, int], limit: float) -> list[Change]:
    """Every case of either, by name; `limit` is the share by which a count may be over."""
    return [
        Change(
            name,
            recorded.get(name),
            counted.get(name),
            _verdict(recorded.get(name), counted.get(name), limit),
        )
        for name in sorted({*recorded, *counted})
    ]


def passes(found: Iterable[Change]) -> bool:
    """Whether nothing is over, and the budget knows exactly the cases there are."""
    return all(change.verdict in {"within", "saving"} for change in found)


_REMARKS: dict[Verdict, str] = {
    "within": "",
    "over": "OVER",
    "saving": "cheaper: tighten the budget",
    "new": "NOT IN THE BUDGET",
    "gone": "NO LONGER COUNTED",
}


def table(found: Iterable[Change]) -> str:
    """One line a case."""
    lines = [f"{'instructions of':<24}{'budget':>10}{'now':>10}{'change':>9}"]
    for change in found:
        recorded = "-" if change.recorded is None else f"{change.recorded:,}"
        counted = "-" if change.counted is None else f"{change.counted:,}"
        share = "" if change.share is None else f"{change.share:+.1%}"
        line = f"{change.name:<24}{recorded:>10}{counted:>10}{share:>9}  {_REMARKS[change.verdict]}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def advice(found: Iterable[Change], limit: float) -> str:
    """What to do about it; empty when there is nothing to do."""
    verdicts = {change.verdict for change in found}
    if "over" in verdicts:
        return (
            f"More than {limit:.0%} over budget. `make budget-profile CASE=...` shows where the"
            f" instructions go. If the work is worth it, {RENEW} records it; say why in the change."
        )
    if verdicts & {"new", "gone"}:
        return f"The budget does not list what is counted; {RENEW} writes it anew."
    if "saving" in verdicts:
        return f"{RENEW} keeps what was gained."
    return ""
