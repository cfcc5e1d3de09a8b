from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
import ssl
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.control.fakes import run
from voicecall.control.listen import ControlListener, TlsFiles
from voicecall.errors import ServeError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

pytestmark = pytest.mark.socket


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


class Endless:
    """Begins to answer when `streams`, and never finishes."""

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams
        self.entered = asyncio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.streams:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def get(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


def test_it_answers_as_soon_as_start_returns_and_not_after_stop() -> None:
    async def case() -> None:
        listener = ControlListener(hello, "127.0.0.1", 0)
        await listener.start()
        assert listener.port > 0
        assert (await get(listener.port)).endswith(b"hello")
        await listener.stop()
        with pytest.raises(ConnectionRefusedError):
            await get(listener.port)

    run(case)


def test_it_can_be_started_again_on_the_same_port() -> None:
    async def case() -> None:
        listener = ControlListener(hello, "127.0.0.1", 0)
        for _ in range(2):
            await listener.start()
            assert (await get(listener.port)).endswith(b"hello")
            await listener.stop()

    run(case)


def test_a_busy_port_is_an_error_that_names_it() -> None:
    async def case() -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ServeError, match=f"port {port}.*in use"):
                await ControlListener(hello, "127.0.0.1", port).start()

    run(case)


def test_a_port_of_another_listener_of_ours_is_not_shared() -> None:
    async def case() -> None:
        first = ControlListener(hello, "127.0.0.1", 0)
        await first.start()
        with pytest.raises(ServeError, match="in use"):
            await ControlListener(hello, "127.0.0.1", first.port).start()
        await first.stop()

    run(case)


def test_an_address_of_another_machine_is_an_error() -> None:
    async def case() -> None:
        with pytest.raises(ServeError, match=r"192\.0\.2\.1"):
            await ControlListener(hello, "192.0.2.1", 0).start()

    run(case)


def test_an_unreadable_certificate_is_an_error(tmp_path: Path) -> None:
    async def case() -> None:
        broken = tmp_path / "broken.pem"
        broken.write_text("not a certificate")
        for cert in (broken, tmp_path / "absent.pem"):
            with pytest.raises(ServeError, match="TLS"):
                await ControlListener(hello, "127.0.0.1", 0, TlsFiles(cert, broken)).start()

    run(case)


def test_tls_serves_https(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = (
        f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {cert}"
    )
    subprocess.run([openssl, *made.split()], check=True, capture_output=True)  # noqa: S603
    trusting = ssl.create_default_context(cafile=str(cert))
    trusting.check_hostname = False
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2

    async def case() -> None:
        listener = ControlListener(hello, "127.0.0.1", 0, TlsFiles(cert, key))
        await listener.start()
        url = f"https://127.0.0.1:{listener.port}"
        async with httpx.AsyncClient(verify=trusting, trust_env=False) as http:
            assert (await http.get(url)).text == "hello"
        await listener.stop()

    run(case)


@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0", "localhost"])  # noqa: S104
def test_hosts_may_be_written_in_every_usual_way(host: str) -> None:
    async def case() -> None:
        listener = ControlListener(hello, host, 0)
        await listener.start()
        reached = "::1" if host in {"::1", "::"} else "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
        _, writer = await asyncio.open_connection(reached, listener.port)
        writer.close()
        await listener.stop()

    run(case)


def test_listeners_that_share_a_port_need_to_say_so() -> None:
    async def case() -> None:
        first = ControlListener(hello, "127.0.0.1", 0)
        await first.start()
        second = ControlListener(hello, "127.0.0.1", first.port, shared=True)
        await second.start()
        await first.stop()
        assert (await get(second.port)).endswith(b"hello")
        await second.stop()

    run(case)


def test_its_end_can_be_waited_for() -> None:
    async def case() -> None:
        listener = ControlListener(hello, "127.0.0.1", 0)
        await listener.start()
        closed = asyncio.create_task(listener.wait_closed())
        await asyncio.sleep(0)
        assert not closed.done()
        await listener.stop()
        async with asyncio.timeout(2):
            await closed
        await listener.stop()

    run(case)


def test_stop_ends_a_stream_at_once_and_properly() -> None:
    async def case() -> None:
        app = Endless(streams=True)
        listener = ControlListener(app, "127.0.0.1", 0)
        await listener.start()
        client = asyncio.create_task(get(listener.port))
        await app.entered.wait()
        async with asyncio.timeout(2):
            await listener.stop(grace_s=60)
        assert app.cancelled
        assert (await client).endswith(b"5\r\nbegun\r\n0\r\n\r\n")

    run(case)


def test_stop_ends_a_request_that_outlasts_the_grace() -> None:
    async def case() -> None:
        app = Endless(streams=False)
        listener = ControlListener(app, "127.0.0.1", 0)
        await listener.start()
        client = asyncio.create_task(get(listener.port))
        await app.entered.wait()
        async with asyncio.timeout(5):
            await listener.stop(grace_s=0.05)
        assert app.cancelled
        await client

    run(case)


def test_logging_and_signal_handlers_of_the_application_stay_as_they_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def case() -> None:
        listener = ControlListener(hello, "127.0.0.1", 0)
        await listener.start()
        assert signal.getsignal(signal.SIGINT) is before
        logging.getLogger("test").warning("still here")
        await listener.stop()

    handler = logging.FileHandler(tmp_path / "log", "w")
    logging.getLogger("test").addHandler(handler)

    def custom(signum: int, frame: object) -> None:
        del signum, frame

    previous = signal.signal(signal.SIGINT, custom)
    try:
        before = signal.getsignal(signal.SIGINT)
        asyncio.run(case())
    finally:
        signal.signal(signal.SIGINT, previous)
        logging.getLogger("test").removeHandler(handler)
        handler.close()
    assert "still here" in (tmp_path / "log").read_text()
    assert "xperimental" not in "".join(capfd.readouterr())
