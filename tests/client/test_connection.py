"""A request and its answer, and what goes wrong in between."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.control.fakes import TOKEN, FakeCalls, record, services, serving
from tests.hosting import free_port, run
from voicecall.client.connection import Connection
from voicecall.errors import CarrierError, ConfigError, InvalidRequest, RemoteError
from voicecall.simulator.exchange.http import HttpResponse, HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.simulator.exchange.http import HttpRequest

pytestmark = pytest.mark.socket


@asynccontextmanager
async def connected(url: str, token: str = TOKEN) -> AsyncIterator[Connection]:
    connection = Connection(url, token, verify=True)
    try:
        yield connection
    finally:
        await connection.aclose()


@asynccontextmanager
async def answering(*answers: HttpResponse) -> AsyncIterator[Connection]:
    left = list(answers)

    async def handle(_: HttpRequest) -> HttpResponse:
        return left.pop(0)

    async with HttpServer(handle) as server, connected(server.url) as connection:
        yield connection


async def status(connection: Connection, timeout_s: float = 10) -> object:
    return await connection.request("voicecall.status", {}, timeout_s)


def test_a_method_is_run_with_its_parameters() -> None:
    async def case() -> None:
        calls = FakeCalls()
        calls.add(record())
        async with serving(services(calls)) as served, connected(url(served.port)) as connection:
            told = await connection.request("voicecall.status", {"callId": "c-1"}, 10)
            assert told["call"]["callId"] == "c-1"

    run(case())


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def test_an_error_of_the_carrier_says_whether_to_try_again() -> None:
    data = {"code": "carrier_refused", "status": 429, "retryable": True}
    error = {"code": -32010, "message": "too fast", "data": data}

    async def case() -> None:
        async with answering(HttpResponse(body=orjson.dumps({"error": error}))) as connection:
            with pytest.raises(CarrierError, match="too fast") as refused:
                await status(connection)
            assert (refused.value.retryable, refused.value.status) == (True, 429)

    run(case())


def test_without_a_server_the_error_says_how_to_start_one() -> None:
    async def case() -> None:
        async with connected(url(free_port())) as connection:
            with pytest.raises(RemoteError, match="voicecall serve") as refused:
                await connection.request("voicecall.initiate", {"message": "Hi"}, 10)
            # Nothing was sent, so nobody's phone rings.
            assert refused.value.retryable

    run(case())


def test_a_server_with_another_token_is_named() -> None:
    async def case() -> None:
        async with (
            serving(services(rpc_token="another one")) as served,
            connected(url(served.port)) as connection,
        ):
            with pytest.raises(ConfigError, match=r"rpc\.token"):
                await status(connection)
            with pytest.raises(ConfigError, match=r"rpc\.token"):
                await connection.events(None, 10)

    run(case())


@pytest.mark.parametrize(
    "answer",
    [
        HttpResponse(404),
        HttpResponse(body=b"<html>"),
        HttpResponse(body=b"[]"),
        HttpResponse(body=b'{"result": 1}'),
        HttpResponse(body=b'{"error": {"code": 1}}'),
    ],
)
def test_something_else_at_that_address_is_no_server_of_ours(answer: HttpResponse) -> None:
    async def case() -> None:
        async with answering(answer) as connection:
            with pytest.raises(RemoteError, match="no voicecall server"):
                await status(connection)

    run(case())


@pytest.mark.parametrize(("method", "retryable"), [("status", True), ("initiate", False)])
def test_only_what_changes_nothing_may_be_asked_again(method: str, retryable: bool) -> None:
    async def case() -> None:
        async with answering(HttpResponse(503)) as connection:
            with pytest.raises(RemoteError, match="not available") as refused:
                await connection.request(f"voicecall.{method}", {}, 10)
            assert refused.value.retryable == retryable

    run(case())


@pytest.mark.parametrize(("method", "doubt"), [("status", False), ("initiate", True)])
def test_a_server_that_does_not_answer_is_given_up_and_asked_once(method: str, doubt: bool) -> None:
    async def case() -> None:
        asked = 0

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            await reader.readuntil(b"\r\n\r\n")
            asked += 1
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        async with server, connected(url(server.sockets[0].getsockname()[1])) as connection:
            with pytest.raises(RemoteError, match=r"within 0\.5 s") as refused:
                await connection.request(f"voicecall.{method}", {}, 0.5)
            assert ("not known whether" in str(refused.value)) == doubt
            assert refused.value.retryable != doubt
            await asyncio.sleep(0.2)
            assert asked == 1

    run(case())


@pytest.mark.parametrize(
    "wrong",
    ["", "nonsense", "ftp://host", "http://", "http://[::1", "http://host:99999", "http://host:0"],
)
def test_a_url_that_leads_to_no_server_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(wrong))):
        Connection(wrong, TOKEN, verify=True)


def test_a_token_may_have_any_letters_but_no_line_breaks() -> None:
    async def case() -> None:
        token = "déjà vu \N{KEY}"
        async with (
            serving(services(rpc_token=token)) as served,
            connected(url(served.port), token) as connection,
        ):
            assert await status(connection) == {"calls": []}

    run(case())
    with pytest.raises(ConfigError, match=r"rpc\.token"):
        Connection(url(1), "one\ntwo", verify=True)


def test_what_cannot_be_sent_is_said() -> None:
    async def case() -> None:
        async with connected(url(free_port())) as connection:
            with pytest.raises(InvalidRequest, match="JSON"):
                await connection.request("voicecall.end", {"callId": object()}, 10)

    run(case())
