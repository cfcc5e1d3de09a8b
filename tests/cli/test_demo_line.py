"""What the demonstration's call goes through; tests/e2e/test_demo.py holds such calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from voicecall.cli.demo_line import DemoLine, Watcher, demo_line, free_port
from voicecall.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.cli.demo_line import CarrierName

pytestmark = pytest.mark.socket

WATCHER = Watcher(on_phone=lambda _: None, on_step=lambda _: None)


def on(carrier: CarrierName, look: Callable[[DemoLine], None]) -> None:
    async def case() -> None:
        settings: dict[str, Any] = {
            "serve": {"port": 0},
            "streaming": {"enabled": True, "port": free_port()},
        }
        async with demo_line(carrier, settings, WATCHER, SystemClock()) as line:
            look(line)

    asyncio.run(case())


def test_the_mock_carrier_reaches_a_phone_of_the_servers_own() -> None:
    def look(line: DemoLine) -> None:
        assert line.config.provider == "mock"
        assert line.callee is not None
        assert line.talker is None

    on("mock", look)


@pytest.mark.parametrize("carrier", ["twilio", "telnyx", "plivo"])
def test_a_simulated_carrier_is_where_the_configuration_leads(carrier: CarrierName) -> None:
    def look(line: DemoLine) -> None:
        config = line.config
        assert config.provider == carrier
        assert line.callee is None
        assert line.talker is not None
        account = {"twilio": config.twilio, "telnyx": config.telnyx, "plivo": config.plivo}[carrier]
        assert (account.api_base_url or "").startswith("http://127.0.0.1:")
        assert config.public_url == f"http://127.0.0.1:{config.serve.port}"
        assert config.streaming.public_url == f"http://127.0.0.1:{config.streaming.port}"

    on(carrier, look)
