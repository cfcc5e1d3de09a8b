"""A call's media socket: connected, broken on purpose, and replaced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from voicecall.errors import CarrierError
from voicecall.simulator.exchange.faults import SOCKET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.faults import Fault, Faults
    from voicecall.simulator.exchange.line import Line
    from voicecall.simulator.phone import Phone
    from voicecall.simulator.stream import Closing
    from voicecall.simulator.wire import Wire

_BROKEN_S = 0.2


async def connect_media(
    line: Line,
    url: str,
    wire: Wire,
    *,
    faults: Faults,
    headers: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> Closing:
    """Connect the call's media and let the party talk, until the stream is over.

    To cancel it ends the stream in order, as the end of the call does. It does not end the call;
    to hang up is for the party, who does, and for the carrier, who may when this returns.

    Args:
        line: the call; a further stream of the same call uses the same phone.
        url: the customer's media server.
        wire: what the carrier speaks on this stream.
        faults: what goes wrong; looked up as `socket` at the start and after each one.
        headers: further ones for the handshake, such as a signature.
        clock: the phone's time.

    Returns:
        How the stream ended, for good.

    Raises:
        CarrierError: the server cannot be reached or refused the handshake.
    """
    phone = line.phone
    if phone is None:
        phone = line.party.pick_up(
            lambda kind, engines: kind(
                url, wire=wire, engines=engines, clock=clock, headers=headers
            )
        )
        await phone.connect()
    else:
        await phone.reconnect(url, wire=wire, headers=headers or {})
    try:
        line.socket_opened(phone)
        return await _stay_connected(line, phone, faults)
    finally:
        await phone.hang_up()


async def _stay_connected(line: Line, phone: Phone, faults: Faults) -> Closing:
    while True:
        fault = faults.take(SOCKET)
        over = await _is_over(line, phone, None if fault is None else fault.delay_s)
        if over or fault is None or not await _survive(line, phone, fault):
            return await phone.hang_up()


async def _is_over(line: Line, phone: Phone, within_s: float | None) -> bool:
    """Whether stream or call ended before `within_s` had passed."""
    try:
        async with asyncio.timeout(within_s):
            await line.until_ended(_closed(phone))
    except TimeoutError:
        return False
    return True


async def _closed(phone: Phone) -> None:
    await phone.closed


async def _survive(line: Line, phone: Phone, fault: Fault) -> bool:
    """Let `fault` happen; whether there is a stream afterwards."""
    try:
        if fault.kind == "second":
            await phone.replace()
        else:
            await phone.drop()
            if fault.kind == "drop-for-good":
                return False
            await asyncio.sleep(_BROKEN_S)
            await phone.reconnect()
    except CarrierError as error:
        line.log.append(f"the media socket was not replaced: {error}")
        return False
    line.socket_opened(phone)
    return True
