"""What a Plivo account says of its credentials and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from tests.diagnosis.vendors.accounts import US, WEBHOOK, answering, asked, configured
from tests.hosting import free_port
from voicecall.diagnosis.vendors.carrier import Question
from voicecall.errors import CarrierError
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.plivo import PlivoExchange

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

ID = f"MA{'1' * 18}"
ACCOUNT = {"authId": ID, "authToken": "1" * 40}


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


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ({"auth_id": ID, "cash_credits": "0.00000"}, "warn", "has no credit"),
        ({"auth_id": ID, "cash_credits": "unlimited"}, "ok", "accepted"),
        ({"auth_id": "somebody else"}, "fail", "not Plivo's API"),
        ({}, "fail", "not Plivo's API"),
    ],
)
def test_what_the_account_says_is_looked_at(
    tmp_path: Path, answer: dict[str, str], status: str, told: str
) -> None:
    async def case() -> None:
        async with (
            answering(**{ID: (200, answer)}) as url,
            asked(configured(tmp_path, "plivo", {**ACCOUNT, "apiBaseUrl": url})) as asking,
        ):
            finding = await asking.credentials()
        assert finding.status == status
        assert told in finding.found

    run(case())


def test_a_refusal_to_look_numbers_up_says_nothing_of_the_number(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            answering(other=(403, {"error": "not allowed"})) as url,
            asked(configured(tmp_path, "plivo", {**ACCOUNT, "apiBaseUrl": url})) as asking,
        ):
            with pytest.raises(CarrierError, match=r"refused to look fromNumber up \(HTTP 403\)"):
                await asking.number(Question(US))

    run(case())


def test_nobody_there_is_told_apart_from_a_refusal(tmp_path: Path) -> None:
    async def case() -> None:
        account = {**ACCOUNT, "apiBaseUrl": f"http://127.0.0.1:{free_port()}"}
        async with asked(configured(tmp_path, "plivo", account)) as asking:
            with pytest.raises(CarrierError, match="does not answer") as raised:
                await asking.credentials()
        assert (raised.value.retryable, raised.value.status) == (True, None)
        assert ID not in str(raised.value)

    run(case())
