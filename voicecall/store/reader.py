"""One thread that reads, beside the one that writes."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from voicecall.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_WAITING: Final = 1000
"""How many questions wait at most; more are refused at once."""

_TIMEOUT_S: Final = 5.0


class Reader:
    """Asks a database off the event loop; sees everything committed before it is asked.

    Args:
        connection: to read with; from now on the reader's.
        max_waiting: how many questions wait at most.
    """

    def __init__(self, connection: sqlite3.Connection, max_waiting: int = MAX_WAITING) -> None:
        self._connection = connection
        self._max_waiting = max_waiting
        self._waiting = 0
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voicecall store reader")

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """The answer of `question`, which gets the connection.

        Raises:
            StoreError: it failed, took more than 5 s, or cannot be asked any more.
        """
        if self._closed:
            raise StoreError("the store is closed")
        if self._waiting >= self._max_waiting:
            raise StoreError(f"the store does not keep up: {self._waiting} questions wait for it")
        self._waiting += 1
        asking = asyncio.get_running_loop().run_in_executor(
            self._thread, question, self._connection
        )
        # Not when the asker leaves: until then the thread is occupied.
        asking.add_done_callback(self._answered)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await asyncio.shield(asking)
        except TimeoutError as error:
            raise StoreError("the store did not answer in time") from error
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"the store could not be read: {error}") from error

    async def close(self, within_s: float) -> None:
        """Answer what was asked and close the connection.

        Raises:
            StoreError: that takes longer than `within_s` seconds.
        """
        if self._closed:
            return
        self._closed = True
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=False)
        try:
            async with asyncio.timeout(within_s):
                await closing
        except TimeoutError:
            raise StoreError("the store is still being read") from None

    def _answered(self, asked: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not asked.cancelled():
            # Somebody who left does not want to know.
            asked.exception()
