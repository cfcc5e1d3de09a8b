from __future__ import annotations

import asyncio
import base64
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from voicecall.errors import CodecError
from voicecall.simulator.exchange import http
from voicecall.simulator.exchange.http import (
    Dropped,
    HttpRequest,
    HttpResponse,
    HttpServer,
    Unanswered,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.socket

PATIENCE_S = 5


async def describe(request: HttpRequest) -> HttpResponse:
    text = f"{request.method} {request.path}?{request.query} {request.body.decode()}"
    return HttpResponse(201, text.encode(), "text/plain", {"X-Tried": request.headers["x-try"]})


async def drop(_: HttpRequest) -> HttpResponse:
    raise Dropped


async def keep_silent(_: HttpRequest) -> HttpResponse:
    raise Unanswered


async def fail(_: HttpRequest) -> HttpResponse:
    raise ValueError("a bug")


async def send_raw(server: HttpServer, octets: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
    try:
        writer.write(octets)
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    finally:
        writer.close()


def test_a_request_reaches_the_handler_and_its_answer_the_client() -> None:
    async def case() -> None:
        async with HttpServer(describe) as server, httpx.AsyncClient() as client:
            answer = await client.put(
                f"{server.url}/a%20b/c?d=e%26", content=b"body", headers={"X-Try": "1"}
            )
        assert answer.status_code == 201
        assert answer.text == "PUT /a%20b/c?d=e%26 body"
        assert answer.headers["content-type"] == "text/plain"
        assert answer.headers["x-tried"] == "1"

    asyncio.run(case())


def test_a_connection_serves_one_request_after_the_other() -> None:
    async def case() -> None:
        request = "GET /{} HTTP/1.1\r\nHost: x\r\nX-Try: 1\r\n{}\r\n"
        both = request.format("first", "") + request.format("second", "Connection: close\r\n")
        async with HttpServer(describe) as server:
            answers = await send_raw(server, both.encode())
        assert answers.index(b"GET /first?") < answers.index(b"GET /second?")

    asyncio.run(case())


def test_a_body_in_chunks_is_put_together() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def case() -> None:
        async with HttpServer(describe) as server, httpx.AsyncClient() as client:
            answer = await client.post(server.url, content=pieces(), headers={"x-try": "1"})
        assert answer.text.endswith(" one two")

    asyncio.run(case())


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it() -> None:
    async def case() -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nX-Try: 1\r\nContent-Length: 4\r\n"
        ask = head + b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        async with HttpServer(describe) as server:
            port = urlsplit(server.url).port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ask)
            async with asyncio.timeout(PATIENCE_S):
                assert b" 100 " in await reader.readline()
                writer.write(b"body")
                assert (await reader.read()).endswith(b"POST /? body")
            writer.close()

    asyncio.run(case())


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("DELETE", 204)])
def test_an_answer_that_may_not_have_a_body_has_none(method: str, status: int) -> None:
    async def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse(status, b"not for them")

    async def case() -> None:
        async with HttpServer(answer) as server, httpx.AsyncClient() as client:
            for _ in range(2):
                response = await client.request(method, server.url)
                assert (response.status_code, response.content) == (status, b"")

    asyncio.run(case())


