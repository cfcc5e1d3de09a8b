"""Which checks a configuration calls for, and what they find of a whole scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.diagnosis.scene import loaded, network, run
from tests.hosting import free_port
from voicecall.diagnosis.check import Status
from voicecall.diagnosis.examination import examine
from voicecall.diagnosis.plan import Subject
from voicecall.server import Server
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.twilio import TwilioExchange

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.config.load import LoadedConfig
    from voicecall.diagnosis.check import Result

pytestmark = pytest.mark.socket

US = "+15550001111"


def configured(folder: Path, **more: Any) -> LoadedConfig:
    settings = {
        "serve": {"port": free_port()},
        "streaming": {"port": free_port(), "enabled": True},
        "stt": {"provider": "scripted"},
        "tts": {"provider": "scripted"},
        "responseModel": "scripted/builtin",
        "store": ":memory:",
        "rpc": {"token": "a token of sufficient length"},
    }
    return loaded(folder, **{**settings, **more})


async def found(loaded: LoadedConfig) -> dict[str, Result]:
    async with Subject(loaded, network()) as subject:
        return {result.name: result for result in await examine(subject.checks())}


def red(results: dict[str, Result]) -> dict[str, str]:
    return {
        name: f"{result.finding.found} → {result.finding.remedy}"
        for name, result in results.items()
        if result.status is Status.FAIL
    }


def test_a_mock_needs_neither_carrier_nor_public_url(tmp_path: Path) -> None:
    async def case() -> None:
        results = await found(configured(tmp_path))
        assert red(results) == {}
        assert "carrier credentials" not in results
        assert results["public url"].status == "skipped"

    run(case())


def test_a_server_that_its_simulated_carrier_reaches_is_green(tmp_path: Path) -> None:
    async def case() -> None:
        async with TwilioExchange(lambda _: SimpleParty()) as exchange:
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            exchange.numbers[US] = f"{url}/voice/webhook"
            whole = configured(
                tmp_path,
                provider="twilio",
                fromNumber=US,
                twilio=exchange.account,
                serve={"port": port},
                publicUrl=url,
                streaming={"port": 0, "enabled": True},
                inboundPolicy="open",
            )
            async with Server(whole.config):
                results = await found(whole)
            assert red(results) == {}
            green = {name for name, result in results.items() if result.status is Status.OK}
            assert {
                "carrier credentials",
                "from number",
                "clock",
                "reaches this server",
                "webhook",
                "media socket",
            } <= green

    run(case())


def test_wrong_credentials_and_a_url_that_leads_nowhere_are_red_and_what_follows_is_skipped(
    tmp_path: Path,
) -> None:
    async def case() -> None:
        async with TwilioExchange(lambda _: SimpleParty()) as exchange:
            whole = configured(
                tmp_path,
                provider="twilio",
                fromNumber=US,
                twilio={**exchange.account, "authToken": "0" * 32},
                publicUrl=f"http://127.0.0.1:{free_port()}",
            )
            results = await found(whole)
        told = red(results)
        assert "twilio.authToken" in told["carrier credentials"]
        assert "reaches this server" in told or "tls" in told or "dns" in told
        for name in ("from number", "webhook", "media socket"):
            assert results[name].status is Status.SKIPPED
        assert all(result.finding.remedy for name, result in results.items() if name in told)

    run(case())
