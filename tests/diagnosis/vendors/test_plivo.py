"""What a Plivo account says of its credentials and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from tests.diagnosis.vendors.accounts import US, WEBHOOK, asked, configured
from voicecall.diagnosis.vendors.carrier import Question
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.plivo import PlivoExchange

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket


def test_credentials_that_are_accepted_are_told(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            PlivoExchange(lambda _: SimpleParty()) as exchange,
            asked(configured(tmp_path, "plivo", exchange.account)) as asking,
        ):
            finding = await asking.credentials()
            assert finding.status == "ok"
            assert "accepted" in finding.found

    run(case())


def test_a_wrong_token_is_refused(tmp_path: Path) -> None:
    async def case() -> None:
        async with PlivoExchange(lambda _: SimpleParty()) as exchange:
            account = {**exchange.account, "authToken": "0" * 32}
            async with asked(configured(tmp_path, "plivo", account)) as asking:
                finding = await asking.credentials()
                assert finding.status == "fail"
                assert "plivo.authToken" in str(finding.remedy)

    run(case())


def test_a_number_of_the_account_is_known_with_its_application(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            PlivoExchange(lambda _: SimpleParty()) as exchange,
            asked(configured(tmp_path, "plivo", exchange.account)) as asking,
        ):
            assert (await asking.number(Question(US))).status == "warn"
            exchange.numbers[US.removeprefix("+")] = ""
            finding = await asking.number(Question(US, WEBHOOK))
            assert finding.status == "warn"
            assert WEBHOOK in str(finding.remedy)
            exchange.numbers[US.removeprefix("+")] = "/v1/Account/MA/Application/1/"
            assert (await asking.number(Question(US, WEBHOOK))).status == "ok"

    run(case())
