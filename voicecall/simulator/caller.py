"""Somebody who calls a server that uses the mock carrier."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from voicecall.errors import CarrierError
from voicecall.simulator.phone import Phone
from voicecall.simulator.script import run_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.clock import Clock
    from voicecall.simulator.engines import Engines
    from voicecall.simulator.script import Script

ANY_CALLER = "+15550001234"
ANY_CALLEE = "+15550000000"

_WEBHOOK_TIMEOUT_S = 10.0


async def call_in(
    webhook_url: str,
    script: Script,
    *,
    from_number: str = ANY_CALLER,
    to_number: str = ANY_CALLEE,
    engines: Engines | None = None,
    clock: Clock | None = None,
) -> Phone:
    """Call a server that uses the mock carrier, and do what `script` says.

    What real carriers tell of a call is told to its webhook, and a phone is connected where the
    answer says that media go. Returns when the script is done and the phone has hung up.

    Args:
        webhook_url: of the server.
        script: what the caller does.
        from_number: who calls, E.164.
        to_number: whom they call, E.164.
        engines: voice and ears, which stay the caller's to close; this machine's own, made here
            and closed at the end, when None.
        clock: the time.

    Returns:
        The phone, closed; it knows what was said and heard.

    Raises:
        CarrierError: the server cannot be reached, or does not take the call.
        TimeoutError, CallHasEnded, SpeechError: as from `run_script`.
        DependencyMissing: the local engines are not installed.
    """
    call_sid = f"mock-{uuid.uuid4()}"
    parties = {"direction": "inbound", "from": from_number, "to": to_number}
    # Reading all certificates takes longer than a frame, and the server may be in this loop.
    tls = await asyncio.to_thread(ssl.create_default_context)
    async with AsyncExitStack() as ending:
        http = await ending.enter_async_context(
            httpx.AsyncClient(trust_env=False, verify=tls, timeout=_WEBHOOK_TIMEOUT_S)
        )

        async def tell(kind: str, **more: str) -> Mapping[str, Any]:
            event = {"type": kind, "providerCallId": call_sid, **parties, **more}
            return await _told(http, webhook_url, event)

        await tell("call.ringing")
        stream_url = (await tell("call.answered")).get("streamUrl")
        if stream_url is None:
            raise CarrierError(
                "the server does not take the call: its inboundPolicy does not let this number "
                "in, or it has no line free"
            )
        ending.push_async_callback(tell, "call.ended", reason="hangup-user")
        phone = Phone(stream_url, call_sid=call_sid, engines=engines, clock=clock)
        ending.push_async_callback(phone.close)
        await phone.connect()
        await run_script(phone, script, clock=clock)
    return phone


async def _told(
    http: httpx.AsyncClient, webhook_url: str, event: Mapping[str, str]
) -> Mapping[str, Any]:
    """What the server answers to an event; empty where it has nothing to say."""
    try:
        answer = await http.post(webhook_url, json={"event": event})
    except httpx.HTTPError as error:
        raise CarrierError(f"the webhook cannot be reached: {error}", retryable=True) from error
    if not answer.is_success:
        raise CarrierError(
            f"the webhook answers {answer.status_code}: is its URL the one that is served?",
            status=answer.status_code,
        )
    told: Mapping[str, Any] = orjson.loads(answer.content) if answer.content else {}
    return told
