"""What this machine gives to a server: descriptors, and directories to keep things in."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING, Final

from voicecall.config.state import TOKEN_NAME, read_rpc_token
from voicecall.diagnosis.check import fail, ok, warn

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding

# Listeners, store, log, RPC and event clients, and what libraries keep open.
_OWN_DESCRIPTORS: Final = 128
_REMOTE: Final = frozenset({"openai", "deepgram", "elevenlabs"})
_OTHERS_BITS = 0o077
_SHORT_TOKEN_CHARS = 16


def descriptors_needed(config: Config) -> int:
    """How many files and sockets a server has open with as many calls as it takes.

    A call has one socket for its media, and one for each remote service that listens or speaks.
    """
    if not config.streaming.enabled:
        return _OWN_DESCRIPTORS + config.max_concurrent_calls
    remote = sum(name in _REMOTE for name in (config.stt.provider, config.tts.provider))
    if config.realtime.enabled:
        remote = 1
    # A carrier may connect anew before it lets go of the old socket, and strangers knock.
    sockets = max(config.max_concurrent_calls, config.streaming.max_connections)
    return _OWN_DESCRIPTORS + sockets + config.max_concurrent_calls * remote


async def look_at_descriptors(config: Config) -> Finding:
    """Whether a process may have as many descriptors as the calls need."""
    needed = descriptors_needed(config)
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if allowed == unlimited or allowed >= needed:
        return ok(f"{_count(allowed)} open files allowed, {needed} needed")
    found = f"{allowed} open files allowed, {needed} needed for {config.max_concurrent_calls} calls"
    if most == unlimited or most >= needed:
        return fail(
            found, f"ulimit -n {needed}    (a systemd unit: LimitNOFILE={needed}), or lower "
            "maxConcurrentCalls"
        )  # fmt: skip
    return fail(
        found,
        f"raise the hard limit of {most} (/etc/security/limits.conf, or LimitNOFILE={needed} in a "
        "systemd unit), or lower maxConcurrentCalls",
    )


async def look_at_state(directory: Path) -> Finding:
    """Whether state can be kept in `directory`, which need not exist."""
    place = nearest(directory)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return fail(
            f"{directory}: {place} is not writable",
            f"chown $(id -un) {place}    (or set XDG_STATE_HOME to another directory)",
        )
    return ok(str(directory) if place == directory else f"{directory} (will be made)")


async def look_at_token(config: Config, directory: Path) -> Finding:
    """Whether the RPC token is one, and nobody else can read it.

    Raises:
        ConfigError: it is there, but unreadable.
    """
    if config.rpc.token is not None:
        if len(config.rpc.token.get_secret_value()) < _SHORT_TOKEN_CHARS:
            return warn(
                f"rpc.token has fewer than {_SHORT_TOKEN_CHARS} characters and can be guessed",
                "remove rpc.token to have one made, or set it to: $(openssl rand -base64 32)",
            )
        return ok("configured as rpc.token")
    path = directory / TOKEN_NAME
    if read_rpc_token(directory) is None:
        return ok(f"{path} (made when a server first starts)")
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS_BITS:
        return fail(f"{path} can be read by others (mode {mode:03o})", f"chmod 600 {path}")
    return ok(f"{path}, for your eyes only")


def nearest(path: Path) -> Path:
    """`path`, or the nearest of the directories above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _count(limit: int) -> str:
    return "any number of" if limit == resource.RLIM_INFINITY else str(limit)
