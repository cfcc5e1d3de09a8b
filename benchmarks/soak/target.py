"""The server under soak: the whole of it, with the mock carrier's phones held by the callers.

    python -m benchmarks.soak.target

It is composed as `voicecall serve` composes it. Where a mock call would reach a simulated phone of
this process, it is announced instead: one JSON line with its ids and its media URL, for callers in
another process. Everything else goes over the server's real sockets.

It prints one JSON line with its process id and ports when it is ready, a brief census on each
SIGUSR1, a full one on each SIGUSR2, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.soak import census
from voicecall.call.record import CallState
from voicecall.clock import SystemClock
from voicecall.config.schema import Config
from voicecall.server import Server
from voicecall.simulator import Callee

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.manager.manager import CallManager
    from voicecall.ports import DialRequest
    from voicecall.simulator.callee import Emit

TOKEN = "soak"
PERSONA = Path(__file__).with_name("persona.json5")
MAX_CONNECTIONS = 96
MAX_PENDING_PER_ADDRESS = 8
START_TIMEOUT_MS = 1000
SILENCE_MS = 200


def config(port: int) -> Config:
    """A server that callers can bring to each of its limits, without speech models.

    Args:
        port: of the media plane.
    """
    sections: dict[str, Any] = {
        "serve": {"port": 0},
        "streaming": {
            "port": port,
            "maxConnections": MAX_CONNECTIONS,
            "maxPendingConnections": 2 * MAX_PENDING_PER_ADDRESS,
            "maxPendingConnectionsPerIp": MAX_PENDING_PER_ADDRESS,
            "preStartTimeoutMs": START_TIMEOUT_MS,
        },
        "stt": {
            "provider": "scripted",
            "silenceDurationMs": SILENCE_MS,
            "scripted": {"transcripts": ["Well.", "Bye."]},
        },
        "tts": {"provider": "scripted"},
        "outbound": {"notifyHangupDelaySec": 0.1},
        "responseModel": f"scripted/{PERSONA}",
        "rpc": {"token": TOKEN},
    }
    return Config.model_validate(sections)


class Switchboard(Callee):
    """Puts mock calls through to callers that are not this server's own.

    Args:
        announce: told of each call that is placed: `callId`, `providerCallId` and `url`.
    """

    def __init__(self, announce: Callable[[dict[str, Any]], None]) -> None:
        super().__init__("off", None, SystemClock())
        self._announce = announce
        self._lines: dict[str, asyncio.Event] = {}

    async def ring(self, request: DialRequest, provider_call_id: str, emit: Emit) -> None:
        """Hold the line until the call is over, whoever has ended it."""
        del emit
        over = self._lines[request.call_id] = asyncio.Event()
        try:
            self._announce(
                {
                    "event": "dial",
                    "callId": request.call_id,
                    "providerCallId": provider_call_id,
                    "url": request.stream_url,
                }
            )
            await over.wait()
        finally:
            del self._lines[request.call_id]

    async def follow(self, calls: CallManager) -> None:
        """Hang up the lines of calls that have ended; runs until cancelled."""
        async with aclosing(calls.subscribe()) as changes:
            async for change in changes:
                if change["type"] == "gap":
                    self._hang_up_all_over(calls)
                elif CallState(change["state"]).terminal and change["callId"] in self._lines:
                    self._lines[change["callId"]].set()

    def _hang_up_all_over(self, calls: CallManager) -> None:
        for call_id, over in self._lines.items():
            record = calls.find(call_id)
            if record is None or record.state.terminal:
                over.set()


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def say(message: dict[str, Any]) -> None:
    """Tell the callers' process something."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def serve(settings: Config, port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: of the server.
        port: of its media plane.
    """
    switchboard = Switchboard(say)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    async with Server(settings, callee=switchboard) as server:
        following = asyncio.create_task(switchboard.follow(server.manager))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, lambda: say(census.brief()))
        loop.add_signal_handler(signal.SIGUSR2, lambda: say(census.full()))
        say({"event": "ready", "pid": os.getpid(), "control": server.control_url, "port": port})
        await stop.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def main() -> int:
    # Refusing callers is this server's work here, not worth a line each.
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("picows").setLevel(logging.CRITICAL)
    port = free_port()
    uvloop.run(serve(config(port), port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
