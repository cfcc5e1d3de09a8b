"""The ngrok tunnel, with an agent that stands in for the real one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.exposure.standins import alive
from tests.hosting import run, until
from voicecall.errors import RemoteError, ServeError
from voicecall.exposure.ngrok import Ngrok

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.exposure.standins import StandIn

pytestmark = pytest.mark.socket

DEADLINE_S = 30
TARGET = "http://127.0.0.1:3334"
AUTH = (
    "authentication failed: Usage of ngrok requires an account and authtoken.\n\nERR_NGROK_4018\n"
)


async def failure(tunnel: Ngrok) -> Exception:
    async with contextlib.aclosing(tunnel.reach()) as urls:
        with pytest.raises((RemoteError, ServeError)) as caught:
            await anext(urls)
    return caught.value


async def following(urls: AsyncGenerator[str | None, None]) -> str | None:
    async with asyncio.timeout(DEADLINE_S):
        return await anext(urls)


def test_the_agent_runs_while_it_is_wanted(ngrok: StandIn) -> None:
    async def case() -> None:
        tunnel = Ngrok(TARGET, auth_token=SecretStr("hush"), domain="calls.example.com")
        async with contextlib.aclosing(tunnel.reach()) as urls:
            url = await following(urls)
            assert (url or "").startswith("http://127.0.0.1:")
            (started,) = ngrok.runs
            assert alive(started["pid"])
        assert not alive(started["pid"])
        assert started["token"] == "hush"
        assert started["argv"] == [
            *("http", TARGET, "--log", "stdout", "--log-format", "json", "--log-level", "info"),
            *("--inspect=false", "--url", "https://calls.example.com"),
        ]

    run(case(), DEADLINE_S)


def test_without_token_and_domain_the_agent_uses_its_own(ngrok: StandIn) -> None:
    async def case() -> None:
        async with contextlib.aclosing(Ngrok(TARGET).reach()) as urls:
            await following(urls)
        (started,) = ngrok.runs
        assert started["token"] is None
        assert "--url" not in started["argv"]

    run(case(), DEADLINE_S)


def test_a_lost_connection_and_another_url_are_told(ngrok: StandIn) -> None:
    async def case() -> None:
        async with contextlib.aclosing(Ngrok(TARGET).reach()) as urls:
            first = await following(urls)
            ngrok.signal(signal.SIGUSR1)
            assert await following(urls) is None
            ngrok.signal(signal.SIGUSR2)
            # That the session is back may be told before the new URL is.
            while (url := await following(urls)) == first:
                pass
            assert (url or "").startswith("http://127.0.0.1:")
        assert len(ngrok.runs) == 1

    run(case(), DEADLINE_S)


def test_a_refusal_is_told_with_what_to_do(ngrok: StandIn) -> None:
    async def case() -> None:
        ngrok.behave(refuses=AUTH)
        error = await failure(Ngrok(TARGET))
        assert isinstance(error, RemoteError)
        assert error.status == "ERR_NGROK_4018"
        assert "requires an account and authtoken" in str(error)
        assert "NGROK_AUTHTOKEN" in str(error)

    run(case(), DEADLINE_S)


def test_an_agent_that_says_nothing_is_not_waited_for_forever(ngrok: StandIn) -> None:
    async def case() -> None:
        ngrok.behave(silent=True)
        error = await failure(Ngrok(TARGET, timeout_s=0.3))
        assert "ngrok: no tunnel within 0.3 s" in str(error)
        assert isinstance(error, RemoteError)
        assert error.retryable
        await until(lambda: not ngrok.runs or not alive(ngrok.pid))

    run(case(), DEADLINE_S)


def test_an_agent_that_dies_is_told(ngrok: StandIn) -> None:
    async def case() -> None:
        async with contextlib.aclosing(Ngrok(TARGET).reach()) as urls:
            await following(urls)
            ngrok.signal(signal.SIGKILL)
            with pytest.raises(RemoteError, match="ended with status 137 and said nothing"):
                await following(urls)

    run(case(), DEADLINE_S)


def test_an_agent_that_will_not_end_is_killed(ngrok: StandIn) -> None:
    async def case() -> None:
        ngrok.behave(stubborn=True)
        async with contextlib.aclosing(Ngrok(TARGET).reach()) as urls:
            await following(urls)
        assert not alive(ngrok.pid)

    run(case(), DEADLINE_S)


@pytest.mark.usefixtures("nothing_installed")
def test_without_an_agent_it_says_how_to_get_one() -> None:
    async def case() -> None:
        error = await failure(Ngrok(TARGET))
        assert isinstance(error, ServeError)
        assert "https://ngrok.com/download" in str(error)

    run(case(), DEADLINE_S)


def test_an_agent_that_cannot_be_run_is_told(ngrok: StandIn) -> None:
    async def case() -> None:
        (ngrok.folder / "ngrok").write_bytes(b"\x7fELF no program")
        error = await failure(Ngrok(TARGET))
        assert isinstance(error, ServeError)
        assert "ngrok cannot be run: ngrok: " in str(error)

    run(case(), DEADLINE_S)
