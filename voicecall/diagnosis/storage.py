"""Whether calls can be kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voicecall.clock import SystemClock
from voicecall.config.schema import DATABASE_SCHEMES, IN_MEMORY
from voicecall.diagnosis.check import fail, ok, warn
from voicecall.diagnosis.machine import nearest
from voicecall.store.redis import RedisCallStore
from voicecall.store.redis_address import RedisAddress
from voicecall.store.sqlite import SqliteCallStore

if TYPE_CHECKING:
    from voicecall.diagnosis.check import Finding

MEGABYTE: Final = 1_000_000
# Some thousand calls with their transcripts, and the write-ahead log.
SCARCE_MEGABYTES: Final = 500
FULL_MEGABYTES: Final = 50


async def look_at_store(store: str | None) -> Finding:
    """Whether the store can be used.

    A server may be at work on it; nothing is made that is not there.

    Args:
        store: as configured: a file, a database server's URL, or `:memory:`.

    Raises:
        ConfigError: the URL is malformed.
        DependencyMissing: the package for a database server is not installed.
        StoreError: it cannot be used.
    """
    if store is None or store == IN_MEMORY:
        return warn(
            "calls are kept in memory and forgotten when the server stops",
            "remove store, to have them kept in a file",
        )
    if store.partition("://")[0] in DATABASE_SCHEMES:
        return await _database(store)
    return await _file(Path(store))


async def _database(url: str) -> Finding:
    # Which server this is does not matter to who takes no calls.
    address = RedisAddress.parse(url, server="setup")
    store = RedisCallStore(address, clock=SystemClock(), shared=True)
    await store.open()
    await store.close()
    return ok(f"{address.place} answers")


async def _file(path: Path) -> Finding:
    place = nearest(path)
    if place != path:
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            return fail(
                f"{path} cannot be made: {place} is not writable",
                f"chown $(id -un) {place}    (or set store to a file elsewhere)",
            )
        return _with_room(f"{path} (will be made)", place)
    unwritable = [each for each in (path, path.parent) if not os.access(each, os.W_OK)]
    if unwritable:
        return fail(f"{unwritable[0]} is not writable", f"chown $(id -un) {unwritable[0]}")
    store = SqliteCallStore(path, clock=SystemClock(), shared=True)
    await store.open()
    await store.close()
    return _with_room(str(path), path.parent)


def _with_room(found: str, directory: Path) -> Finding:
    free = shutil.disk_usage(directory).free // MEGABYTE
    room = f"{found}, {free} MB free"
    remedy = f"make room on the disk of {directory}: df -h {directory}; voicecall prune --days 30"
    if free < FULL_MEGABYTES:
        return fail(room, remedy)
    return warn(room, remedy) if free < SCARCE_MEGABYTES else ok(room)
