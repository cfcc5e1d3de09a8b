"""The server a careful Python engineer writes first: Starlette on uvicorn, one pacing task a call.

    python -m benchmarks.peers.starlette_tone --port 3336

Per call: each inbound message is parsed with orjson, its payload decoded from base64 and from
mu-law to PCM16. A task sends a prepared mu-law tone as one message of 20 ms each 20 ms: frame n is
due at start + n * 20 ms - 160 ms on the loop's monotonic clock, so the first nine go out at once,
and a frame that is late is sent immediately and delays none of those after it.
"""

from __future__ import annotations

import asyncio
import audioop
import base64
import itertools
from collections import deque
from typing import TYPE_CHECKING

import orjson
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.peers.tone import tone_pcm16
from benchmarks.peers.uvicorn_process import run

if TYPE_CHECKING:
    from benchmarks.peers.uvicorn_process import Lifespan

FRAME_S = 0.020
FRAME_OCTETS = 160
LEAD_S = 0.160
# A recogniser would take the audio from here; past one second the oldest frame is dropped.
HEARD_FRAMES = 50


def frames() -> list[bytes]:
    """The tone as mu-law, cut into frames of 20 ms."""
    ulaw = audioop.lin2ulaw(tone_pcm16(), 2)
    return [ulaw[at : at + FRAME_OCTETS] for at in range(0, len(ulaw), FRAME_OCTETS)]


async def speak(websocket: WebSocket, stream_sid: str, tone: list[bytes]) -> None:
    """Send the tone for ever, each frame at its own moment."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for number, frame in enumerate(itertools.cycle(tone)):
        delay_s = start_s + number * FRAME_S - LEAD_S - loop.time()
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        payload = base64.b64encode(frame).decode()
        message = {"event": "media", "streamSid": stream_sid, "media": {"payload": payload}}
        await websocket.send_text(orjson.dumps(message).decode())


class Calls:
    """The WebSocket endpoint, and the audio it plays to everyone."""

    def __init__(self) -> None:
        self._tone = frames()

    async def __call__(self, websocket: WebSocket) -> None:
        """Hold one call until the carrier hangs up or says `stop`."""
        await websocket.accept()
        try:
            async with asyncio.TaskGroup() as group:
                await self._listen(websocket, group)
        except* WebSocketDisconnect:
            pass  # how every call ends; the group has cancelled its speaker

    async def _listen(self, websocket: WebSocket, group: asyncio.TaskGroup) -> None:
        heard: deque[bytes] = deque(maxlen=HEARD_FRAMES)
        while True:
            message = orjson.loads(await websocket.receive_text())
            match message["event"]:
                case "media":
                    ulaw = base64.b64decode(message["media"]["payload"])
                    heard.append(audioop.ulaw2lin(ulaw, 2))
                case "start":
                    group.create_task(speak(websocket, message["streamSid"], self._tone))
                case "stop":
                    raise WebSocketDisconnect


def app(lifespan: Lifespan) -> Starlette:
    """The ASGI app."""
    calls = Calls()

    async def stream(websocket: WebSocket) -> None:
        await calls(websocket)

    return Starlette(routes=[WebSocketRoute("/voice/stream", stream)], lifespan=lifespan)


if __name__ == "__main__":
    run("starlette", app, __doc__)
