"""Results of the load kit as the generator would give them."""

from __future__ import annotations

from typing import Any

MACHINE = {
    "date": "2026-01-02",
    "cpu": "Some CPU",
    "cores": 2,
    "memoryGib": 4.0,
    "kernel": "6.0",
    "congestionControl": "cubic",
    "python": "3.11.0",
    "compiler": "cc 12",
    "packages": {"picows": "2.3.1"},
    "revision": "abc1234",
}


def quantiles(median_ms: float) -> dict[str, float]:
    return {
        name: median_ms + i
        for i, name in enumerate(("p50", "p90", "p99", "p99.9", "p99.99", "worst"))
    }


def tally(on_time: float = 1.0) -> dict[str, Any]:
    return {
        "streams": 10,
        "lateStreams": 0,
        "messages": 100,
        "frames": 500,
        "late": round(500 * (1 - on_time)),
        "overdue": 0,
        "onTime": on_time,
        "gaps": 0,
        "longestGapMs": 0,
        "missing": 0,
        "repeated": 0,
        "unknown": 0,
        "clears": 0,
        "marks": 0,
        "marksReturned": 0,
        "rateErrorPpm": {"mean": 12.0, "worst": 30.0},
        "latenessMs": quantiles(-100.0),
        "roundTripMs": None,
    }


def point(
    on_time: float = 1.0,
    *,
    cpu: float = 0.5,
    trusted: bool = True,
    lost: int = 0,
    sent: float = 1.0,
) -> dict[str, Any]:
    """One run of ten streams."""
    return {
        "regular": tally(on_time),
        "connections": {"wanted": 10, "open": 10 - lost, "connectMs": quantiles(1.0)},
        "load": {"streams": 10},
        "sent": {"messages": 500, "octets": 190000, "dropped": 0, "share": sent},
        "generator": {
            "cpu": 0.2,
            "skipped": 0,
            "sendLatenessMs": quantiles(0.2),
            "trusted": trusted,
        },
        "server": {
            "cpu": cpu,
            "cpuMicrosecondsPerStreamSecond": cpu * 1e5,
            "residentKibPerStream": 25.0,
        },
    }


def document(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """A result file."""
    return {"kind": kind, "command": f"python -m {kind}", "machine": MACHINE, **content}
