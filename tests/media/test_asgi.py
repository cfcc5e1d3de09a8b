from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.media.plane import Plane, run
from voicecall.clock import SystemClock
from voicecall.media.asgi import MediaEndpoint

if TYPE_CHECKING:
    from collections.abc import MutableMapping

pytestmark = pytest.mark.unit


class Upgrade:
    """An ASGI server's side of one WebSocket, step by step."""

    def __init__(self, path: str, extensions: dict[str, Any] | None = None) -> None:
        self.scope = {
            "type": "websocket",
            "path": path,
            "client": ("127.0.0.1", 1),
            "headers": [],
            "extensions": extensions or {},
        }
        self.inbox: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.outbox: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.writable = asyncio.Event()
        self.writable.set()
        self.inbox.put_nowait({"type": "websocket.connect"})

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.writable.wait()
        self.outbox.put_nowait(message)


def test_an_upgrade_in_flight_holds_its_place() -> None:
    async def case() -> None:
        tested = Plane(SystemClock(), max_connections=1)
        endpoint = MediaEndpoint(tested.server, SystemClock())
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        first, second = (Upgrade("/voice/stream", extensions) for _ in range(2))
        first.writable.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(endpoint(first.scope, first.inbox.get, first.send))
            await asyncio.sleep(0)
            await endpoint(second.scope, second.inbox.get, second.send)
            assert (await second.outbox.get())["status"] == 503
            first.writable.set()
            assert (await first.outbox.get())["type"] == "websocket.accept"
            await first.inbox.put({"type": "websocket.disconnect", "code": 1000})
        tested.assert_unused()

    run(case())


def test_a_client_that_is_gone_before_it_is_accepted_leaves_its_place() -> None:
    async def case() -> None:
        tested = Plane(SystemClock())
        upgrade = Upgrade("/voice/stream")

        async def broken(message: MutableMapping[str, Any]) -> None:
            raise OSError(message["type"])

        with pytest.raises(OSError, match="accept"):
            await MediaEndpoint(tested.server, SystemClock())(
                upgrade.scope, upgrade.inbox.get, broken
            )
        tested.assert_unused()

    run(case())


def test_a_server_without_http_denials_gets_a_close_before_the_accept() -> None:
    async def case() -> None:
        tested = Plane(SystemClock())
        upgrade = Upgrade("/voice/stream/wrong")
        await MediaEndpoint(tested.server, SystemClock())(
            upgrade.scope, upgrade.inbox.get, upgrade.send
        )
        assert (await upgrade.outbox.get())["type"] == "websocket.close"
        assert upgrade.outbox.empty()
        tested.assert_unused()

    run(case())
