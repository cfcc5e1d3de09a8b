"""Draws what `voicecall demo` shows on a terminal: `python docs/_ext/demo_picture.py`.

Runs the demonstration in a terminal of its own and keeps two moments of it in `docs/pictures`.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from itertools import groupby
from pathlib import Path
from typing import Final

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

PICTURES: Final = Path(__file__).parents[1] / "pictures"
COLUMNS: Final = 100
LINES: Final = 34
DURING_S: Final = 36.0
COMMAND: Final = [sys.executable, "-m", "voicecall", "demo"]
_COLOURS = {"brown": "yellow", "brightblack": "bright_black"}


def main() -> None:
    """Run it, and draw."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
        demo = subprocess.Popen(  # noqa: S603  (our own command)
            COMMAND, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment
        )
        os.close(theirs)
        began_s = time.monotonic()
        during = False
        while True:
            try:
                octets = os.read(ours, 65536)
            except OSError:
                break
            stream.feed(octets)
            if not during and time.monotonic() - began_s > DURING_S:
                during = True
                draw(screen, "demo")
        demo.wait()
        draw(screen, "demo-end")


def draw(screen: pyte.Screen, name: str) -> None:
    """Keep what a terminal shows as a picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    rows = [_row(screen, number) for number in range(LINES)]
    while rows and not rows[-1].plain.strip():
        rows.pop()
    for row in rows:
        console.print(row)
    svg = console.export_svg(title="voicecall demo")
    # Fonts from elsewhere are not asked for.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / f"{name}.svg").write_text(svg, "utf-8")


def _row(screen: pyte.Screen, number: int) -> Text:
    cells = [screen.buffer[number][column] for column in range(COLUMNS)]
    text = Text()
    for (colour, bold), run in groupby(cells, lambda cell: (cell.fg, cell.bold)):
        text.append("".join(cell.data for cell in run), Style(color=_colour(colour), bold=bold))
    text.rstrip()
    return text


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    return f"#{name}" if re.fullmatch(r"[0-9a-f]{6}", name) else _COLOURS.get(name, name)


if __name__ == "__main__":
    main()
