from __future__ import annotations

import asyncio
import builtins
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.carriers.plivo.requests import AUTH_ID, AUTH_TOKEN
from tests.carriers.plivo.rest_server import Reply, RestServer, reply
from voicecall.carriers.plivo.rest import (
    MAX_ANSWER_OCTETS,
    Account,
    Answer,
    Timeouts,
    close_client,
    open_client,
)
from voicecall.errors import ConfigError, DependencyMissing

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.socket

TIMEOUTS = Timeouts(connect_s=2.0, read_s=0.3)


async def ask(server: RestServer, job: Callable[[Any], Answer]) -> Answer:
    client = open_client(Account(AUTH_ID, AUTH_TOKEN, server.url), TIMEOUTS)
    try:
        async with asyncio.timeout(10):
            return await asyncio.to_thread(job, client)
    finally:
        close_client(client)


def create(client: Any) -> Answer:
    answer: Answer = client.calls.create(
        from_="+15550001111", to_="+15550002222", answer_url="http://voice.example.org/hook"
    )
    return answer


def test_a_request_is_the_sdks_own() -> None:
    async def case() -> None:
        async with RestServer(reply(201, request_uuid="r-1")) as server:
            answer = await ask(server, create)
            (request,) = server.received
        assert answer == Answer(201, {"request_uuid": "r-1"})
        assert answer.ok
        assert (request.method, request.path) == ("POST", f"/v1/Account/{AUTH_ID}/Call/")
        assert request.headers["authorization"].startswith("Basic ")
        assert request.headers["user-agent"].startswith("plivo-python/")
        assert request.body["to"] == "+15550002222"

    asyncio.run(case())


@pytest.mark.parametrize("status", [300, 307, 308, 400, 401, 404, 429, 500, 502, 503, 504])
def test_no_answer_makes_it_ask_again(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    async def case() -> None:
        elsewhere = {"Location": "/elsewhere", "Retry-After": "0"}
        async with RestServer(Reply(status, b'{"error": "no"}', elsewhere)) as server:
            answer = await ask(server, create)
            assert len(server.received) == 1
        assert (answer.status, answer.ok) == (status, False)
        # What comes with a redirection is read by the library below, and thrown away.
        assert answer.body == ({} if status in {307, 308} else {"error": "no"})

    asyncio.run(case())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("broken", [Reply(drop=True), Reply(hang=True)])
def test_no_failure_makes_it_ask_again(broken: Reply) -> None:
    async def case() -> None:
        async with RestServer(broken) as server:
            with pytest.raises(OSError, match=r"aborted|reset|timed out"):
                await ask(server, create)
            assert len(server.received) == 1

    asyncio.run(case())


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff" * 100, b'"text"', b"{"])
def test_an_answer_that_is_no_object_is_an_empty_one(body: bytes) -> None:
    async def case() -> None:
        async with RestServer(Reply(200, body)) as server:
            assert await ask(server, create) == Answer(200, {})

    asyncio.run(case())


def test_an_answer_without_end_is_read_in_part() -> None:
    async def case() -> None:
        body = b'{"a": "' + b"x" * (2 * MAX_ANSWER_OCTETS) + b'"}'
        async with RestServer(Reply(200, body)) as server:
            assert await ask(server, create) == Answer(200, {})

    asyncio.run(case())


@pytest.mark.parametrize(
    ("said", "seconds"), [("7", 7.0), ("99999", 60.0), ("soon", 5.0), ("-1", 5.0), ("", 5.0)]
)
def test_how_long_to_ask_nothing_is_bounded(said: str, seconds: float) -> None:
    async def case() -> None:
        async with RestServer(Reply(429, b"{}", {"Retry-After": said})) as server:
            assert (await ask(server, create)).retry_after_s == seconds

    asyncio.run(case())


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("PLIVO_AUTH_ID", "MAYYYYYYYYYYYYYYYYYY")

    async def case() -> None:
        async with RestServer(reply(200)) as server:
            assert (await ask(server, create)).ok
            assert AUTH_ID in server.received[0].path

    asyncio.run(case())
    assert "PLIVO_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize(
    "auth_id", ["", "MA", "XAXXXXXXXXXXXXXXXXXX", "ma" + "x" * 18, AUTH_ID + "X"]
)
def test_an_id_that_is_none_of_plivos_is_a_configuration_error(auth_id: str) -> None:
    with pytest.raises(ConfigError, match=r"plivo\.authId"):
        open_client(Account(auth_id, AUTH_TOKEN), TIMEOUTS)


def test_a_missing_sdk_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "plivo":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyMissing, match=r"voicecall\[plivo\]"):
        open_client(Account(AUTH_ID, AUTH_TOKEN), TIMEOUTS)


def test_the_secret_is_not_shown() -> None:
    assert AUTH_TOKEN not in repr(Account(AUTH_ID, AUTH_TOKEN))
