"""Making checks: at once where they are independent, in order where one needs another."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from voicecall.diagnosis.check import Check, Finding, Result, Status, fail, skipped
from voicecall.errors import VoicecallError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Results: TypeAlias = Mapping[str, asyncio.Future[Result]]

log = logging.getLogger("voicecall.diagnosis")

_MS_PER_S = 1000


async def examine(
    checks: Sequence[Check], tell: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Make all checks.

    Args:
        checks: each after those that it waits for.
        tell: told each result at once.

    Returns:
        The results in the order of `checks`.

    Raises:
        ValueError: a check waits for one that does not come before it.
    """
    loop = asyncio.get_running_loop()
    results: dict[str, asyncio.Future[Result]] = {}
    for check in checks:
        if unknown := [name for name in (*check.needs, *check.after) if name not in results]:
            raise ValueError(f"{check.name} needs {unknown[0]}, which does not come before it")
        results[check.name] = loop.create_future()
    async with asyncio.TaskGroup() as tasks:
        for check in checks:
            tasks.create_task(_make(check, results, tell), name=f"check {check.name}")
    return [results[check.name].result() for check in checks]


def summary(results: Sequence[Result]) -> dict[str, int]:
    """How many checks ended in each way, by status."""
    counted = Counter(result.status for result in results)
    return {status.value: counted[status] for status in Status}


async def _make(check: Check, results: Results, tell: Callable[[Result], None]) -> None:
    result = await _result(check, results)
    tell(result)
    results[check.name].set_result(result)


async def _result(check: Check, results: Results) -> Result:
    for name in check.needs:
        if not (await results[name]).passed:
            return Result(check.name, skipped(f"not looked at: {name} comes first"))
    for name in check.after:
        await results[name]
    began_s = time.monotonic()
    finding = await _look(check)
    return Result(check.name, finding, (time.monotonic() - began_s) * _MS_PER_S)


async def _look(check: Check) -> Finding:
    deadline = asyncio.timeout(check.deadline_s)
    try:
        async with deadline:
            return await check.look()
    except TimeoutError as error:
        if not deadline.expired():
            return _unexpected(check, error)
        return fail(f"no answer within {check.deadline_s:g} s", check.remedy)
    except VoicecallError as error:
        return fail(str(error), check.remedy)
    except Exception as error:  # noqa: BLE001  (a check's boundary: the others go on)
        return _unexpected(check, error)


def _unexpected(check: Check, error: Exception) -> Finding:
    log.debug("a check failed", extra={"check": check.name}, exc_info=error)
    return fail(f"could not be looked at: {type(error).__name__}", check.remedy)