def test_a_dropped_request_is_seen_as_a_reset_connection() -> None:
    async def case() -> None:
        async with HttpServer(drop) as server:
            with pytest.raises(ConnectionResetError):
                await send_raw(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with httpx.AsyncClient() as client:
                with pytest.raises(httpx.ReadError):
                    await client.get(server.url)

    asyncio.run(case())


def test_an_unanswered_request_is_seen_as_silence_until_the_client_gives_up() -> None:
    async def case() -> None:
        async with HttpServer(keep_silent) as server:
            async with httpx.AsyncClient(timeout=0.1) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(server.url)
            async with asyncio.timeout(PATIENCE_S):
                while server._connections:
                    await asyncio.wait(server._connections)

    asyncio.run(case())


def test_what_was_asked_for_is_done_although_the_client_did_not_wait() -> None:
    async def case() -> None:
        asked, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def dial(_: HttpRequest) -> HttpResponse:
            asked.set()
            await go_on.wait()
            done.set()
            return HttpResponse()

        async with HttpServer(dial) as server:
            port = urlsplit(server.url).port
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                await asked.wait()
                writer.transport.abort()
                await asyncio.sleep(0)
                go_on.set()
                await done.wait()

    asyncio.run(case())


def test_a_handler_that_fails_is_answered_for_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case() -> None:
        async with HttpServer(fail) as server, httpx.AsyncClient() as client:
            assert (await client.get(server.url)).status_code == 500
            assert (await client.get(server.url)).status_code == 500

    with caplog.at_level(logging.ERROR):
        asyncio.run(case())
    assert [record.message for record in caplog.records] == [
        "the simulated carrier failed to answer"
    ] * 2


def test_what_is_not_http_is_hung_up_on() -> None:
    async def case() -> None:
        async with HttpServer(describe) as server:
            assert await send_raw(server, b"\x16\x03\x01 not http\r\n\r\n") == b""

    asyncio.run(case())


def test_a_body_without_end_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MAX_BODY_OCTETS", 100)

    async def case() -> None:
        async with HttpServer(describe) as server, httpx.AsyncClient() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(server.url, content=bytes(101))

    asyncio.run(case())


def test_more_clients_than_there_is_room_for_are_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MAX_CONNECTIONS", 1)

    async def case() -> None:
        async with HttpServer(keep_silent) as server:
            port = urlsplit(server.url).port
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(ConnectionResetError):
                await send_raw(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            writer.close()

    asyncio.run(case())


def test_to_close_breaks_what_is_connected() -> None:
    async def case() -> None:
        asked = asyncio.Event()

        async def hang(_: HttpRequest) -> HttpResponse:
            asked.set()
            await asyncio.Event().wait()
            return HttpResponse()

        server = HttpServer(hang)
        await server.start()
        port = urlsplit(server.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            await asked.wait()
            await server.close()
            await server.close()
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        with pytest.raises(RuntimeError):
            _ = server.url

    asyncio.run(case())


def test_a_path_has_decoded_parts() -> None:
    assert HttpRequest("GET", "/v2/calls/v3%3Aa%2Fb/").segments == ("v2", "calls", "v3:a/b")


def test_a_form_keeps_repeated_names_and_empty_values() -> None:
    request = HttpRequest("POST", "/", "q=1&q=2", body=b"Event=a&Event=b+c&To=%2B49&Url=")
    assert request.form() == {"Event": ["a", "b c"], "To": ["+49"], "Url": [""]}
    assert request.arguments() == {"q": ["1", "2"]}


def test_a_json_body_is_an_object() -> None:
    assert HttpRequest("POST", "/", body=b'{"a": 1}').json() == {"a": 1}
    assert HttpRequest("POST", "/").json() == {}
    for body in (b"[]", b"{", b"[" * 100_000):
        with pytest.raises(CodecError):
            HttpRequest("POST", "/", body=body).json()


def test_basic_authentication_is_read() -> None:
    def sent(header: str) -> tuple[str, str] | None:
        return HttpRequest("GET", "/", headers={"authorization": header}).basic_auth()

    encoded = base64.b64encode(b"AC1:a:b").decode()
    assert sent(f"Basic {encoded}") == ("AC1", "a:b")
    assert sent(f"Bearer {encoded}") is None
    assert sent("Basic !") is None
    assert sent("Basic " + base64.b64encode(b"nothing").decode()) is None
    assert HttpRequest("GET", "/").basic_auth() is None


def test_a_client_that_comes_while_the_server_closes_is_not_forgotten() -> None:
    async def case() -> None:
        server = HttpServer(describe)
        await server.start()
        loop, port = asyncio.get_running_loop(), urlsplit(server.url).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            client.setblocking(False)
            while not server._connections:  # noqa: ASYNC110  (that very moment is what matters)
                await asyncio.sleep(0)
            await server.close()
            with suppress(ConnectionResetError):
                assert await loop.sock_recv(client, 1) == b""

    asyncio.run(case())
