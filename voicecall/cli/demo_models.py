"""What the demonstration's server listens, thinks and speaks with."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from voicecall.clock import Clock

SpeechName: TypeAlias = Literal["local", "openai"]
ModeName: TypeAlias = Literal["pipeline", "realtime"]

# The silence that ends the caller's turn; shorter answers sooner, but cuts hesitant speakers off.
ENDPOINTING_MS = 600


@asynccontextmanager
async def demo_models(
    speech: SpeechName, mode: ModeName, clock: Clock
) -> AsyncIterator[Mapping[str, Any]]:
    """Settings that lead a server to its models, which work as long as the context lasts.

    With `openai` the server uses OpenAI's own package and protocols, all the way over sockets, with
    a simulated service on this machine behind them: no key, no cost.

    Args:
        speech: whose protocols are spoken to the models.
        mode: recognition, language model and voice, or one model that does all of it.
        clock: the time.

    Raises:
        DependencyMissing: a package is not installed.
    """
    realtime = {"enabled": mode == "realtime", "provider": speech}
    silence = {"silenceDurationMs": ENDPOINTING_MS}
    if speech == "local":
        yield {
            "stt": {"provider": "local", **silence},
            "tts": {"provider": "local"},
            "responseModel": "scripted/builtin",
            "realtime": realtime,
        }
        return
    # Made of the vendor's package, which is optional.
    from voicecall.simulator.models.server import ModelServer  # noqa: PLC0415

    async with ModelServer(clock=clock) as server:
        await server.world.engines.prepare()
        yield {
            "openai": {
                "apiKey": server.world.api_key,
                "baseUrl": server.base_url,
                "api": "responses",
            },
            "stt": {"provider": "openai", **silence},
            "tts": {"provider": "openai", "openai": {"api": "realtime"}},
            "responseModel": "openai/gpt-6-luna",
            "realtime": realtime,
        }
