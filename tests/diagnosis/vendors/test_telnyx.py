"""What a Telnyx account says of its credentials and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from tests.diagnosis.vendors.accounts import US, WEBHOOK, answering, asked, configured
from tests.hosting import free_port
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
                with pytest.raises(CarrierError) as raised:
                    await asking.credentials()
                assert not raised.value.retryable
                assert "KEY0" not in str(raised.value)
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


def test_a_number_whose_calls_are_reported_to_us_is_green(tmp_path: Path) -> None:
    async def case() -> None:
        async with (
            TelnyxExchange(lambda _: SimpleParty()) as exchange,
            asked(configured(tmp_path, "telnyx", exchange.account)) as asking,
        ):
            exchange.own(US, WEBHOOK)
            await asking.credentials()
            assert (await asking.number(Question(US, WEBHOOK))).status == "ok"
            # What only begins or ends alike is another number.
            assert (await asking.number(Question(US[:-1]))).status == "warn"

    run(case())


@pytest.mark.parametrize("answer", [{"data": "hello"}, ["hello"]])
def test_something_else_in_its_place_is_told(tmp_path: Path, answer: object) -> None:
    async def case() -> None:
        async with TelnyxExchange(lambda _: SimpleParty()) as exchange:
            account = exchange.account
        async with (
            answering(other=(200, answer)) as url,
            asked(configured(tmp_path, "telnyx", {**account, "apiBaseUrl": url})) as asking,
        ):
            for question in (asking.credentials(), asking.number(Question(US))):
                with pytest.raises(CarrierError, match="what answers is not Telnyx's API"):
                    await question

    run(case())


def test_nobody_there_is_told_apart_from_a_refusal(tmp_path: Path) -> None:
    async def case() -> None:
        async with TelnyxExchange(lambda _: SimpleParty()) as exchange:
            account = {**exchange.account, "apiBaseUrl": f"http://127.0.0.1:{free_port()}"}
        async with asked(configured(tmp_path, "telnyx", account)) as asking:
            with pytest.raises(CarrierError) as raised:
                await asking.credentials()
        assert (raised.value.retryable, raised.value.status) == (True, None)

    run(case())
