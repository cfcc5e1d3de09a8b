"""That something takes a while: shown to people, and to nobody else."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from voicecall.log import LineHandler

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def working(text: str) -> Iterator[None]:
    """Turn a spinner on standard error until the work is done, if that is a terminal.

    Args:
        text: what is being done; one line.
    """
    if not sys.stderr.isatty():
        yield
        return
    # Slow to import, and only needed on a terminal.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.spinner import Spinner  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    live = Live(
        Spinner("dots", Text(text), style="green"),
        console=Console(stderr=True),
        transient=True,
        # What is printed meanwhile may be for a pipe, and has to go there.
        redirect_stdout=False,
    )
    with live, log_lines_above():
        yield


@contextmanager
def log_lines_above() -> Iterator[None]:
    """Have log lines printed above a picture that is being drawn, which they would tear otherwise.

    To be entered once `sys.stderr` stands for the place above the picture.
    """
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, LineHandler)]
    moved = [(handler, handler.setStream(sys.stderr)) for handler in handlers]
    try:
        yield
    finally:
        for handler, before in moved:
            if before is not None:
                handler.setStream(before)
