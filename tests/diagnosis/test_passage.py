from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.diagnosis.scene import Proxy, Route, loaded, network, run
from tests.hosting import free_port
from voicecall.diagnosis.host import Host
from voicecall.diagnosis.passage import (
    Doors,
    look_at_identity,
    look_at_upgrade,
    look_at_webhook,
    stream_url,
    webhook_url,
)
from voicecall.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from voicecall.diagnosis.check import Finding

pytestmark = pytest.mark.socket

ACCOUNT = {
    "provider": "plivo",
    "fromNumber": "+15550001111",
    "plivo": {"authId": "MASIMULATEDACCOUNT00", "authToken": "none"},
}
WEBHOOK, STREAM = "/voice/webhook", "/voice/stream"


def settings(control: int, media: int) -> dict[str, Any]:
    return {
        **ACCOUNT,
        "publicUrl": "https://calls.example.com",
        "serve": {"port": control},
        "streaming": {"enabled": True, "port": media},
        "stt": {"provider": "scripted"},
        "tts": {"provider": "scripted"},
        "responseModel": "scripted/builtin",
        "store": ":memory:",
        "rpc": {"token": "a token of sufficient length"},
    }


class Scene:
    """A server, and a proxy whose routes a test can change."""

    def __init__(self, host: Host, proxy: Proxy) -> None:
        self.host = host
        self.proxy = proxy
        self.doors = Doors(
            webhook=f"{proxy.url}{WEBHOOK}",
            stream=f"{proxy.url}{STREAM}",
            control=host.control_url,
            media=host.media_url(),
        )

    def has(self, *routes: Route) -> None:
        self.proxy.routes[:0] = routes

    async def identity(self) -> Finding:
        return await look_at_identity(self.doors, self.host, network())

    async def webhook(self) -> Finding:
        return await look_at_webhook(self.doors, network(), verified=True)

    async def upgrade(self) -> Finding:
        return await look_at_upgrade(self.doors, self.host, network())


@asynccontextmanager
async def scene(folder: Path, *, one_port: bool = False) -> AsyncIterator[Scene]:
    control, media = free_port(), 0 if one_port else free_port()
    config = loaded(folder, **settings(control, media))
    async with Server(config.config), Host(config) as host:
        await host.look()
        async with Proxy([Route(STREAM, media or control), Route("/", control)]) as proxy:
            yield Scene(host, proxy)


@pytest.mark.parametrize("one_port", [False, True])
def test_all_passes_through_a_proxy_that_is_set_up_well(tmp_path: Path, one_port: bool) -> None:
    async def case() -> None:
        async with scene(tmp_path, one_port=one_port) as there:
            identity = await there.identity()
            assert identity.status == "ok"
            assert "leads to this server" in identity.found
            assert (await there.webhook()).status == "ok"
            upgrade = await there.upgrade()
            assert upgrade.status == "ok"
            assert upgrade.found.startswith("ws://localhost:")

    run(case())


def test_another_voicecall_server_is_not_this_one(tmp_path: Path) -> None:
    async def case() -> None:
        control = free_port()
        other = loaded(tmp_path, **settings(control, free_port()))
        async with Server(other.config), scene(tmp_path) as there:
            there.has(Route("/", control))
            finding = await there.identity()
            assert finding.status == "fail"
            assert "leads to another voicecall server" in finding.found
            # Its webhook looks just the same, so it alone proves nothing.
            assert (await there.webhook()).status == "ok"

    run(case())


@pytest.mark.parametrize(
    ("answer", "told", "remedy"),
    [
        ("301 Moved Permanently\r\nLocation: https://www.example.com", "redirects to", "publicUrl"),
        ("502 Bad Gateway", "does not get through to this server (502)", "error log"),
        ("521 Web Server Is Down", "does not get through to this server (521)", "error log"),
        ("403 Forbidden", "lets nobody through", "bot protection"),
        ('401 No\r\nWWW-Authenticate: Basic realm="x"', "lets nobody through", "password"),
        ("404 Not Found", "/voice/webhook is not found", "lead /voice/webhook to http://127"),
        ("200 OK", "", ""),
        ("418 I'm a teapot", "something else, which answered with 418", "curl -i"),
    ],
)
def test_what_answers_in_our_place_is_told_with_what_mends_it(
    answer: str, told: str, remedy: str, tmp_path: Path
) -> None:
    async def case() -> None:
        async with scene(tmp_path) as there:
            there.has(Route(WEBHOOK, answer=answer))
            for finding in (await there.identity(), await there.webhook()):
                assert finding.status == "fail"
                assert told in finding.found
                assert remedy in (finding.remedy or "")

    run(case())


def test_nobody_there_is_told_with_where_to_try_from(tmp_path: Path) -> None:
    async def case() -> None:
        async with scene(tmp_path) as there:
            await there.proxy.__aexit__(None, None, None)
            findings = [await there.identity(), await there.webhook(), await there.upgrade()]
        for finding in findings:
            assert finding.status == "fail"
            assert "cannot be reached from here" in finding.found
            assert "curl -i" in (finding.remedy or "")

    run(case())


def test_a_proxy_that_drops_upgrades_is_told_from_one_that_does_not_know_the_path(
    tmp_path: Path,
) -> None:
    async def case() -> None:
        for one_port in (False, True):
            async with scene(tmp_path, one_port=one_port) as there:
                port = int(there.doors.media.rpartition(":")[2])
                there.has(Route(STREAM, port, keeps_upgrades=False))
                finding = await there.upgrade()
                assert finding.status == "fail"
                assert "takes the upgrade to a WebSocket out" in finding.found
                assert "proxy_set_header Upgrade" in (finding.remedy or "")
        async with scene(tmp_path) as there:
            there.has(Route(STREAM, answer="404 Not Found"))
            finding = await there.upgrade()
            assert "/voice/stream is not found" in finding.found
            assert f"lead /voice/stream to {there.doors.media}" in (finding.remedy or "")

    run(case())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("426 Upgrade Required", "takes the upgrade to a WebSocket out"),
        ("403 Forbidden", "itself refuses media sockets"),
        ("502 Bad Gateway", "does not get through"),
        (
            "101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade",
            "with a wrong token was accepted",
        ),
    ],
)
def test_media_sockets_that_somebody_else_takes_are_red(
    answer: str, told: str, tmp_path: Path
) -> None:
    async def case() -> None:
        async with scene(tmp_path) as there:
            there.has(Route(STREAM, answer=answer))
            finding = await there.upgrade()
            assert finding.status == "fail"
            assert told in finding.found

    run(case())


def test_a_webhook_that_would_be_believed_is_not_sent(tmp_path: Path) -> None:
    async def case() -> None:
        async with scene(tmp_path) as there:
            finding = await look_at_webhook(there.doors, network(), verified=False)
            assert finding.status == "skipped"
            assert there.proxy.seen == []

    run(case())


def test_a_public_url_without_a_path_stands_for_the_path_that_is_served() -> None:
    assert webhook_url("https://a.example/", "/hooks") == "https://a.example/hooks"
    assert webhook_url("https://a.example/calls", "/hooks") == "https://a.example/calls"
    assert stream_url("https://a.example/calls", "/media") == "https://a.example/media"
