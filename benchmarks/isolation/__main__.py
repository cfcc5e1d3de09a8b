"""One call misbehaves in every way there is: is another one late?

    python -m benchmarks.isolation [--only WORD]

Prints a table. Lateness is that of audio messages against a player with 60 ms of buffer, measured
by a caller in a process of its own; negative is early.
"""

from __future__ import annotations

import argparse
import sys

import uvloop

from benchmarks.isolation.measure import measure
from benchmarks.isolation.misdeeds import MISDEEDS


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="misdeeds with this in their names")
    options = parser.parse_args()
    print(
        f"{'what misbehaves':42}{'messages':>9}{'late':>6}{'p50':>8}{'p99':>8}{'worst':>8}"
        f"{'last':>8}  reported"
    )
    for misdeed in MISDEEDS:
        if options.only not in misdeed.name:
            continue
        seen = uvloop.run(measure(misdeed))
        print(
            f"{misdeed.name:42}{seen.messages:9}{seen.late:6}{seen.p50_ms:8.0f}{seen.p99_ms:8.0f}"
            f"{seen.worst_ms:8.0f}{seen.last_ms:8.0f}  {'; '.join(seen.reported) or '-'}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
