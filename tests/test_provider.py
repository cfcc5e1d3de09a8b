"""The configured carrier, joined together from its parts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from voicecall.clock import ManualClock
from voicecall.config.schema import Config
from voicecall.errors import ConfigError, VerificationError
from voicecall.ports import CarrierStatus
from voicecall.provider import Needs, Provider, provider
from voicecall.simulator.callee import Callee
from voicecall.simulator.exchange.http import HttpResponse, HttpServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from voicecall.call.events import CallEvent
    from voicecall.simulator.exchange.http import HttpRequest

pytestmark = pytest.mark.unit

PUBLIC_KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
ACCOUNTS: dict[str, dict[str, Any]] = {
    "mock": {},
    "twilio": {"accountSid": "AC" + "1" * 32, "authToken": "not told"},
    "telnyx": {"apiKey": "KEY0", "connectionId": "1", "publicKey": PUBLIC_KEY},
    "plivo": {"authId": "MA" + "1" * 18, "authToken": "not told"},
}
SIGNED_BY = {
    "mock": [],
    "twilio": ["x-twilio-signature"],
    "telnyx": ["telnyx-signature-ed25519", "telnyx-timestamp"],
    "plivo": ["x-plivo-signature-v3", "x-plivo-signature-v3-nonce"],
}


def with_provider(
    name: str, case: Callable[[Provider], Awaitable[None]], **account: object
) -> None:
    asyncio.run(provided(name, case, **account))


async def provided(
    name: str, case: Callable[[Provider], Awaitable[None]], **account: object
) -> None:
    settings = {
        "provider": name,
        "fromNumber": "+15550001111",
        "publicUrl": "https://calls.example.com",
        name: {**ACCOUNTS[name], **account},
    }
    clock = ManualClock()

    async def emit(_: CallEvent) -> None:
        raise AssertionError("nothing happened to any call")

    config = Config.model_validate(settings)
    made = provider(Needs(config, clock, None, emit), Callee("off", None, clock))
    try:
        await case(made)
    finally:
        await made.carrier.close()


@pytest.mark.parametrize("name", ACCOUNTS)
def test_each_carrier_comes_with_its_own_webhooks(name: str) -> None:
    async def case(made: Provider) -> None:
        assert made.carrier.name == name
        assert sorted(made.webhook.signature_headers) == SIGNED_BY[name]
        made.report_to("https://calls.example.com/voice/webhook")

    with_provider(name, case)


@pytest.mark.parametrize("name", ["twilio", "telnyx", "plivo"])
def test_real_carriers_speak_themselves_where_no_media_are_streamed(name: str) -> None:
    async def case(made: Provider) -> None:
        assert made.voice is not None

    with_provider(name, case)


def test_only_telnyx_has_to_be_told_to_connect_media_again() -> None:
    for name in ACCOUNTS:

        async def case(made: Provider, name: str = name) -> None:
            assert (made.connect_media is not None) == (name == "telnyx")

        with_provider(name, case)


def test_only_telnyx_has_to_be_told_to_pick_up_again() -> None:
    for name in ACCOUNTS:

        async def case(made: Provider, name: str = name) -> None:
            assert (made.pick_up is not None) == (name == "telnyx")

        with_provider(name, case)


def test_plivo_is_asked_about_a_call_of_an_earlier_process_by_its_own_name() -> None:
    asked: list[str] = []

    async def answer(request: HttpRequest) -> HttpResponse:
        asked.append(request.path)
        return HttpResponse(404, b"{}", "application/json")

    async def case(made: Provider) -> None:
        made.recall({"providerCallId": "request-1", "metadata": {"providerAlias": "call-1"}})
        made.recall({"providerCallId": "request-2", "metadata": {}})
        assert await made.carrier.status("request-1") == CarrierStatus(alive=False)
        assert any(path.endswith("/Call/call-1/") for path in asked)
        assert await made.carrier.status("request-2") == CarrierStatus(alive=False)
        assert any(path.endswith("/Call/request-2/") for path in asked)

    async def run() -> None:
        plivo = HttpServer(answer)
        await plivo.start()
        try:
            await provided("plivo", case, apiBaseUrl=plivo.url)
        finally:
            await plivo.close()

    asyncio.run(run())


def test_only_twilio_signs_upgrades_and_a_wrong_signature_is_refused() -> None:
    async def case(made: Provider) -> None:
        assert made.verify_upgrade is not None
        with pytest.raises(VerificationError):
            made.verify_upgrade("wss://calls.example.com/voice/stream/1", "forged")

    with_provider("twilio", case)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("twilio", "accountSid"),
        ("twilio", "authToken"),
        ("telnyx", "apiKey"),
        ("telnyx", "connectionId"),
        ("telnyx", "publicKey"),
        ("plivo", "authId"),
        ("plivo", "authToken"),
    ],
)
def test_a_missing_credential_is_named(name: str, key: str) -> None:
    async def case(_: Provider) -> None:
        raise AssertionError("it was made without a credential")

    with pytest.raises(ConfigError, match=rf"^{name}\.{key}: is required"):
        with_provider(name, case, **{key: None})


@pytest.mark.parametrize("name", ACCOUNTS)
def test_every_carrier_hands_calls_on(name: str) -> None:
    async def case(made: Provider) -> None:
        transfer: object = made.transfer
        assert transfer is made.carrier

    with_provider(name, case)
