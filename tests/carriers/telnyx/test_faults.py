from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.carriers.json_values import values
from voicecall.carriers.telnyx.faults import (
    MAX_PAUSE_S,
    MAY_RING,
    Refusal,
    Refused,
    pause_s,
    unreachable,
)

pytestmark = pytest.mark.unit

SECRET = "KEY-secret"


def refusal(status: int, code: str, detail: str = "") -> Refusal:
    body = {"errors": [{"code": code, "title": "No.", "detail": detail}]}
    return Refusal.read(status, orjson.dumps(body), SECRET)


def test_a_refusal_keeps_telnyxs_code_and_words() -> None:
    assert refusal(422, "10015", "Bad id.") == Refusal(422, "10015", "No: Bad id")


def test_a_call_that_is_over_is_told_from_one_that_is_unknown() -> None:
    assert refusal(422, "90018").over
    assert not refusal(422, "90018").unknown
    assert refusal(404, "10005").unknown
    assert refusal(422, "90015").unknown
    assert not refusal(422, "10011").over


def test_neither_numbers_nor_the_key_are_repeated() -> None:
    said = refusal(422, "10016", f"{SECRET} +1 (312) 555-0001 is no number; nor is 13125550002")
    assert "312" not in said.remark
    assert "secret" not in said.remark
    assert "…" in said.remark


@given(status=st.integers(300, 599), body=st.one_of(st.binary(), values.map(orjson.dumps)))
def test_whatever_the_body_is_there_is_a_short_sentence(status: int, body: bytes) -> None:
    for doubt in ("", MAY_RING):
        error = Refused(Refusal.read(status, body, SECRET), "hang up", doubt=doubt)
        assert str(status) in str(error)
        assert len(str(error)) < 500
        assert error.code == "carrier_refused"


@given(
    st.one_of(
        st.fixed_dictionaries({"errors": values}),
        st.fixed_dictionaries(
            {"errors": st.lists(st.fixed_dictionaries({"code": values, "title": values}))}
        ),
    )
)
def test_whatever_the_errors_are_they_are_read(body: object) -> None:
    said = Refusal.read(400, orjson.dumps(body), SECRET)
    assert len(said.remark) <= 200
    assert len(said.code) <= 8


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (401, "10009", "TELNYX_API_KEY"),
        (422, "10015", "TELNYX_CONNECTION_ID"),
        (422, "90045", "while it streams"),
        (403, "", "outbound voice profile"),
        (429, "10011", "more slowly"),
        # The same code with another status is another error.
        (422, "10011", "check the numbers"),
        (307, "", "not followed"),
        (418, "", "debugging"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, code: str, advice: str) -> None:
    error = Refused(refusal(status, code), "place the call", doubt=MAY_RING)
    assert "place the call" in str(error)
    assert advice in str(error)
    assert error.retryable is (status == 429)


def test_a_server_error_may_be_repeated_unless_it_was_a_dial() -> None:
    assert Refused(refusal(503, ""), "hang up", doubt="").retryable
    dial = Refused(refusal(503, ""), "place the call", doubt=MAY_RING)
    assert not dial.retryable
    assert "may have been placed" in str(dial)


def test_a_dial_may_be_repeated_only_if_it_was_never_sent() -> None:
    assert not unreachable("place the call", "no answer", sent=True, doubt=MAY_RING).retryable
    assert unreachable("place the call", "no route", sent=False, doubt=MAY_RING).retryable
    assert unreachable("hang up", "no answer", sent=True, doubt="").retryable
    assert unreachable("hang up", "no answer", sent=True, doubt="").code == ("carrier_unreachable")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7", "x-ratelimit-reset": "3"}, 7),
        ({"x-ratelimit-reset": " 3 "}, 3),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1),
        ({"retry-after": "9" * 400}, MAX_PAUSE_S),
        ({"retry-after": "-5"}, 1),
        ({"retry-after": "²"}, 1),
        ({}, 1),
    ],
)
def test_a_pause_is_as_long_as_asked_for_within_a_minute(
    headers: dict[str, str], seconds: float
) -> None:
    assert pause_s(headers) == seconds
