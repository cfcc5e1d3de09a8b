"""The server under a flood: the whole of it, taking calls from Twilio and believing nobody else.

    python -m benchmarks.soak.guarded

It prints one JSON line with its process id and ports when it is ready, a brief census on each
SIGUSR1, and ends on SIGTERM or SIGINT. It trusts this machine as a proxy, so that one attacker can
come from many addresses; and never reaches the carrier, which nothing here is about.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import Any

import uvloop

from benchmarks.soak import census
from benchmarks.soak.target import PERSONA, TOKEN, free_port, say
from voicecall.config.schema import Config
from voicecall.server import Server

ACCOUNT_SID = "AC" + "f" * 32
AUTH_TOKEN = "f" * 32
NUMBER = "+15550000001"
PUBLIC_URL = "https://voice.example.org"
GREETING = "Good day"


def config(port: int) -> Config:
    """A server on Twilio that takes every call, without speech models.

    Args:
        port: of the media plane.
    """
    sections: dict[str, Any] = {
        "provider": "twilio",
        "fromNumber": NUMBER,
        "publicUrl": PUBLIC_URL,
        "inboundPolicy": "open",
        "inboundGreeting": GREETING,
        "maxDurationSeconds": 3600,
        "twilio": {
            "accountSid": ACCOUNT_SID,
            "authToken": AUTH_TOKEN,
            "apiBaseUrl": f"http://127.0.0.1:{free_port()}",
        },
        "webhookSecurity": {"trustedProxyIPs": ["127.0.0.1"]},
        "serve": {"port": 0},
        "streaming": {"enabled": True, "port": port, "preStartTimeoutMs": 1000},
        "stt": {"provider": "scripted"},
        "tts": {"provider": "scripted"},
        "responseModel": f"scripted/{PERSONA}",
        "rpc": {"token": TOKEN},
    }
    return Config.model_validate(sections)


async def serve() -> None:
    port = free_port()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    async with Server(config(port)) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, lambda: say(census.brief()))
        loop.add_signal_handler(signal.SIGUSR2, lambda: say(census.full()))
        say({"event": "ready", "pid": os.getpid(), "control": server.control_url, "port": port})
        await stop.wait()


def main() -> int:
    # Refusing is this server's work here, not worth a line each.
    logging.basicConfig(level=logging.CRITICAL)
    uvloop.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
