"""Whether the engines of a configuration load: packages, models on disk, servers of tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicecall.diagnosis.check import ok, skipped
from voicecall.session.outfitter import Outfitter

if TYPE_CHECKING:
    from voicecall.clock import Clock
    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.host import Host


async def look_at_engines(config: Config, host: Host, clock: Clock) -> Finding:
    """Load what calls are held with, and let it go again.

    Raises:
        VoicecallError: something does not load; says what.
    """
    if await host.runs():
        return skipped("the running server has loaded them")
    outfitter = Outfitter(config, clock)
    try:
        await outfitter.prepare()
    finally:
        await outfitter.close()
    if not config.streaming.enabled:
        return ok(f"loaded: the carrier speaks and listens; replies by {config.response_model}")
    if config.realtime.enabled:
        return ok(f"loaded: {config.realtime.provider} converses ({config.realtime.model})")
    return ok(
        f"loaded: {config.stt.provider} listens, {config.tts.provider} speaks; replies by "
        f"{config.response_model}"
    )
