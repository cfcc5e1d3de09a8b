"""Phone calls for software.

::

    from voicecall import Config, Server

    async with Server(Config()) as server:
        call = await server.calls.initiate("Hello!", to="+15550001234", mode="conversation")
        answer = await call.ask("Is Tuesday at ten all right?")

`Server` is a whole voicecall in the event loop of its caller, `Call` a call of it, `Config` (or
`load_config`) tells it what to do, `create_app` makes it part of a web application,
`Client` and `SyncClient` use one that runs elsewhere, `tool` makes a function one that language
models may use during calls, and everything that is raised on purpose is a `VoicecallError`. Names
are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from voicecall._version import __version__

if TYPE_CHECKING:
    from voicecall.calls import Call
    from voicecall.client import Client, SyncClient
    from voicecall.config.load import load_config
    from voicecall.config.schema import Config
    from voicecall.errors import (
        CallError,
        CallHasEnded,
        CapacityReached,
        CarrierError,
        CodecError,
        ConfigError,
        DependencyMissing,
        IllegalTransition,
        InvalidRequest,
        NotConnected,
        RemoteError,
        ServeError,
        SpeechError,
        StoreError,
        TranscriptTimeout,
        TurnPending,
        UnknownCall,
        VerificationError,
        VoicecallError,
    )
    from voicecall.llm.tools import ToolContext, ToolError, tool
    from voicecall.mount import create_app
    from voicecall.server import Server

__all__ = [
    "Call",
    "CallError",
    "CallHasEnded",
    "CapacityReached",
    "CarrierError",
    "Client",
    "CodecError",
    "Config",
    "ConfigError",
    "DependencyMissing",
    "IllegalTransition",
    "InvalidRequest",
    "NotConnected",
    "RemoteError",
    "ServeError",
    "Server",
    "SpeechError",
    "StoreError",
    "SyncClient",
    "ToolContext",
    "ToolError",
    "TranscriptTimeout",
    "TurnPending",
    "UnknownCall",
    "VerificationError",
    "VoicecallError",
    "__version__",
    "create_app",
    "load_config",
    "tool",
]

# Everything else that is public is an error.
_HOMES = {
    "Call": "voicecall.calls",
    "Client": "voicecall.client",
    "SyncClient": "voicecall.client",
    "Config": "voicecall.config.schema",
    "Server": "voicecall.server",
    "create_app": "voicecall.mount",
    "load_config": "voicecall.config.load",
    "ToolContext": "voicecall.llm.tools",
    "ToolError": "voicecall.llm.tools",
    "tool": "voicecall.llm.tools",
}


# Type checkers see the imports above instead, and with them what does not exist.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES.get(name, "voicecall.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
