"""What lives in this process: tasks, and objects by class."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from typing import Any, TypeAlias

Census: TypeAlias = dict[str, Any]

# Ours, and what we hold of the event loop and of the WebSocket library: sockets, timers, tasks.
_PACKAGES = frozenset({"voicecall", "picows", "uvloop", "asyncio", "_asyncio"})


def brief() -> Census:
    """Numbers that can be had without disturbing the collector.

    Returns:
        `tasks`, `objects` (all that the collector knows) and `blocks` of memory.
    """
    return {
        "event": "census",
        "tasks": len(asyncio.all_tasks()),
        "objects": len(gc.get_objects()) + gc.get_freeze_count(),
        "blocks": sys.getallocatedblocks(),
    }


def full(*, collect: bool = True) -> Census:
    """Everything there is, also what the server has set aside from the collector.

    Args:
        collect: free unreachable cycles first, for exact numbers.

    Returns:
        the same, `unreachable` objects that the collection has freed, and `classes`: the number of
        live objects of each class of interest.
    """
    unreachable = 0
    gc.unfreeze()
    if collect:
        unreachable = gc.collect()
        # The server sets aside what survives a collection.
        gc.unfreeze()
    classes = Counter(map(type, gc.get_objects()))
    if collect:
        gc.freeze()
    return brief() | {
        "unreachable": unreachable,
        "classes": {
            f"{kind.__module__}.{kind.__qualname__}": count
            for kind, count in classes.items()
            if str(kind.__module__).partition(".")[0] in _PACKAGES
        },
    }
