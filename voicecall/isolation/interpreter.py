"""Sharing the interpreter between the event loop and threads that compute."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# A thread that computes keeps the interpreter this long when the event loop wants it; Python's own
# 5 ms are as long as a tick.
TURN_S = 0.0005


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Let the event loop have the interpreter soon when other threads compute."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(min(usual_s, TURN_S))
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)
