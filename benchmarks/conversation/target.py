"""The server whose conversations are measured.

    python -m benchmarks.conversation.target local|instant SILENCE_MS

With `local` it hears and speaks with the engines on this machine. With `instant` it speaks
OpenAI's protocols, over sockets, to a simulated service in the same process that takes no time to
hear, think or speak: what then passes is the time of everything else.

It tells the same as `benchmarks.soak.target`.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AsyncExitStack
from typing import Any

import uvloop

from benchmarks.soak.target import TOKEN, free_port, serve
from voicecall.config.schema import IN_MEMORY, Config
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.server import ModelServer

HEARD = ("What are your opening hours?", "I would like to book an appointment.", "Yes, please.")


async def run(models: str, silence_ms: int) -> None:
    async with AsyncExitStack() as stack:
        sections: dict[str, Any] = {
            "stt": {"provider": "local", "silenceDurationMs": silence_ms},
            "tts": {"provider": "local"},
            "responseModel": "scripted/builtin",
        }
        if models == "instant":
            server = await stack.enter_async_context(ModelServer(engines=InstantEngines(HEARD)))
            sections = {
                "openai": {
                    "apiKey": server.world.api_key,
                    "baseUrl": server.base_url,
                    "api": "responses",
                },
                "stt": {"provider": "openai", "silenceDurationMs": silence_ms},
                # Nothing is to be there already.
                "tts": {"provider": "openai", "openai": {"api": "realtime"}, "cacheMegabytes": 0},
                "responseModel": "openai/gpt-6-luna",
            }
        port = free_port()
        settings = {
            **sections,
            "serve": {"port": 0},
            "streaming": {"enabled": True, "port": port, "maxConnections": 256},
            "maxConcurrentCalls": 256,
            "rpc": {"token": TOKEN},
            "store": IN_MEMORY,
        }
        await serve(Config.model_validate(settings), port)


def main() -> int:
    models, silence_ms = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    uvloop.run(run(models, int(silence_ms)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
