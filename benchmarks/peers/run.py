"""Start one of the peers in its own environment.

    python -m benchmarks.peers.run NAME --port P [--core N] [--here]

NAME is pipecat, starlette, picows_echo or c_epoll. What the peer needs is made on first use in
build/bench/ (pip's and the compiler's output goes to stderr). Then this process becomes the server:
it keeps its id, signals reach it directly and nothing is left behind. Once connections are accepted
on loopback it prints one JSON line with pid, port, name and versions. SIGTERM and SIGINT end it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from benchmarks.peers.environment import FOLDER, ROOT, compiled, environment

if TYPE_CHECKING:
    from types import FrameType

MODULES = {
    "pipecat": "benchmarks.peers.pipecat_tone",
    "starlette": "benchmarks.peers.starlette_tone",
    "picows_echo": "benchmarks.peers.picows_echo",
}
NAMES = (*MODULES, "c_epoll")


def command(name: str, port: int, *, here: bool) -> list[str]:
    """The program and arguments that serve as the peer `name`; makes what they need.

    Args:
        name: one of NAMES.
        port: TCP port on loopback; 0 chooses a free one.
        here: use the running interpreter and what is installed in it.
    """
    if name == "c_epoll":
        return [str(compiled(FOLDER / "c_epoll.c")), str(port)]
    python = sys.executable if here else str(environment(name))
    return [python, "-m", MODULES[name], "--port", str(port)]


def give_up(number: int, _: FrameType | None) -> None:
    """End while pip or the compiler runs; leaving `subprocess.run` this way ends them too."""
    sys.exit(128 + number)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--port", type=int, required=True, help="0 chooses a free one")
    parser.add_argument("--core", type=int, help="the only CPU core the server may use")
    parser.add_argument(
        "--here", action="store_true", help="use this interpreter, not the peer's environment"
    )
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, give_up)
    program = command(options.name, options.port, here=options.here)
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    # The modules are found from the root, and the environments do not hold them.
    os.chdir(ROOT)
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
