from __future__ import annotations

import pytest

from voicecall.call import policy
from voicecall.errors import InvalidRequest

pytestmark = pytest.mark.unit

ALLOWED = ("+1 (555) 000-1234", "+44 20 7946 0000")


def test_disabled_admits_nobody_and_open_everybody() -> None:
    assert not policy.admits("disabled", ALLOWED, "+15550001234")
    assert policy.admits("open", (), "+15550001234")
    assert policy.admits("open", (), "")


@pytest.mark.parametrize("which", ["allowlist", "pairing"])
@pytest.mark.parametrize("caller", ["+15550001234", "15550001234", "+1-555-000-1234"])
def test_the_allowlist_compares_digits(which: policy.InboundPolicy, caller: str) -> None:
    assert policy.admits(which, ALLOWED, caller)


@pytest.mark.parametrize(
    "caller",
    [
        "",
        "anonymous",
        "5550001234",
        "+115550001234",
        "+155500012345",
        "+",
        "0",
        "sip:15550001234@x",
        "+266696687",
        "+1555000123\N{FULLWIDTH DIGIT FOUR}",
    ],
)
def test_the_allowlist_refuses_other_withheld_and_disguised_numbers(caller: str) -> None:
    assert not policy.admits("allowlist", ALLOWED, caller)


def test_a_withheld_number_does_not_match_an_entry_without_digits() -> None:
    assert not policy.admits("allowlist", ("", "anonymous"), "anonymous")


@pytest.mark.parametrize(
    "word", ["ANONYMOUS", "BLOCKED", "RESTRICTED", "UNAVAILABLE", "UNKNOWN"], ids=str
)
def test_a_word_spelled_on_the_keys_of_a_telephone_is_no_number(word: str) -> None:
    keys = {
        letter: digit
        for digit, letters in enumerate(
            ("ABC", "DEF", "GHI", "JKL", "MNO", "PQRS", "TUV", "WXYZ"), 2
        )
        for letter in letters
    }
    spelled = "+" + "".join(str(keys[letter]) for letter in word)
    assert policy.digits_of(spelled) == ""
    assert not policy.admits("allowlist", (spelled,), spelled)
    assert policy.session_key("per-phone", call_id="c-1", remote=spelled) == "voice:call:c-1"


def test_digits_of_other_scripts_are_no_digits() -> None:
    assert policy.digits_of("+١٥٥٥٠٠٠١٢٣٤") == ""


@pytest.mark.parametrize("number", ["+15550001234", "+442079460000", "+1234567"])
def test_e164_can_be_dialled(number: str) -> None:
    assert policy.check_destination(number, sip=False) == number


@pytest.mark.parametrize(
    "number",
    ["15550001234", "+05550001234", "+1555", "+1234567890123456", "+1555000123a", "+15550001234\n"],
)
def test_what_is_not_e164_cannot_be_dialled(number: str) -> None:
    with pytest.raises(InvalidRequest, match=r"E\.164"):
        policy.check_destination(number, sip=True)


def test_sip_addresses_are_dialled_only_where_the_carrier_takes_them() -> None:
    assert policy.check_destination("sip:desk@example.com", sip=True) == "sip:desk@example.com"
    with pytest.raises(InvalidRequest):
        policy.check_destination("sip:desk@example.com", sip=False)
    with pytest.raises(InvalidRequest):
        policy.check_destination("sip:de sk@example.com", sip=True)


def test_keys_are_checked() -> None:
    assert policy.check_digits("1w2W*#") == "1w2W*#"
    for wrong in ("", "12a", "1 2", "A", "1\n"):
        with pytest.raises(InvalidRequest):
            policy.check_digits(wrong)


def test_memory_is_shared_per_phone_unless_the_number_is_withheld() -> None:
    shared = policy.session_key("per-phone", call_id="c1", remote="+1 555 000 1234")
    assert shared == policy.session_key("per-phone", call_id="c2", remote="+15550001234")
    assert shared != policy.session_key("per-call", call_id="c1", remote="+15550001234")
    withheld = {policy.session_key("per-phone", call_id=c, remote="anonymous") for c in "ab"}
    assert len(withheld) == 2
