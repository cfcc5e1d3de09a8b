"""The line a peer prints once connections are accepted."""

import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path

ENVS = Path(__file__).resolve().parent / "envs"
PIN = re.compile(r"^(?P<name>[\w.-]+)(?:\[[^]]*\])?==[^;\s]+(?:;(?P<marker>.*))?$")


def versions(name: str) -> dict[str, str]:
    """Versions of Python and of what the peer `name` pins, as they are installed here.

    A pin with a marker that is not met on this interpreter is left out.

    Raises:
        PackageNotFoundError: a pin without a marker is not installed.
    """
    found = {"python": platform.python_version()}
    for line in (ENVS / f"{name}.txt").read_text(encoding="ascii").splitlines():
        pin = PIN.match(line)
        if pin is None:
            continue
        try:
            found[pin["name"]] = importlib.metadata.version(pin["name"])
        except importlib.metadata.PackageNotFoundError:
            if pin["marker"] is None:
                raise
    return found


def announce(name: str, port: int) -> None:
    """Print the ready line: process id, TCP port, name and versions as one JSON object."""
    line = {"pid": os.getpid(), "port": port, "name": name, "versions": versions(name)}
    print(json.dumps(line), flush=True)
