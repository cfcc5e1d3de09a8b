"""Keeping a tunnel open: what is told, what is tried again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from tests.hosting import run, until
from voicecall.errors import RemoteError, ServeError
from voicecall.exposure.exposure import Exposure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.unit

AT_ONCE = (0.0,)
FIRST, SECOND = "https://a.example.com", "https://b.example.com"


class ByHand:
    """A tunnel whose every step the test makes."""

    name = "by hand"

    def __init__(self) -> None:
        self.steps: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self.opened = 0
        self.closed = 0

    async def reach(self) -> AsyncGenerator[str | None, None]:
        self.opened += 1
        try:
            while True:
                step = await self.steps.get()
                if isinstance(step, Exception):
                    raise step
                if step == "end":
                    return
                yield step
        finally:
            self.closed += 1

    def then(self, *steps: str | Exception | None) -> None:
        for step in steps:
            self.steps.put_nowait(step)


class Kept:
    def __init__(self, pauses_s: tuple[float, ...] = AT_ONCE) -> None:
        self.tunnel = ByHand()
        self.urls: list[str] = []
        self.exposure = Exposure(self.tunnel, self.urls.append, pauses_s)

    async def opened(self) -> Exposure:
        self.tunnel.then(FIRST)
        assert await self.exposure.open() == FIRST
        return self.exposure


def readings(exposure: Exposure) -> dict[str, float]:
    return {reading.name: reading.value for reading in exposure.readings()}


def test_it_is_open_once_the_agent_says_so() -> None:
    async def case() -> None:
        kept = Kept()
        opening = asyncio.create_task(kept.exposure.open())
        await until(lambda: kept.tunnel.opened)
        assert kept.exposure.state()["up"] is False
        assert kept.urls == []
        kept.tunnel.then(FIRST)
        assert await opening == FIRST
        assert kept.urls == [FIRST]
        assert kept.exposure.up
        assert kept.exposure.state() == {"by": "by hand", "up": True, "url": FIRST, "restarts": 0}
        assert readings(kept.exposure) == {"exposure_up": 1.0, "exposure_restarts": 0}
        await kept.exposure.close()
        assert kept.tunnel.closed == 1
        assert not kept.exposure.up

    run(case())


@pytest.mark.parametrize("error", [ServeError("not installed"), ValueError("a mistake of ours")])
def test_what_does_not_work_at_first_is_told_and_not_tried_again(error: Exception) -> None:
    async def case() -> None:
        kept = Kept()
        kept.tunnel.then(error)
        with pytest.raises(type(error), match=str(error)):
            await kept.exposure.open()
        assert kept.tunnel.opened == kept.tunnel.closed == 1
        assert kept.urls == []

    run(case())


def test_a_tunnel_that_ends_before_it_began_is_told() -> None:
    async def case() -> None:
        kept = Kept()
        kept.tunnel.then("end")
        with pytest.raises(RemoteError, match="by hand: it ended"):
            await kept.exposure.open()

    run(case())


def test_a_tunnel_that_breaks_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        kept = Kept()
        exposure = await kept.opened()
        kept.tunnel.then(RemoteError("it died"), RemoteError("still dead"))
        await until(lambda: kept.tunnel.opened == 3)
        assert not exposure.up
        assert exposure.state()["reason"] == "still dead"
        assert readings(exposure) == {"exposure_up": 0.0, "exposure_restarts": 2}
        kept.tunnel.then(FIRST)
        await until(lambda: exposure.up)
        assert "reason" not in exposure.state()
        # Nobody has to be told what he knows.
        assert kept.urls == [FIRST]
        await exposure.close()

    with caplog.at_level(logging.INFO, "voicecall.exposure"):
        run(case())
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "reachable from outside",
        "not reachable from outside: carriers cannot report calls",
        "not reachable from outside: carriers cannot report calls",
        "reachable from outside again",
    ]


def test_a_lost_connection_is_told_without_a_restart() -> None:
    async def case() -> None:
        kept = Kept()
        exposure = await kept.opened()
        kept.tunnel.then(None)
        await until(lambda: not exposure.up)
        kept.tunnel.then(FIRST)
        await until(lambda: exposure.up)
        assert kept.tunnel.opened == 1
        assert kept.urls == [FIRST]
        await exposure.close()

    run(case())


def test_another_url_is_followed_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        kept = Kept()
        exposure = await kept.opened()
        kept.tunnel.then(SECOND)
        await until(lambda: len(kept.urls) > 1)
        assert kept.urls == [FIRST, SECOND]
        assert exposure.state()["url"] == SECOND
        await exposure.close()
        (record,) = (each for each in caplog.records if "another URL" in each.getMessage())
        assert (record.before, record.public_url) == (FIRST, SECOND)  # type: ignore[attr-defined]  # given in `extra`

    run(case())


def test_attempts_come_ever_slower() -> None:
    async def case() -> None:
        kept = Kept(pauses_s=(0.0, 60.0))
        exposure = await kept.opened()
        kept.tunnel.then(RemoteError("it died"), RemoteError("still dead"))
        await until(lambda: kept.tunnel.closed == 2)
        assert kept.tunnel.opened == 2
        # Closing does not wait for the next attempt.
        await exposure.close()
        assert kept.tunnel.opened == 2

    run(case())


def test_giving_up_while_opening_takes_the_tunnel_down() -> None:
    async def case() -> None:
        kept = Kept()
        opening = asyncio.create_task(kept.exposure.open())
        await until(lambda: kept.tunnel.opened)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert kept.tunnel.closed == 1

    run(case())


def test_what_was_never_opened_is_closed_at_once() -> None:
    run(Kept().exposure.close())
