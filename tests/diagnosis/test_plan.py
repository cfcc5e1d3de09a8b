"""Which checks a configuration calls for, and what they find of a whole scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.diagnosis.scene import HOST, Proxy, Route, loaded, network, run, server_context
from tests.hosting import free_port
from voicecall.cli.setup import _NAME_COLUMNS
from voicecall.clock import SystemClock
from voicecall.diagnosis.check import Status
from voicecall.diagnosis.examination import examine
from voicecall.diagnosis.plan import Subject
from voicecall.server import Server
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.by_name import exchange_by_name
from voicecall.simulator.exchange.twilio import TwilioExchange

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from voicecall.config.load import LoadedConfig
    from voicecall.diagnosis.check import Result
    from voicecall.simulator.exchange.by_name import ExchangeName

pytestmark = pytest.mark.socket

US = "+15550001111"
PLIVO = {"authId": f"MA{'1' * 18}", "authToken": "1" * 40}
# Nobody answers there, but it is on this machine: for such a carrier addresses here will do.
REHEARSED = {
    "provider": "plivo",
    "plivo": {**PLIVO, "apiBaseUrl": "http://127.0.0.1:9"},
    "fromNumber": US,
}


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


async def found(loaded: LoadedConfig, ca: trustme.CA | None = None) -> dict[str, Result]:
    async with Subject(loaded, network(ca)) as subject:
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


# The third takes seconds to load, and is asked in tests of its own.
@pytest.mark.parametrize("carrier", ["twilio", "plivo"])
def test_a_server_that_is_started_meanwhile_is_reached_through_a_proxy_with_a_certificate(
    carrier: ExchangeName, tmp_path: Path, ca: trustme.CA
) -> None:
    async def case() -> None:
        control, media = free_port(), free_port()
        routes = [Route("/voice/stream", media), Route("/", control)]
        async with (
            Proxy(routes, server_context(ca.issue_cert(HOST))) as proxy,
            exchange_by_name(carrier, lambda _: SimpleParty(), SystemClock()) as exchange,
        ):
            exchange.own(US, f"{proxy.url}/voice/webhook")
            whole = configured(
                tmp_path,
                provider=carrier,
                fromNumber=US,
                publicUrl=proxy.url,
                inboundPolicy="open",
                serve={"port": control},
                streaming={"port": media, "enabled": True},
                **{carrier: exchange.account},
            )
            results = await found(whole, ca)
        assert red(results) == {}
        assert {name for name, each in results.items() if each.status is Status.WARN} == {
            "dns",
            "inbound calls",
            "public url",
            "store",
        }
        assert results["tls"].finding.found.startswith("valid for ")
        assert results["media socket"].finding.found.startswith(f"wss://{HOST}:{proxy.port}/")
        # Nobody was called, and nobody answered in the server's place.
        assert exchange.dials == 0
        assert sum(line.startswith("GET /voice/webhook?challenge=") for line in proxy.seen) == 1

    run(case())


def test_a_public_url_that_leads_to_another_server_is_red_and_its_webhook_not_tried(
    tmp_path: Path,
) -> None:
    async def case() -> None:
        control, elsewhere = free_port(), free_port()
        (tmp_path / "other").mkdir()
        other = configured(tmp_path / "other", serve={"port": elsewhere})
        async with Server(other.config), Proxy([Route("/", elsewhere)]) as proxy:
            whole = configured(tmp_path, **REHEARSED, publicUrl=proxy.url, serve={"port": control})
            async with Server(whole.config):
                results = await found(whole)
        identity = results["reaches this server"]
        assert "leads to another voicecall server" in identity.finding.found
        assert f"lead to http://127.0.0.1:{control}" in str(identity.finding.remedy)
        assert results["webhook"].status is Status.SKIPPED

    run(case())


def test_media_may_come_by_a_way_of_their_own(tmp_path: Path) -> None:
    async def case() -> None:
        control, media = free_port(), free_port()
        deaf = Route("/", media, keeps_upgrades=False)
        async with Proxy([Route("/", control)]) as proxy, Proxy([deaf]) as stream:
            whole = configured(
                tmp_path,
                **REHEARSED,
                publicUrl=proxy.url,
                serve={"port": control},
                streaming={"port": media, "enabled": True, "publicUrl": stream.url},
            )
            results = await found(whole)
        assert results["reaches this server"].status is Status.OK
        assert "takes the upgrade to a WebSocket out" in results["media socket"].finding.found
        assert {"stream url", "stream dns", "stream tls"} <= results.keys()

    run(case())


def test_a_carrier_that_does_not_answer_is_not_blamed_on_the_credentials(tmp_path: Path) -> None:
    async def case() -> None:
        api_url = f"http://127.0.0.1:{free_port()}"
        account = {**PLIVO, "apiBaseUrl": api_url}
        port = free_port()
        whole = configured(
            tmp_path,
            provider="plivo",
            plivo=account,
            fromNumber=US,
            serve={"port": port},
            publicUrl=f"http://127.0.0.1:{port}",
        )
        results = await found(whole)
        told = red(results)
        assert told["carrier credentials"].endswith(f"curl -i {api_url}")
        assert "does not answer" in told["clock"]
        # What comes after the carrier was asked does not need its answer.
        assert results["server"].status is Status.OK

    run(case())


def test_each_account_has_a_check_and_every_name_its_place_in_the_list(tmp_path: Path) -> None:
    async def case() -> None:
        whole = configured(
            tmp_path,
            provider="plivo",
            plivo=PLIVO,
            fromNumber=US,
            publicUrl="https://calls.example.com",
            streaming={"enabled": True, "publicUrl": "https://media.example.com"},
            openai={"apiKey": "sk-1"},
            responseModel="openai/gpt-6-luna",
            stt={"provider": "deepgram", "deepgram": {"apiKey": "dg"}},
            tts={
                "provider": "elevenlabs",
                "fallback": ["openai"],
                "elevenlabs": {"apiKey": "el", "voiceId": "voice-1"},
                "openai": {"apiKey": "sk-2"},
            },
        )
        async with Subject(whole, network()) as subject:
            names = [check.name for check in subject.checks()]
        assert {"openai", "openai 2", "deepgram", "elevenlabs"} <= set(names)
        assert len(set(names)) == len(names)
        assert max(len(name) for name in names) <= _NAME_COLUMNS

    run(case())


def test_the_url_of_a_tunnel_is_known_once_the_server_has_opened_it(tmp_path: Path) -> None:
    async def case() -> None:
        whole = configured(
            tmp_path,
            provider="plivo",
            plivo=PLIVO,
            fromNumber=US,
            tunnel={"provider": "ngrok", "ngrokAuthToken": "none"},
        )
        async with Subject(whole, network()) as subject:
            needs = {check.name: check.needs for check in subject.checks()}
        assert needs["public url"] == ("server",)
        assert needs["dns"] == ("server", "public url")
        assert needs["tls"] == ("server", "public url", "dns")

    run(case())
