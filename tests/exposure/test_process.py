"""Commands on a leash, as an event loop sees them."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.exposure.standins import alive
from tests.hosting import run, until
from voicecall.exposure import process
from voicecall.exposure.process import NOT_FOUND, Leashed

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.socket

DEADLINE_S = 30
TALKER = (
    "import os, sys, signal\n"
    "print(os.getpid(), flush=True)\n"
    "print('x' * 300_000, flush=True)\n"
    "print('to the other stream', file=sys.stderr, flush=True)\n"
    "print('unfinished', end='', flush=True)\n"
)


def python(script: str) -> list[str]:
    return [sys.executable, "-IS", "-c", script]


def test_lines_of_both_streams_are_read_and_endless_ones_left_out() -> None:
    async def case() -> None:
        async with Leashed(python(TALKER)) as command:
            assert (await command.line() or "").isdigit()
            assert await command.line() == "to the other stream"
            assert await command.line() == "unfinished"
            assert await command.line() is None
            assert await command.end() == 0

    run(case(), DEADLINE_S)


def test_leaving_ends_the_command() -> None:
    async def case() -> None:
        async with Leashed(python(f"{TALKER}\nsignal.pause()")) as command:
            pid = int(await command.line() or 0)
            assert alive(pid)
        assert not alive(pid)

    run(case(), DEADLINE_S)


def test_cancelling_who_reads_ends_the_command() -> None:
    async def case() -> None:
        pids: asyncio.Queue[int] = asyncio.Queue()

        async def read() -> None:
            async with Leashed(python(f"{TALKER}\nsignal.pause()")) as command:
                pids.put_nowait(int(await command.line() or 0))
                while await command.line() is not None:
                    pass

        reader = asyncio.create_task(read())
        pid = await pids.get()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert not alive(pid)

    run(case(), DEADLINE_S)


@pytest.mark.parametrize("runner", [asyncio.run, run])
def test_the_thread_that_started_a_command_may_be_any(runner: object) -> None:
    """Servers run in threads too, and in loops of both kinds."""
    outcomes: list[str] = []

    async def case() -> None:
        outcome = await process.run(python("print('said')"), DEADLINE_S)
        outcomes.append(outcome.out)

    def work(start: object = runner) -> None:
        assert callable(start)
        coroutine: Coroutine[object, object, None] = case()
        start(coroutine)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(DEADLINE_S)
    assert outcomes == ["said\n"]


def test_a_command_that_ends_is_told_with_both_streams_apart() -> None:
    async def case() -> None:
        script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
        outcome = await process.run(python(script), DEADLINE_S)
        assert (outcome.status, outcome.out, outcome.err) == (3, "out\n", "err\n")
        assert not outcome.timed_out

    run(case(), DEADLINE_S)


def test_a_command_that_takes_too_long_is_ended_and_what_it_said_is_kept() -> None:
    async def case() -> None:
        script = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
        # Until it is long enough for interpreters to start, which depends on how busy all is.
        timeout_s, pid = 0.25, ""
        while not pid:
            timeout_s *= 2
            outcome = await process.run(python(script), timeout_s)
            assert outcome.timed_out
            pid = outcome.out
        assert not alive(int(pid))

    run(case(), DEADLINE_S)


def test_more_output_than_anybody_wants_is_cut() -> None:
    async def case() -> None:
        outcome = await process.run(python("print('x' * 3_000_000)"), DEADLINE_S)
        assert (outcome.status, len(outcome.out)) == (0, process.MAX_OUTPUT_OCTETS)

    run(case(), DEADLINE_S)


def test_a_program_that_is_not_there_is_no_exception_here() -> None:
    async def case() -> None:
        assert (await process.run(["no-such-program-here"], DEADLINE_S)).status == NOT_FOUND
        async with Leashed(["no-such-program-here"]) as command:
            assert await command.line() is None
            assert await command.end() == NOT_FOUND

    run(case(), DEADLINE_S)


def test_a_leash_that_hangs_is_killed_and_the_command_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def case() -> None:
        monkeypatch.setattr(process, "END_TIMEOUT_S", 0.05)
        script = (
            "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print(os.getpid(), flush=True)\nwhile True: time.sleep(60)"
        )
        async with Leashed(python(script)) as command:
            pid = int(await command.line() or 0)
        await until(lambda: not alive(pid))

    run(case(), DEADLINE_S)
