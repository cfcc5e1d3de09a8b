from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.carriers.twilio.faults import Refused, masked

pytestmark = pytest.mark.unit


def refused(status: int, code: int | None, said: str = "") -> Refused:
    return Refused(
        "place the call", http_status=status, twilio_code=code, said=said, retryable=False
    )


def test_a_known_error_says_what_to_do() -> None:
    error = refused(400, 21210, "The source phone number provided, +15550000001, is not yours")
    assert str(error) == (
        "Twilio did not place the call: fromNumber is neither a number of this account nor "
        "verified for it (error 21210, HTTP 400)"
    )
    assert (error.status, error.code) == (21210, "carrier_refused")


def test_an_error_without_a_code_of_its_own_goes_by_its_status() -> None:
    assert "authToken" in str(refused(401, 401))
    assert str(refused(503, None)).endswith("it gave no reason (HTTP 503)")


def test_an_unknown_error_repeats_what_twilio_said_without_numbers_and_secrets() -> None:
    token = "0123456789abcdef0123456789abcdef"
    said = f"Cannot\n\tcall +1 (555) 000-0002 from 15550000001 as {token}"
    message = str(refused(400, 99999, said))
    assert "Cannot call … from … as …" in message
    assert "555" not in message
    assert token not in message


@given(st.text(max_size=400))
def test_what_is_masked_is_short_and_has_no_run_of_digits(text: str) -> None:
    line = masked(f"{text} +15550000001 {text}")
    assert len(line) <= 200
    assert "\n" not in line
    assert "555000" not in line


def test_a_call_that_is_over_or_unknown_is_told_apart_from_other_refusals() -> None:
    assert refused(404, 20404).unknown
    assert refused(404, 404).unknown
    assert refused(400, 21220).over
    other = refused(400, 21211)
    assert not other.unknown
    assert not other.over
