"""What a cancelled task leaves behind."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any


def clear(task: asyncio.Task[Any]) -> None:
    """Drop what the frames of a finished, cancelled task refer to.

    A cancelled task keeps its error, whose traceback refers to all that was at work, and where a
    task group was among it the error refers to itself. The collector would find that late: it looks
    at old objects only when very many are new.
    """
    try:
        task.exception()
    except asyncio.CancelledError as error:
        traceback.clear_frames(error.__traceback__)
