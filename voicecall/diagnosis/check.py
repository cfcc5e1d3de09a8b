"""A check: what is looked at, what it takes for granted, and what is said about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

DEADLINE_S: Final = 12.0
"""How long a check may take that does not say otherwise."""


class Status(StrEnum):
    """How a check ended: `FAIL` keeps live calls from working, `WARN` seldom is what is meant."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says.

    Attributes:
        status: how it ended.
        found: what was found, in a sentence or a few lines; no secrets, no phone numbers.
        remedy: what mends it: a command, or a setting; None where there is nothing to mend.
    """

    status: Status
    found: str
    remedy: str | None = None


def ok(found: str) -> Finding:
    """All is well."""
    return Finding(Status.OK, found)


def warn(found: str, remedy: str) -> Finding:
    """It works, but should be different."""
    return Finding(Status.WARN, found, remedy)


def fail(found: str, remedy: str) -> Finding:
    """Calls cannot work like this."""
    return Finding(Status.FAIL, found, remedy)


def skipped(reason: str) -> Finding:
    """There was nothing to look at."""
    return Finding(Status.SKIPPED, reason)


Look: TypeAlias = Callable[[], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    Attributes:
        name: what people call it; one of a kind.
        look: looks. A `VoicecallError` that it raises is a failure in the error's words.
        needs: names of checks that come before it; unless all of them went well it is skipped.
        after: names of checks that are over before it begins, however they ended: two that load
            the same large packages are slower at once, and hold up all others.
        remedy: what to do about an error that `look` raises, and about no answer.
        deadline_s: how long it may take.
    """

    name: str
    look: Look
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    remedy: str = "run it again with --verbose to see where it comes from"
    deadline_s: float = DEADLINE_S


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check.

    Attributes:
        name: of the check.
        finding: what it says.
        took_ms: how long it took; 0 when it was skipped.
    """

    name: str
    finding: Finding
    took_ms: float = 0.0

    @property
    def status(self) -> Status:
        """How it ended."""
        return self.finding.status

    @property
    def passed(self) -> bool:
        """Whether checks that need it can be made."""
        return self.status in {Status.OK, Status.WARN}

    def to_json(self) -> dict[str, Any]:
        """The result as JSON: `name`, `status`, `found`, `remedy`, `tookMs`."""
        return {
            "name": self.name,
            "status": self.status.value,
            "found": self.finding.found,
            "remedy": self.finding.remedy,
            "tookMs": round(self.took_ms),
        }
