"""How long a carrier that does not answer is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosting import run
from voicecall.clock import SystemClock
from voicecall.config.schema import Config
from voicecall.errors import CarrierError
from voicecall.provider import Needs, Patience, provider
from voicecall.server import Server
from voicecall.simulator import Callee

if TYPE_CHECKING:
    from voicecall.call.events import CallEvent

pytestmark = pytest.mark.socket

_PUBLIC_KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
_ACCOUNTS: dict[str, dict[str, Any]] = {
    "twilio": {"accountSid": "AC" + "1" * 32, "authToken": "not told"},
    "telnyx": {"apiKey": "KEY0", "connectionId": "1", "publicKey": _PUBLIC_KEY},
    "plivo": {"authId": "MA" + "1" * 18, "authToken": "not told"},
}


async def _ignore(_: CallEvent) -> None:
    raise AssertionError("nothing happened to any call")


@pytest.mark.parametrize("carrier", _ACCOUNTS)
def test_a_carrier_is_given_as_long_as_was_said(carrier: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def case() -> None:
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            account = {**_ACCOUNTS[carrier], "apiBaseUrl": f"http://127.0.0.1:{port}"}
            config = Config.model_validate(
                {
                    "provider": carrier,
                    "fromNumber": "+15550001111",
                    "publicUrl": "https://calls.example.com",
                    carrier: account,
                }
            )
            clock = SystemClock()
            patience = Patience(dial_s=0.2, late_dial_s=0.2, request_s=0.2)
            made = provider(
                Needs(config, clock, None, _ignore, patience), Callee("off", None, clock)
            )
            try:
                # Half of what it would be given otherwise.
                async with asyncio.timeout(4.5):
                    with pytest.raises(CarrierError) as failed:
                        await made.carrier.hang_up("CA1")
                assert failed.value.code == "carrier_unreachable"
            finally:
                await made.carrier.close()

    run(case())


def test_whoever_calls_is_told_in_time_that_the_carrier_does_not_answer() -> None:
    server = Server(Config(), patience=Patience(dial_s=2, request_s=3))
    assert server._settings.dial_timeout_ms == 2000
    # The carrier's own error comes first, as it says more.
    assert server._settings.carrier_timeout_ms == 4000
