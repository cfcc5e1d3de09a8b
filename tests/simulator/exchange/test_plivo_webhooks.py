"""How the simulated Plivo signs, and how patient it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plivo.utils import validate_signature, validate_v3_signature

from voicecall.simulator.exchange.plivo_webhooks import Signer, patience, v3_base

pytestmark = pytest.mark.unit

TOKEN = "a-secret"
URL = "https://voice.example.org/voice/webhook"

names = st.text("abcXYZ_-", min_size=1, max_size=5)
values = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)


def accepted(
    method: str, url: str, fields: dict[str, str], headers: dict[str, str], name: str = "V3"
) -> bool:
    return bool(
        validate_v3_signature(
            method,
            url,
            headers["X-Plivo-Signature-V3-Nonce"],
            TOKEN,
            headers[f"X-Plivo-Signature-{name}"],
            dict(fields),
        )
    )


@given(st.dictionaries(names, values, max_size=4))
@pytest.mark.parametrize("query", ["", "?b=2&a=1", "?a=%2B1&a=0&empty="])
def test_the_official_sdk_accepts_every_signed_post(query: str, fields: dict[str, str]) -> None:
    headers = Signer(TOKEN)("POST", URL + query, fields)
    assert accepted("POST", URL + query, fields, headers)
    assert not accepted("POST", URL + query, fields | {"another": "1"}, headers)


def test_the_official_sdk_accepts_a_signed_get() -> None:
    url = f"{URL}?CallUUID=1&From=%2B1555"
    headers = Signer(TOKEN)("GET", url, {})
    assert accepted("GET", url, {}, headers)
    assert not accepted("GET", f"{url}0", {}, headers)


def test_the_official_sdk_accepts_the_older_signature() -> None:
    headers = Signer(TOKEN)("POST", f"{URL}?a=1", {"b": "2"})
    nonce, signature = headers["X-Plivo-Signature-V2-Nonce"], headers["X-Plivo-Signature-V2"]
    assert validate_signature(f"{URL}?a=1", nonce, signature, TOKEN)
    assert not validate_signature(URL, nonce, signature, "another")


def test_every_signature_has_a_nonce_of_its_own() -> None:
    sign = Signer(TOKEN)
    first, second = sign("POST", URL, {}), sign("POST", URL, {})
    assert first["X-Plivo-Signature-V3-Nonce"] != second["X-Plivo-Signature-V3-Nonce"]
    assert first["X-Plivo-Signature-V3-Nonce"] != first["X-Plivo-Signature-V2-Nonce"]


def test_a_subaccounts_webhook_is_signed_by_both_accounts() -> None:
    headers = Signer("a-subaccounts", main_auth_token=TOKEN)("POST", URL, {"a": "1"})
    assert accepted("POST", URL, {"a": "1"}, headers, "Ma-V3")
    assert not accepted("POST", URL, {"a": "1"}, headers)


def test_only_the_wanted_signatures_are_sent() -> None:
    assert {name[-2:] for name in Signer(TOKEN, versions=["v3"])("POST", URL, {})} == {"V3", "ce"}
    assert not any("V3" in name for name in Signer(TOKEN, versions=["v2"])("POST", URL, {}))


@pytest.mark.parametrize(
    ("method", "query", "fields", "base"),
    [
        ("GET", "?b=2&a=1", {}, f"{URL}?a=1&b=2"),
        ("POST", "", {}, URL),
        ("POST", "", {"b": "2", "a": "1"}, f"{URL}?a1b2"),
        ("POST", "?z=9", {"b": "2", "a": "1"}, f"{URL}?z=9.a1b2"),
    ],
)
def test_what_is_signed_is_as_documented(
    method: str, query: str, fields: dict[str, str], base: str
) -> None:
    assert v3_base(method, URL + query, fields) == base


def test_without_a_fragment_plivo_tries_once_more_after_silence() -> None:
    usual = patience(f"{URL}?rc=5")
    assert (usual.timeout_s, usual.attempts) == (42.0, 2)
    assert usual.retry_on(None)
    assert not usual.retry_on(500)


def test_a_fragment_says_how_patient_plivo_is() -> None:
    wanted = patience(f"{URL}#ct=500&rt=1000&rc=5&rp=5xx")
    assert (wanted.timeout_s, wanted.attempts) == (1.5, 6)
    assert wanted.retry_on(503)
    assert not wanted.retry_on(404)
    assert not wanted.retry_on(None)
    assert not wanted.retry_on(200)


def test_all_failures_may_be_tried_again() -> None:
    wanted = patience(f"{URL}#rp=all&tt=2000")
    assert [wanted.retry_on(status) for status in (None, 404, 500, 200)] == [
        True,
        True,
        True,
        False,
    ]
    assert wanted.timeout_s == 2.0


def test_what_makes_no_sense_in_a_fragment_is_as_usual() -> None:
    assert patience(f"{URL}#rc=6&ct=soon&rt=99").attempts == 2
    assert patience(f"{URL}#rc=6&ct=soon&rt=99").timeout_s == 42.0
