"""Reading a carrier's XML: one `<Response>`, nothing declared, every attribute asked for."""

from __future__ import annotations

import pytest

from voicecall.errors import CodecError
from voicecall.simulator.exchange.xml import Attributes, Unreadable, content, response

pytestmark = pytest.mark.unit


class Complaint(CodecError):
    """What a carrier says of a value."""


def attributes(text: str) -> Attributes:
    (verb,) = response(f"<Response>{text}</Response>".encode())
    return Attributes(verb, Complaint)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "well-formed"),
        (b"<Response>", "well-formed"),
        (b"\xff<Response/>", "well-formed"),
        (b'<?xml version="1.0" encoding="no-such"?><Response/>', "well-formed"),
        (b"<Answer/>", "not a <Response>"),
        (b'<!DOCTYPE r [<!ENTITY e "x">]><Response>&e;</Response>', "document type"),
        (b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><Response/>', "document type"),
    ],
)
def test_what_is_no_response_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        response(text)


def test_the_content_is_all_text_below() -> None:
    assert content(response(b"<Response> a<b>b <c>c</c></b> d \n</Response>")) == "ab c d"


def test_attributes_that_nobody_asks_for_are_told() -> None:
    found = attributes('<Play loop="3" digits="1" speed="2" name="x"/>')
    assert found.text("digits") == "1"
    assert found.text("language", "en") == "en"
    assert found.number("loop", 1) == 3
    found.ignored("name", "absent")
    assert found.unasked() == ["<Play> has no attribute speed"]


def test_a_number_that_is_left_out_has_its_default() -> None:
    assert attributes("<Play/>").number("loop", 7) == 7


@pytest.mark.parametrize("value", ["", "-1", "1.5", "many", "86401", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_a_number_out_of_range_is_the_carriers_complaint(value: str) -> None:
    with pytest.raises(Complaint, match="loop of <Play> makes no sense"):
        attributes(f'<Play loop="{value}"/>').number("loop", 1)


def test_a_number_may_have_its_own_range() -> None:
    with pytest.raises(Complaint):
        attributes('<Play loop="4"/>').number("loop", 1, low=1, high=3)
