"""Bare picows on uvloop: every text frame goes back as it came.

    python -m benchmarks.peers.picows_echo --port 3336

This is the server of picows' own benchmark: no JSON, no audio, no clock.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from benchmarks.peers.ready import announce


class Echo(WSListener):
    """One connection."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer a text frame with itself, and a close with a close."""
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


async def serve(port: int) -> None:
    """Echo on loopback until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await ws_create_server(lambda _: Echo(), "127.0.0.1", port)
    announce("picows_echo", server.sockets[0].getsockname()[1])
    await stop.wait()
    # Open connections end with the process: `wait_closed` would wait for their callers.
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 chooses a free one")
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
