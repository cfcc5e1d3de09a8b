from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.diagnosis.scene import Proxy, Route, run
from voicecall.diagnosis.network import Network, resolve
from voicecall.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.socket


def test_a_name_has_addresses_and_an_address_is_its_own() -> None:
    async def case() -> None:
        assert "127.0.0.1" in await resolve("localhost", 80)
        assert await resolve("192.0.2.7", 443) == ["192.0.2.7"]

    run(case())


def _answers(*found: Any) -> Callable[..., list[Any]]:
    return lambda *_, **__: list(found)


def test_addresses_of_version_4_come_first_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 443))
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::7", 443, 0, 0))
    monkeypatch.setattr(socket, "getaddrinfo", _answers(six, four, four))

    async def case() -> None:
        assert await resolve("calls.example.com", 443) == ["192.0.2.7", "2001:db8::7"]

    run(case())


def test_a_name_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def case() -> None:
        with pytest.raises(RemoteError, match=r"nobody\.example has no address: Name or service"):
            await resolve("nobody.example", 443)

    run(case())


def test_redirects_are_not_followed() -> None:
    async def case() -> None:
        async with Proxy([Route("/", answer="302 Found\r\nLocation: /there")]) as proxy:
            async with Network().client() as http:
                assert (await http.get(f"{proxy.url}/here")).status_code == 302
            assert proxy.seen == ["GET /here HTTP/1.1"]

    run(case())
