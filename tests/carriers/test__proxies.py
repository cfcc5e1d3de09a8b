from __future__ import annotations

import pytest

from voicecall.carriers._proxies import TrustedProxies, is_loopback

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.0.0.1", True),
        ("10.255.0.9", True),
        ("192.0.2.4", True),
        ("192.0.2.5", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:10.0.0.1", True),
        ("", False),
        ("proxy.example.com", False),
        ("10.0.0.1:80", False),
    ],
)
def test_addresses_and_networks_are_trusted(address: str, trusted: bool) -> None:
    proxies = TrustedProxies(["10.0.0.0/8", "192.0.2.4", "2001:db8::/32"])
    assert proxies.trusts(address) is trusted


def test_without_entries_nobody_is_trusted() -> None:
    assert not TrustedProxies()
    assert not TrustedProxies().trusts("127.0.0.1")


@pytest.mark.parametrize("entry", ["", "proxy", "10.0.0.0/33", "10.0.0.256"])
def test_an_entry_that_is_no_address_is_refused(entry: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the message is the standard library's)
        TrustedProxies([entry])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7,10.0.0.2 , 10.0.0.3", "203.0.113.7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, junk, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
    ],
)
def test_the_client_is_the_last_hop_that_a_trusted_proxy_vouches_for(
    peer: str, forwarded_for: str | None, client: str
) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).client(peer, forwarded_for) == client


def test_loopback_is_recognised_in_every_spelling() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("10.0.0.1", "localhost", "", "::", "0.0.0.1")))
