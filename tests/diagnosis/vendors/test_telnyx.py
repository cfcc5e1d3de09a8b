"""What a Telnyx account says of its credentials and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from tests.diagnosis.vendors.accounts import US, WEBHOOK, asked, configured
from voicecall.diagnosis.vendors.carrier import Question
from voicecall.errors import CarrierError
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.telnyx import TelnyxExchange

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket


def test_credentials_that_are_accepted_are_told(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            TelnyxExchange(lambda _: SimpleParty()) as exchange,
            asked(configured(tmp_path, "telnyx", exchange.account)) as asking,
        ):
            finding = await asking.credentials()
            assert finding.status == "ok"
            assert "accepted" in finding.found

    run(case())


def test_a_wrong_key_is_refused_and_a_wrong_application_told(tmp_path: Path) -> None:
    async def case() -> None:
        async with TelnyxExchange(lambda _: SimpleParty()) as exchange:
            wrong_key = {**exchange.account, "apiKey": "KEY0"}
            async with asked(configured(tmp_path, "telnyx", wrong_key)) as asking:
                with pytest.raises(CarrierError):
                    await asking.credentials()
            elsewhere = {**exchange.account, "connectionId": "7"}
            async with asked(configured(tmp_path, "telnyx", elsewhere)) as asking:
                finding = await asking.credentials()
                assert finding.status == "fail"
                assert "telnyx.connectionId" in str(finding.remedy)

    run(case())


@pytest.mark.parametrize(
    ("application", "told"),
    [({"active": False}, "switched off"), ({"outbound": {}}, "outbound voice profile")],
)
def test_an_application_that_cannot_call_is_told(
    tmp_path: Path, application: dict[str, object], told: str
) -> None:
    async def case() -> None:
        async with (
            TelnyxExchange(lambda _: SimpleParty()) as exchange,
            asked(configured(tmp_path, "telnyx", exchange.account)) as asking,
        ):
            exchange.application.update(application)
            finding = await asking.credentials()
            assert finding.status == "fail"
            assert told in finding.found

    run(case())


def test_a_number_of_the_account_is_known_with_its_application(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            TelnyxExchange(lambda _: SimpleParty()) as exchange,
            asked(configured(tmp_path, "telnyx", exchange.account)) as asking,
        ):
            await asking.credentials()
            assert (await asking.number(Question(US))).status == "warn"
            exchange.numbers[US] = exchange.connection_id
            assert (await asking.number(Question(US))).status == "ok"
            assert (await asking.number(Question(US, WEBHOOK))).status == "warn"
            exchange.numbers[US] = "another application"
            finding = await asking.number(Question(US, WEBHOOK))
            assert "another application" in finding.found

    run(case())
