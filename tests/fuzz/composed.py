"""A server as it is composed for real, but not listening and without models."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from voicecall.config.schema import Config
from voicecall.control.app import create_app
from voicecall.server import Server

TOKEN = "open sesame"
# The shortest one: reading a persona is most of what making a server costs.
PERSONA = Path(__file__).with_name("persona.json5")


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[Server, ASGIApp]]:
    """A server and its control plane; everything is seen to be given back."""
    config = Config.model_validate(
        {
            "mock": {"phone": "off"},
            "stt": {"provider": "scripted"},
            "tts": {"provider": "scripted"},
            "responseModel": f"scripted/{PERSONA}",
            "inboundPolicy": "open",
        }
        | settings
    )
    server = Server(config, rpc_token=TOKEN)
    try:
        yield server, create_app(server._control_services())
    finally:
        await server.stop()
    assert server.manager.live_count == 0
    assert not server.manager.live()
    assert not server._sessions._sessions
    assert len(server._tokens) == 0
