"""What a Twilio account says of its credentials and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from tests.diagnosis.vendors.accounts import US, WEBHOOK, asked, configured
from voicecall.diagnosis.vendors.carrier import Question
from voicecall.errors import CarrierError
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.twilio import TwilioExchange

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket


def test_credentials_that_are_accepted_are_told(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            TwilioExchange(lambda _: SimpleParty()) as exchange,
            asked(configured(tmp_path, "twilio", exchange.account)) as asking,
        ):
            finding = await asking.credentials()
            assert finding.status == "ok"
            assert "accepted" in finding.found

    run(case())


def test_a_wrong_token_is_refused(tmp_path: Path) -> None:
    async def case() -> None:
        async with TwilioExchange(lambda _: SimpleParty()) as exchange:
            account = {**exchange.account, "authToken": "0" * 32}
            async with asked(configured(tmp_path, "twilio", account)) as asking:
                with pytest.raises(CarrierError):
                    await asking.credentials()

    run(case())


def test_a_number_of_the_account_is_known_with_where_its_calls_go(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            TwilioExchange(lambda _: SimpleParty()) as exchange,
            asked(configured(tmp_path, "twilio", exchange.account)) as asking,
        ):
            assert (await asking.number(Question(US))).status == "fail"
            exchange.numbers[US] = WEBHOOK
            assert (await asking.number(Question(US, WEBHOOK))).status == "ok"
            exchange.numbers[US] = "https://old.example.com/"
            finding = await asking.number(Question(US, WEBHOOK))
            assert finding.status == "warn"
            assert "old.example.com" in finding.found

    run(case())
