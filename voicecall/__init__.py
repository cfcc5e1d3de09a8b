"""Phone calls for software.

::

    from voicecall import Config, Server

    async with Server(Config()) as server:
        record = await server.calls.initiate("Hello!", to="+15550001234", mode="conversation")

`Server` is a whole voicecall in the event loop of its caller, `Config` tells it what to do, `tool`
makes a function one that language models may use during calls, and everything that is raised on
purpose is a `VoicecallError`. Names are loaded when they are first
used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from voicecall._version import __version__

if TYPE_CHECKING:
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
    from voicecall.server import Server

__all__ = [
    "CallError",
    "CallHasEnded",
    "CapacityReached",
    "CarrierError",
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
    "ToolContext",
    "ToolError",
    "TranscriptTimeout",
    "TurnPending",
    "UnknownCall",
    "VerificationError",
    "VoicecallError",
    "__version__",
    "tool",
]

# Everything else that is public is an error.
_HOMES = {
    "Config": "voicecall.config.schema",
    "Server": "voicecall.server",
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
