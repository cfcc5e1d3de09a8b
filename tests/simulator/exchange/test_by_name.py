from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from voicecall.clock import SystemClock
from voicecall.simulator.exchange.by_name import exchange_by_name

if TYPE_CHECKING:
    from voicecall.simulator.exchange.by_name import ExchangeName

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ["twilio", "telnyx", "plivo"])
def test_there_is_one_for_each_carrier(name: ExchangeName) -> None:
    exchange = exchange_by_name(name, lambda _: pytest.fail("nobody calls"), SystemClock())
    assert type(exchange).__name__.lower() == f"{name}exchange"
