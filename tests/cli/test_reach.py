"""Finding a server for a call, or having one of one's own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.control.fakes import TOKEN, FakeCalls, record, services, serving
from tests.hosting import free_port, run, settings
from voicecall.cli.reach import reach
from voicecall.config.load import LoadedConfig
from voicecall.config.schema import Config
from voicecall.config.state import read_rpc_token
from voicecall.errors import ConfigError, RemoteError, ServeError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket


def loaded(folder: Path, port: int, **sections: Any) -> LoadedConfig:
    config = Config.model_validate(settings(serve={"port": port}, **sections))
    return LoadedConfig(config, None, folder / "state", (), (), {})


def test_the_server_that_runs_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def case() -> None:
        calls = FakeCalls()
        calls.add(record())
        async with serving(services(calls)) as served, AsyncExitStack() as stack:
            client = await reach(stack, loaded(tmp_path, served.port, rpc={"token": TOKEN}))
            assert [call["callId"] for call in await client.calls()] == ["c-1"]

    run(case())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("any_port", [False, True])
def test_without_one_there_is_one_until_the_call_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, any_port: bool
) -> None:
    async def case() -> None:
        config = loaded(tmp_path, 0 if any_port else free_port())
        async with AsyncExitStack() as stack:
            client = await reach(stack, config)
            assert await client.calls() == []
            url = client.url
            if not any_port:
                # Others find it where they would look for one.
                other = await reach(stack, config)
                assert (other is client, other.url) == (False, url)
        with pytest.raises(OSError, match=r"."):
            await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))

    run(case())
    said = "no server runs, so one is started that ends with the call\n"
    assert capsys.readouterr() == ("", said)


def test_a_token_is_made_for_others_when_none_is_configured(tmp_path: Path) -> None:
    async def case() -> None:
        config = loaded(tmp_path, free_port(), rpc={"token": None})
        async with AsyncExitStack() as stack:
            await reach(stack, config)
            assert read_rpc_token(config.state_directory) is not None
            assert await (await reach(stack, config)).calls() == []

    run(case())


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    async def case() -> None:
        async with AsyncExitStack() as stack:
            with pytest.raises(ServeError, match="enabled"):
                await reach(stack, loaded(tmp_path, free_port(), enabled=False))

    run(case())


def test_a_server_that_runs_with_another_token_is_not_taken_for_none(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(services()) as served, AsyncExitStack() as stack:
            client = await reach(stack, loaded(tmp_path, served.port, rpc={"token": "another"}))
            with pytest.raises(ConfigError, match=r"rpc\.token"):
                await client.calls()

    run(case())


def test_something_else_at_its_place_is_not_taken_for_none(tmp_path: Path) -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def case() -> None:
        server = await asyncio.start_server(close, "127.0.0.1", 0)
        async with server, AsyncExitStack() as stack:
            client = await reach(stack, loaded(tmp_path, server.sockets[0].getsockname()[1]))
            with pytest.raises(RemoteError, match="did not answer"):
                await client.calls()

    run(case())
