from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

import pytest

from voicecall.errors import CallHasEnded
from voicecall.simulator.exchange.line import Line
from voicecall.simulator.exchange.party import SimpleParty

if TYPE_CHECKING:
    from voicecall.simulator.phone import Phone

pytestmark = pytest.mark.unit

PATIENCE_S = 5


class SilentPhone:
    """Takes note of being put down."""

    closed = False

    async def close(self) -> None:
        self.closed = True


class Talker(SimpleParty):
    """Talks until told, and then ends as told."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.talked = 0
        self.done = asyncio.Event()
        self.error = error

    async def talk(self, phone: Phone) -> None:
        del phone
        self.talked += 1
        await self.done.wait()
        if self.error is not None:
            raise self.error


def a_line(party: SimpleParty | None = None) -> Line:
    line = Line("CA1", direction="outbound", from_number="+1", to_number="+2", status="queued")
    line.party = party or SimpleParty()
    return line


def a_phone() -> Phone:
    return cast("Phone", SilentPhone())


async def forever() -> None:
    await asyncio.Event().wait()


def test_only_the_first_to_hang_up_counts() -> None:
    async def case() -> None:
        line = a_line()
        assert (line.reason, line.ended.is_set()) == (None, False)
        line.hang_up("api")
        line.hang_up("party")
        assert (line.reason, line.ended.is_set()) == ("api", True)

    asyncio.run(case())


def test_work_that_is_done_before_the_end_returns_what_it_made() -> None:
    async def work() -> str:
        return "made"

    async def case() -> None:
        assert await a_line().until_ended(work()) == "made"

    asyncio.run(case())


def test_work_is_cancelled_by_the_end() -> None:
    async def case() -> None:
        line, stopped = a_line(), asyncio.Event()

        async def work() -> None:
            line.hang_up("party")
            try:
                await forever()
            finally:
                stopped.set()

        async with asyncio.timeout(PATIENCE_S):
            await line.until_ended(work())
        assert stopped.is_set()

    asyncio.run(case())


def test_after_the_end_work_is_not_begun() -> None:
    async def case() -> None:
        line, begun = a_line(), []

        async def work() -> str:
            begun.append(True)
            return "made"

        line.hang_up("api")
        assert await line.until_ended(work()) is None
        assert begun == []

    asyncio.run(case())


def test_what_work_raises_is_raised() -> None:
    async def work() -> None:
        raise KeyError("a bug")

    async def case() -> None:
        with pytest.raises(KeyError):
            await a_line().until_ended(work())

    asyncio.run(case())


def test_whoever_stops_waiting_stops_the_work() -> None:
    async def case() -> None:
        line, stopped = a_line(), asyncio.Event()

        async def work() -> None:
            try:
                await forever()
            finally:
                stopped.set()

        waiting = asyncio.create_task(line.until_ended(work()))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert stopped.is_set()

    asyncio.run(case())


def test_what_goes_on_besides_is_stopped_with_the_call() -> None:
    async def case() -> None:
        line = a_line()
        line.spawn(forever())
        await line.close()
        assert line.reason == "carrier"
        await asyncio.sleep(0)
        assert line._tasks == set()

    asyncio.run(case())


def test_the_phone_is_put_down_though_closing_was_cut_short() -> None:
    async def slow_to_stop(stopping: asyncio.Event) -> None:
        try:
            await forever()
        finally:
            stopping.set()
            await asyncio.sleep(0.05)

    async def case() -> None:
        line, stopping = a_line(), asyncio.Event()
        line.phone = phone = cast("Any", a_phone())
        line.spawn(slow_to_stop(stopping))
        await asyncio.sleep(0)
        closing = asyncio.create_task(line.close())
        await stopping.wait()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert phone.closed

    asyncio.run(case())


def test_what_fails_besides_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise KeyError("a bug")

    async def case() -> None:
        line = a_line()
        line.spawn(broken())
        await asyncio.sleep(0.01)
        assert not line.ended.is_set()

    with caplog.at_level(logging.ERROR):
        asyncio.run(case())
    assert caplog.messages == ["the simulated carrier failed in a call"]


def test_the_party_talks_once_however_many_sockets_there_are_and_then_hangs_up() -> None:
    async def case() -> None:
        party = Talker()
        line, phone = a_line(party), a_phone()
        line.socket_opened(phone)
        line.socket_opened(phone)
        await asyncio.sleep(0)
        assert (party.talked, line.sockets, line.phone) == (1, 2, phone)
        assert not line.ended.is_set()
        party.done.set()
        async with asyncio.timeout(PATIENCE_S):
            await line.ended.wait()
        assert line.reason == "party"
        await line.close()
        assert cast("SilentPhone", phone).closed

    asyncio.run(case())


def test_a_party_whose_stream_is_over_stays_on_the_line() -> None:
    async def case() -> None:
        party = Talker(CallHasEnded("the stream is over"))
        line = a_line(party)
        line.socket_opened(a_phone())
        party.done.set()
        await asyncio.sleep(0.01)
        assert not line.ended.is_set()
        await line.close()

    asyncio.run(case())


def test_a_party_that_fails_hangs_up(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        party = Talker(KeyError("a bug"))
        line = a_line(party)
        line.socket_opened(a_phone())
        party.done.set()
        async with asyncio.timeout(PATIENCE_S):
            await line.ended.wait()
        assert line.reason == "party"
        await line.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(case())
    assert caplog.messages == ["the simulated party failed"]


def test_sockets_can_be_waited_for() -> None:
    async def case() -> None:
        line = a_line()
        waiting = asyncio.create_task(line.await_socket(2))
        for _ in range(2):
            assert not waiting.done()
            line.socket_opened(a_phone())
            await asyncio.sleep(0.01)
        async with asyncio.timeout(PATIENCE_S):
            await waiting
            await line.await_socket(1)
        await line.close()

    asyncio.run(case())
