"""What a Twilio account says of its credentials and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from tests.diagnosis.vendors.accounts import US, WEBHOOK, answering, asked, configured
from tests.hosting import free_port
from voicecall.diagnosis.vendors.carrier import Question
from voicecall.errors import CarrierError
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.twilio import TwilioExchange

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

SID = f"AC{'1' * 32}"
ACCOUNT = {"accountSid": SID, "authToken": "1" * 32}


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
                with pytest.raises(CarrierError) as raised:
                    await asking.credentials()
        # Twilio's own number for it.
        assert raised.value.status == 20003
        assert not raised.value.retryable
        assert "0" * 32 not in str(raised.value)

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


@pytest.mark.parametrize(
    ("account", "status", "told"),
    [
        ({"status": "suspended", "type": "Full"}, "fail", "the account is suspended"),
        ({"status": "active", "type": "Trial"}, "warn", "a trial account calls verified numbers"),
    ],
)
def test_an_account_that_cannot_call_everybody_is_told(
    tmp_path: Path, account: dict[str, str], status: str, told: str
) -> None:
    async def case() -> None:
        shown = {"sid": SID, **account}
        async with (
            answering(**{SID: (200, shown)}) as url,
            asked(configured(tmp_path, "twilio", {**ACCOUNT, "apiBaseUrl": url})) as asking,
        ):
            finding = await asking.credentials()
        assert (finding.status, finding.remedy is None) == (status, False)
        assert told in finding.found

    run(case())


def test_a_number_that_is_only_verified_may_be_shown(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            answering(
                IncomingPhoneNumbers=(200, {"incoming_phone_numbers": []}),
                OutgoingCallerIds=(200, {"outgoing_caller_ids": [{"phone_number": US}]}),
            ) as url,
            asked(configured(tmp_path, "twilio", {**ACCOUNT, "apiBaseUrl": url})) as asking,
        ):
            finding = await asking.number(Question(US, WEBHOOK))
        assert finding.status == "ok"
        assert "is verified for it" in finding.found

    run(case())


def test_nobody_there_is_told_apart_from_a_refusal(tmp_path: Path) -> None:
    async def case() -> None:
        account = {**ACCOUNT, "apiBaseUrl": f"http://127.0.0.1:{free_port()}"}
        async with asked(configured(tmp_path, "twilio", account)) as asking:
            with pytest.raises(CarrierError, match="no connection") as raised:
                await asking.credentials()
        assert (raised.value.retryable, raised.value.status) == (True, None)

    run(case())
