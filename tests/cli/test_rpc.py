"""How commands reach the server that runs."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.control.fakes import TOKEN, FakeCalls, record, services, serving
from tests.hosting import free_port, run
from voicecall.cli.rpc import ask, server_url
from voicecall.config.load import LoadedConfig
from voicecall.config.schema import Config
from voicecall.config.state import keep_rpc_token
from voicecall.control.app import create_app
from voicecall.control.listen import ControlListener, TlsFiles
from voicecall.errors import ConfigError, RemoteError
from voicecall.simulator.exchange.http import HttpResponse, HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from voicecall.simulator.exchange.http import HttpRequest

pytestmark = pytest.mark.socket


def configured(folder: Path, port: int, **settings: Any) -> LoadedConfig:
    serve = {"port": port, **settings.pop("serve", {})}
    usual = {"serve": serve, "rpc": {"token": TOKEN}, "streaming": {"port": 0}}
    config = Config.model_validate(usual | settings)
    return LoadedConfig(config, None, folder, (), (), {})


@asynccontextmanager
async def answering(*answers: HttpResponse) -> AsyncIterator[int]:
    left = list(answers)

    async def handle(_: HttpRequest) -> HttpResponse:
        return left.pop(0)

    async with HttpServer(handle) as server:
        yield int(server.url.rpartition(":")[2])


def test_the_server_is_asked_with_its_token(tmp_path: Path) -> None:
    async def case() -> None:
        calls = FakeCalls()
        calls.add(record())
        async with serving(services(calls)) as served:
            loaded = configured(tmp_path, served.port)
            told = await asyncio.to_thread(ask, loaded, "status", callId="c-1", sid=None)
            assert told["call"]["callId"] == "c-1"

    run(case())


def test_a_token_that_the_server_has_made_is_found(tmp_path: Path) -> None:
    async def case() -> None:
        token = keep_rpc_token(tmp_path).get_secret_value()
        async with serving(services(rpc_token=token)) as served:
            loaded = configured(tmp_path, served.port, rpc={})
            assert await asyncio.to_thread(ask, loaded, "status") == {"calls": []}

    run(case())


def test_an_error_of_the_server_is_ours(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(services()) as served:
            loaded = configured(tmp_path, served.port)
            with pytest.raises(RemoteError, match="There is no such call") as refused:
                await asyncio.to_thread(ask, loaded, "end", callId="c-9")
            assert not refused.value.retryable

    run(case())


def test_a_failure_of_the_carrier_says_whether_to_try_again(tmp_path: Path) -> None:
    data = {"code": "carrier_refused", "status": 429, "retryable": True}
    error = {"code": -32010, "message": "too fast", "data": data}

    async def case() -> None:
        async with answering(HttpResponse(body=orjson.dumps({"error": error}))) as port:
            with pytest.raises(RemoteError, match="too fast") as refused:
                await asyncio.to_thread(ask, configured(tmp_path, port), "status")
            assert (refused.value.retryable, refused.value.status) == (True, 429)

    run(case())


def test_without_a_server_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="voicecall serve") as refused:
        ask(configured(tmp_path, free_port()), "status")
    assert refused.value.retryable
    with pytest.raises(ConfigError, match="voicecall serve"):
        ask(configured(tmp_path, free_port(), rpc={}), "status")


def test_a_server_with_another_token_is_named(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(services(rpc_token="another one")) as served:
            with pytest.raises(ConfigError, match=r"rpc\.token"):
                await asyncio.to_thread(ask, configured(tmp_path, served.port), "status")

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
def test_something_else_at_that_address_is_no_server_of_ours(
    tmp_path: Path, answer: HttpResponse
) -> None:
    async def case() -> None:
        async with answering(answer) as port:
            with pytest.raises(RemoteError, match="no voicecall server"):
                await asyncio.to_thread(ask, configured(tmp_path, port), "status")

    run(case())


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    async def case() -> None:
        arrived = asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await reader.read(65536)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(RemoteError, match=r"within 0\.2 s"):
                await asyncio.to_thread(ask, configured(tmp_path, port), "status", 0.2)
        assert arrived.is_set()

    run(case())


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3334"),
        ("0.0.0.0", "http://127.0.0.1:3334"),  # noqa: S104  (nothing is bound)
        ("::", "http://[::1]:3334"),
        ("::1", "http://[::1]:3334"),
        ("voice.example.com", "http://voice.example.com:3334"),
    ],
)
def test_the_server_is_where_it_listens(tmp_path: Path, bind: str, url: str) -> None:
    assert server_url(configured(tmp_path, 3334, serve={"bind": bind}).config) == url


def test_a_server_on_whatever_port_was_free_cannot_be_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"serve\.port"):
        server_url(configured(tmp_path, 0).config)


def test_the_certificate_in_the_configuration_is_believed_and_no_other(tmp_path: Path) -> None:
    own, other = certificate(tmp_path, "own"), certificate(tmp_path, "other")

    async def case() -> None:
        listener = ControlListener(create_app(services()), "127.0.0.1", 0, TlsFiles(*own))
        await listener.start()
        try:
            for cert, key in (own, other):
                tls = {"cert": str(cert), "key": str(key)}
                loaded = configured(tmp_path, listener.port, serve={"tls": tls})
                if (cert, key) == own:
                    assert await asyncio.to_thread(ask, loaded, "status") == {"calls": []}
                else:
                    with pytest.raises(RemoteError) as refused:
                        await asyncio.to_thread(ask, loaded, "status")
                    assert isinstance(refused.value.__cause__, Exception)
        finally:
            await listener.stop(grace_s=1)

    run(case())


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    tls = {"cert": str(tmp_path / "gone.pem"), "key": str(tmp_path / "gone.pem")}
    with pytest.raises(ConfigError, match=r"serve\.tls\.cert"):
        ask(configured(tmp_path, 3334, serve={"tls": tls}), "status")


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    made = (
        f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=a.example -keyout {key} -out {cert}"
    )
    subprocess.run([openssl, *made.split()], check=True, capture_output=True)  # noqa: S603
    return cert, key
