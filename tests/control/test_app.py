from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import websockets

from tests.control.fakes import run, services, serving
from voicecall.control.services import StreamRoute

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

pytestmark = pytest.mark.socket


def test_unknown_paths_and_methods_are_refused() -> None:
    async def case() -> None:
        async with serving(services()) as served:
            assert (await served.http.get("/nothing")).status_code == 404
            assert (await served.http.post("/healthz")).status_code == 405
            assert (await served.http.get("/rpc")).status_code == 405

    run(case)


def test_a_media_socket_reaches_the_stream_endpoint_with_its_token() -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": str(scope["path_params"])})
        await send({"type": "websocket.close"})

    async def case() -> None:
        control = services(stream=StreamRoute("/voice/stream", stream))
        async with serving(control) as served:
            base = f"ws://127.0.0.1:{served.port}/voice/stream"
            for path, params in (("", "{}"), ("/", "{}"), ("/abc", "{'token': 'abc'}")):
                async with websockets.connect(base + path, proxy=None) as socket:
                    assert await socket.recv() == params
            with pytest.raises(websockets.InvalidStatus):
                await websockets.connect(f"{base}/abc/def", proxy=None)

    run(case)


def test_a_socket_whose_endpoint_breaks_is_closed_without_details() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise RuntimeError("secret detail")

    async def case() -> None:
        control = services(stream=StreamRoute("/voice/stream", broken))
        async with serving(control) as served:
            url = f"ws://127.0.0.1:{served.port}/voice/stream"
            async with websockets.connect(url, proxy=None) as socket:
                await socket.wait_closed()
                assert (socket.close_code, socket.close_reason) == (1011, "")

    run(case)
