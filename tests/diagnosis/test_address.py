from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from voicecall.diagnosis.address import Place, is_here, look_at_form, look_at_name

if TYPE_CHECKING:
    from voicecall.diagnosis.check import Finding

pytestmark = pytest.mark.unit


def form(url: str, *, rehearsal: bool = False, streams: bool = True) -> Finding:
    return look_at_form(Place("publicUrl", url, rehearsal), streams=streams)


@pytest.mark.parametrize(
    "url",
    ["https://calls.example.com", "https://calls.example.com/voice/webhook", "https://9.9.9.9"],
)
def test_urls_that_carriers_reach(url: str) -> None:
    assert form(url).status == "ok"


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1", "a loopback address"),
        ("[::1]", "a loopback address"),
        ("[::ffff:127.0.0.1]", "a loopback address"),
        ("10.1.2.3", "a private address"),
        ("172.16.0.1", "a private address"),
        ("192.168.1.7", "a private address"),
        ("[fd00::1]", "a private address"),
        ("169.254.1.1", "a link-local address"),
        ("[fe80::1]", "a link-local address"),
        ("100.64.0.1", "a reserved address"),
        ("192.0.2.1", "a private address"),
        ("240.0.0.1", "a private address"),
        ("224.0.0.1", "a multicast address"),
        ("0.0.0.0", "an address that stands for any"),  # noqa: S104  (nothing is bound)
        ("localhost", "a name for private use"),
        ("phone.localhost", "a name for private use"),
        ("nas.local", "a name for private use"),
        ("pbx.corp.", "a name for private use"),
        ("vm.internal", "a name for private use"),
        ("intranet-host", "no full name"),
    ],
)
def test_addresses_that_no_carrier_reaches_are_red(host: str, why: str) -> None:
    finding = form(f"https://{host}:8443")
    assert finding.status == "fail"
    assert f"is {why}: no carrier reaches it" in finding.found
    assert "set publicUrl to" in (finding.remedy or "")


def test_a_simulated_carrier_on_this_machine_reaches_it_all_the_same() -> None:
    finding = form("http://127.0.0.1:3334", rehearsal=True)
    assert finding.status == "warn"
    assert "only the simulated carrier" in finding.found


def test_clear_text_is_refused_where_media_come_and_doubted_elsewhere() -> None:
    assert form("http://calls.example.com").status == "fail"
    spoken = form("http://calls.example.com", streams=False)
    assert spoken.status == "warn"
    assert '"https://calls.example.com"' in (spoken.remedy or "")


def test_a_public_url_has_no_query() -> None:
    assert form("https://calls.example.com/?a=b").status == "fail"


@pytest.mark.parametrize(
    ("addresses", "status", "told"),
    [
        (["9.9.9.9"], "ok", "is 9.9.9.9"),
        (["10.0.0.9"], "fail", "a private address: no carrier reaches it"),
        (["9.9.9.9", "10.0.0.9"], "warn", "some are a private address"),
        (["2606:4700::1"], "warn", "over IPv4"),
    ],
)
def test_a_name_is_judged_by_its_addresses(addresses: list[str], status: str, told: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("calls.example.com", 443)
        return addresses

    async def case() -> None:
        finding = await look_at_name(Place("publicUrl", "https://calls.example.com"), resolve)
        assert finding.status == status
        assert told in finding.found

    run(case())


def test_a_name_within_the_tailnet_is_mended_by_funnel() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["100.101.102.103"]

    async def case() -> None:
        finding = await look_at_name(Place("publicUrl", "https://box.tail1.ts.net"), resolve)
        assert finding.status == "fail"
        assert "tailscale-funnel" in (finding.remedy or "")

    run(case())


def test_what_is_on_this_machine_is_told_by_its_url() -> None:
    assert is_here("http://127.0.0.1:80")
    assert is_here("http://localhost/v2")
    assert is_here("http://[::1]:1")
    assert not is_here("https://api.twilio.com")
    assert not is_here(None)
