"""Settings that are allowed, and seldom what is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicecall.diagnosis.check import fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voicecall.config.load import LoadedConfig
    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


async def look_at_configuration(loaded: LoadedConfig) -> Finding:
    """Where the configuration is from, and what it warns of."""
    place = str(loaded.path) if loaded.path else "built-in defaults, as there is no file"
    if not loaded.config.enabled:
        return fail(f"{place}: enabled is false, so nothing is served", "set enabled to true")
    if loaded.warnings:
        return warn("\n".join((place, *loaded.warnings)), f"change these keys: {_keys(loaded)}")
    return ok(place)


async def look_at_exposure(config: Config) -> Finding:
    """Whether the control plane is open to a network in clear text."""
    bind = config.serve.bind
    if bind in _LOOPBACK:
        return ok(f"serve.bind is {bind}: only programs on this machine, and proxies here")
    if config.serve.tls is None:
        return warn(
            f"serve.bind is {bind}: the RPC token crosses the network unencrypted",
            'set serve.bind to "127.0.0.1" behind a proxy or tunnel, or set serve.tls',
        )
    return ok(f"serve.bind is {bind}, with TLS")


async def look_at_inbound(config: Config) -> Finding:
    """Who may call."""
    match config.inbound_policy:
        case "disabled":
            return ok("none are taken (inboundPolicy: disabled)")
        case "open":
            return warn(
                "everybody may call, and talk to the bot at your expense (inboundPolicy: open)",
                'set inboundPolicy to "allowlist" and allowFrom to who may call',
            )
        case _ if not config.allow_from:
            return warn(
                f"nobody may call: allowFrom is empty (inboundPolicy: {config.inbound_policy})",
                "set allowFrom to the numbers that may call",
            )
        case policy:
            return ok(f"{len(config.allow_from)} numbers may call (inboundPolicy: {policy})")


def _keys(loaded: LoadedConfig) -> str:
    return ", ".join(_first_words(loaded.warnings))


def _first_words(warnings: Sequence[str]) -> list[str]:
    """The keys that warnings begin with, each once."""
    return list(dict.fromkeys(warning.partition(":")[0] for warning in warnings))
