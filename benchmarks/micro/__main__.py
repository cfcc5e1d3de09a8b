"""Run the micro benchmarks and print the table of ratios; see the package's docstring.

::

    python -m benchmarks.micro [pytest arguments]
"""

import json
import platform
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
DEADLINE_S = 1800
KIND = re.compile(r"test_(?:(?P<kind>baseline|bound)_)?(?P<name>.+?)(?:__.*)?$")

Kind = Literal["ours", "baseline", "bound"]


@dataclass(slots=True, frozen=True)
class Result:
    """One benchmark of one group."""

    group: str
    kind: Kind
    name: str
    median_ns: float


def result_of(entry: dict[str, Any]) -> Result:
    """Read one entry of pytest-benchmark's JSON."""
    match = KIND.match(entry["name"].partition("[")[0])
    if match is None:
        raise ValueError(entry["name"])
    kind = cast("Kind", match["kind"] or "ours")
    return Result(entry["group"] or "", kind, match["name"], entry["stats"]["median"] * 1e9)


def lines_of(group: str, results: Iterable[Result]) -> Iterable[str]:
    """One line for each function of ours: its time, and the others' as multiples of it."""
    members = list(results)
    others = [result for result in members if result.kind != "ours"]
    for ours in (result for result in members if result.kind == "ours"):
        ratios = [
            f"{'>= ' if other.kind == 'bound' else ''}{other.name} "
            f"{other.median_ns / ours.median_ns:.2f}x"
            for other in sorted(others, key=lambda other: (other.kind, other.name))
        ]
        yield f"{group:<24} {ours.name:<24} {ours.median_ns:>10.0f}  {'   '.join(ratios)}"


def table(entries: Iterable[dict[str, Any]]) -> str:
    """Lay out all groups, in the order in which they ran."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in map(result_of, entries):
        groups[result.group].append(result)
    head = f"{'group':<24} {'ours':<24} {'median ns':>10}  the others' time / ours (>= bound)"
    body = [line for group, results in groups.items() for line in lines_of(group, results)]
    return "\n".join([head, *body])


def measure(arguments: list[str], report: Path) -> int:
    """Run pytest-benchmark in a process of its own; returns pytest's exit status."""
    command = [
        *(sys.executable, "-m", "pytest", str(FOLDER), "-q", "-p", "no:cacheprovider"),
        *("--override-ini=python_files=bench_*.py", "--benchmark-only", "--benchmark-quiet"),
        *("--benchmark-disable-gc", "--benchmark-warmup=on", f"--benchmark-json={report}"),
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, timeout=DEADLINE_S, check=False).returncode


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="voicecall-bench-") as folder:
        report = Path(folder) / "report.json"
        status = measure(arguments, report)
        if status:
            return status
        document = json.loads(report.read_text())
    cpu = document["machine_info"].get("cpu", {}).get("brand_raw", platform.machine())
    print(f"\n{cpu}, {platform.system()}, Python {platform.python_version()}; medians of one run\n")
    print(table(document["benchmarks"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
