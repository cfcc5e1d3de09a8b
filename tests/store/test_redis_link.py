from __future__ import annotations

import asyncio
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.hosting import free_port
from tests.store.databases import DatabaseServer, linked
from tests.store.stores import run
from voicecall.errors import StoreError
from voicecall.store.redis_address import RedisAddress

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.store.redis_link import RedisLink

pytestmark = pytest.mark.socket


async def back(link: RedisLink) -> None:
    """Ask until there is an answer."""
    async with asyncio.timeout(15):
        while True:
            try:
                await link.ask(("PING",))
            except StoreError:
                await asyncio.sleep(0.02)
            else:
                return


def test_each_command_has_its_answer_and_a_refusal_spoils_no_other(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        address = database.address()
        key = f"{address.prefix}k"
        async with linked(address) as link:
            answers = await link.run([("SET", key, "v"), ("LPUSH", key, "w"), ("GET", key)])
            assert answers[0]
            assert isinstance(answers[1], Exception)
            assert answers[2] == b"v"
            with pytest.raises(StoreError, match="refused: WRONGTYPE"):
                await link.ask(("LPUSH", key, "w"))

    run(case())


def test_a_connection_that_broke_is_replaced(database: DatabaseServer) -> None:
    async def case() -> None:
        async with linked(database.address()) as link, linked(database.address()) as other:
            await link.ask(("PING",))
            for _ in range(3):
                await other.ask(("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes"))
                assert await link.ask(("ECHO", "still here")) == b"still here"

    run(case())


def test_a_server_that_is_away_is_asked_less_and_less_often_and_found_again(
    own_database: DatabaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "voicecall.store")

    async def case() -> None:
        own_database.start()
        async with linked(own_database.address()) as link:
            await link.ask(("PING",))
            own_database.kill()
            with pytest.raises(StoreError, match=r"cannot be reached: .*; start it, or correct"):
                await link.ask(("PING",))
            with pytest.raises(StoreError, match=r"is away .*; it is asked again in 0\.[01] s"):
                await link.ask(("PING",))
            async with asyncio.timeout(15):
                while link._failures < 3:
                    with pytest.raises(StoreError):
                        await link.ask(("PING",))
                    await asyncio.sleep(0.02)
            await asyncio.to_thread(own_database.start)
            await back(link)

    run(case())
    said = [record.getMessage() for record in caplog.records]
    assert said == ["the store is away", "the store is back"]


def test_a_server_that_hangs_is_not_waited_for(own_database: DatabaseServer) -> None:
    async def case() -> None:
        own_database.start()
        async with linked(own_database.address(), deadline_s=0.3) as link:
            await link.ask(("PING",))
            own_database.signal(signal.SIGSTOP)
            try:
                with pytest.raises(StoreError, match=r"no answer within 0\.3 s"):
                    await link.ask(("PING",))
            finally:
                own_database.signal(signal.SIGCONT)
            await back(link)
            # What it answers late is not taken for the answer to something else.
            assert await link.ask(("ECHO", "now")) == b"now"

    run(case())


def test_only_so_many_wait(database: DatabaseServer) -> None:
    async def case() -> None:
        async with linked(database.address(), max_waiting=3) as link:
            answers = await asyncio.gather(
                *(link.ask(("PING",)) for _ in range(5)), return_exceptions=True
            )
            refused = [each for each in answers if isinstance(each, StoreError)]
            assert len(refused) == 2
            assert "does not keep up: 3 wait" in str(refused[0])
            assert await link.ask(("PING",))

    run(case())


def test_a_cancelled_question_leaves_the_way_free(database: DatabaseServer) -> None:
    async def case() -> None:
        async with linked(database.address()) as link:
            for _ in range(10):
                asking = asyncio.create_task(link.ask(("BLPOP", "nothing", 5)))
                await asyncio.sleep(0.01)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            assert await link.ask(("ECHO", "free")) == b"free"

    run(case())


def test_a_wrong_password_is_said_and_not_shown(own_database: DatabaseServer) -> None:
    own_database.options = ("--requirepass", "right one")
    own_database.start()

    async def case() -> None:
        url = f"redis://:%s@127.0.0.1:{own_database.port}"
        async with linked(RedisAddress.parse(url % "right%20one", server="one")) as link:
            assert await link.ask(("ECHO", "in")) == b"in"
        async with linked(RedisAddress.parse(url % "hidden", server="one")) as link:
            with pytest.raises(StoreError, match=r"cannot be reached: .*password") as refused:
                await link.ask(("PING",))
        assert "hidden" not in str(refused.value) + repr(link)

    run(case())


def test_nobody_there_is_said() -> None:
    async def case() -> None:
        url = f"valkey://127.0.0.1:{free_port()}"
        async with linked(RedisAddress.parse(url, server="one")) as link:
            with pytest.raises(StoreError, match=r"store at redis://127\.0\.0\.1:\d+/0 cannot"):
                await link.ask(("PING",))

    run(case())


def test_an_encrypted_connection_checks_the_certificate(
    own_database: DatabaseServer, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(  # noqa: S603  (fixed arguments)
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",  # noqa: S607  (any)
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    own_database.options = (
        *("--tls-port", str(own_database.port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
    )
    own_database.start()

    async def case() -> None:
        url = f"rediss://127.0.0.1:{own_database.port}"
        trusting = f"{url}?ssl_ca_certs={certificate}"
        async with linked(RedisAddress.parse(trusting, server="one")) as link:
            assert await link.ask(("ECHO", "private")) == b"private"
        async with linked(RedisAddress.parse(url, server="one")) as link:
            with pytest.raises(StoreError, match="cannot be reached"):
                await link.ask(("PING",))

    run(case())
