"""Runs a target's coroutine in an event loop of its own, and sees what nobody would be told of."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

# How long one input may take; a server that never answers is a finding, too.
LIMIT_S = 10.0


class ErrorLog(logging.Handler):
    """Keeps what is logged as an error: no stranger may be able to cause one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def told(self) -> str:
        formatter = logging.Formatter("%(name)s: %(message)s")
        return "\n".join(formatter.format(record) for record in self.records)


@contextmanager
def no_errors_logged() -> Iterator[None]:
    """Fail when anything is logged as an error meanwhile. Logging elsewhere is not touched."""
    errors = ErrorLog()
    logger = logging.getLogger("voicecall")
    propagated, level = logger.propagate, logger.level
    logger.propagate = False
    # What is logged by the way has to be sound as well, so that it is made, but shown nowhere.
    logger.setLevel(logging.DEBUG)
    logger.addHandler(errors)
    try:
        yield
    finally:
        logger.removeHandler(errors)
        logger.propagate = propagated
        logger.setLevel(level)
    assert not errors.records, errors.told()


def run(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `case`; it must log no error, lose no exception and leave no task behind."""
    lost: list[dict[str, Any]] = []

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: lost.append(context))
        async with asyncio.timeout(LIMIT_S):
            await case()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left behind: {left}"

    with no_errors_logged(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watched())
    assert not lost, f"nobody was told: {lost}"
