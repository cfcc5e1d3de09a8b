from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.carriers._proxies import TrustedProxies
from voicecall.carriers._public_url import (
    ForwardingPolicy,
    RequestTarget,
    signed_url,
    valid_authority,
)
from voicecall.errors import VerificationError

pytestmark = pytest.mark.unit

PUBLIC = ForwardingPolicy(public_url="https://calls.example.com:8443/hook")
TRUSTING = ForwardingPolicy(trust_headers=True)


def target(
    path: str = "/voice/webhook", query: str = "", peer: str = "203.0.113.9", **headers: str
) -> RequestTarget:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestTarget(path, query, {"host": "inner.example.com"} | named, peer)


def test_the_public_url_wins_over_everything_and_takes_the_requests_query() -> None:
    asked = target("/voice/webhook/", "a=1%20+&b", x_forwarded_host="evil.example.com")
    assert signed_url(PUBLIC, asked) == "https://calls.example.com:8443/hook?a=1%20+&b"


@pytest.mark.parametrize("public_url", ["https://calls.example.com", "https://calls.example.com/"])
def test_a_public_url_without_a_path_stands_for_the_path_that_is_served(public_url: str) -> None:
    url = signed_url(ForwardingPolicy(public_url=public_url), target("/voice/webhook"))
    assert url == "https://calls.example.com/voice/webhook"


def test_without_forwarding_the_host_header_counts_as_https() -> None:
    asked = target(query="x=1", host="calls.example.com:444", x_forwarded_host="evil.example.com")
    url = signed_url(ForwardingPolicy(), asked)
    assert url == "https://calls.example.com:444/voice/webhook?x=1"


def test_forwarding_headers_count_in_their_order() -> None:
    headers = {
        "x_forwarded_host": "a.example.com",
        "x_original_host": "b.example.com",
        "ngrok_forwarded_host": "c.example.com",
    }
    for host in ("a", "b", "c", "inner"):
        url = signed_url(TRUSTING, target(**headers))
        assert url == f"https://{host}.example.com/voice/webhook"
        headers = dict(list(headers.items())[1:])


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("http", "http"),
        ("HTTPS", "https"),
        ("http, https", "http"),
        ("ftp", "https"),
        ("", "https"),
    ],
)
def test_the_forwarded_scheme_counts_where_the_host_does(proto: str, scheme: str) -> None:
    forwarded = target(x_forwarded_host="a.example.com", x_forwarded_proto=proto)
    assert signed_url(TRUSTING, forwarded) == f"{scheme}://a.example.com/voice/webhook"
    assert signed_url(TRUSTING, target(x_forwarded_proto=proto)).startswith("https://inner.")


def test_the_first_host_of_a_chain_met_the_carrier() -> None:
    asked = target(x_forwarded_host="a.example.com, b.example.com")
    assert signed_url(TRUSTING, asked) == "https://a.example.com/voice/webhook"


@pytest.mark.parametrize(
    ("host", "counts"),
    [
        ("calls.example.com", True),
        ("CALLS.example.com", True),
        ("calls.example.com:8443", True),
        ("other.example.com:99", True),
        ("other.example.com", False),
        ("calls.example.com.evil.net", False),
        ("[2001:db8::1]", True),
        ("evil.net", False),
    ],
)
def test_only_allowed_hosts_may_be_forwarded(host: str, counts: bool) -> None:
    allowed = frozenset({"Calls.example.com", "other.example.com:99", "[2001:db8::1]"})
    url = signed_url(ForwardingPolicy(allowed_hosts=allowed), target(x_forwarded_host=host))
    assert (host in url) is counts
    assert ("inner.example.com" in url) is not counts


def test_a_host_that_is_not_allowed_leaves_the_next_header_its_chance() -> None:
    policy = ForwardingPolicy(allowed_hosts=frozenset({"b.example.com"}))
    asked = target(x_forwarded_host="evil.net", x_original_host="b.example.com")
    assert signed_url(policy, asked).startswith("https://b.example.com/")


@pytest.mark.parametrize(("peer", "counts"), [("10.0.0.1", True), ("203.0.113.9", False)])
def test_with_trusted_proxies_only_their_headers_count(peer: str, counts: bool) -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    for policy in (
        ForwardingPolicy(trust_headers=True, proxies=proxies),
        ForwardingPolicy(allowed_hosts=frozenset({"a.example.com"}), proxies=proxies),
    ):
        url = signed_url(policy, target(peer=peer, x_forwarded_host="a.example.com"))
        assert ("a.example.com" in url) is counts


def test_trusted_proxies_alone_do_not_make_forwarding_headers_count() -> None:
    policy = ForwardingPolicy(proxies=TrustedProxies(["10.0.0.0/8"]))
    url = signed_url(policy, target(peer="10.0.0.1", x_forwarded_host="a.example.com"))
    assert url.startswith("https://inner.example.com/")


def test_a_peer_may_be_trusted_for_one_request() -> None:
    asked = target(x_forwarded_host="a.example.com")
    url = signed_url(ForwardingPolicy(), asked, trust_peer=True)
    assert url.startswith("https://a.example.com/")


BAD_HOSTS = [
    "",
    " ",
    "user@example.com",
    "user:pw@example.com",
    "exa mple.com",
    "example.com/path",
    "example.com?x",
    "example.com#x",
    "example.com\\x",
    "-example.com",
    ".example.com",
    "example.com:",
    "example.com:x",
    "example.com:65536",
    "example.com:123456",
    "exämple.com",
    "::1",
    "[::1",
    "[::g]",
    "[1:2:3]",
    "[::1]x",
    "[example.com]",
    "[fe80::1%25eth0]",
]


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_a_bad_host_is_ignored_and_without_another_nothing_is_proven(host: str) -> None:
    assert valid_authority(host) is None
    url = signed_url(TRUSTING, target(x_forwarded_host=host))
    assert url.startswith("https://inner.example.com/")
    with pytest.raises(VerificationError, match="host"):
        signed_url(TRUSTING, target(host=host))


@pytest.mark.parametrize(
    "host",
    ["example.com", "a", "10.0.0.1", "a_b.example.com:1", "[::1]", "[2001:db8::1]:443", "x:65535"],
)
def test_a_good_host_stays_as_it_is(host: str) -> None:
    assert valid_authority(host) == host


def test_a_line_break_is_part_of_no_host() -> None:
    assert valid_authority("example.com\n") is None


@given(st.text(max_size=40))
def test_a_host_that_passes_can_hold_nothing_but_a_host(value: str) -> None:
    if valid_authority(value) is not None:
        assert not set(value) & set("@/?#\\ \t\r\n%")
