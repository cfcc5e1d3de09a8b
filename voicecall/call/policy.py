"""Decisions about numbers: who may call, whom may be called, whose conversation continues."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from voicecall.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

InboundPolicy = Literal["disabled", "allowlist", "pairing", "open"]
SessionScope = Literal["per-phone", "per-call"]

# ITU-T E.164 allows fifteen digits and no country code begins with zero; shorter than seven
# digits is a service number, which cannot be reached from another country.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SIP = re.compile(r"sips?:[^\s@<>\"]+@[^\s@<>\"]+", re.IGNORECASE)
_DTMF = re.compile(r"[0-9*#wW]+")
_NOT_DIGIT = re.compile(r"[^0-9]")

# What some networks and carriers put in place of a number that is withheld: a word, spelled on the
# keys of a telephone. None of them is long enough to be a number of the country it begins like.
_WITHHELD = frozenset(
    {
        "266696687",  # ANONYMOUS
        "2562533",  # BLOCKED
        "7378742833",  # RESTRICTED
        "86282452253",  # UNAVAILABLE
        "8656696",  # UNKNOWN
    }
)


def admits(policy: InboundPolicy, allowed: Iterable[str], caller: str) -> bool:
    """Whether an inbound call from `caller` is taken.

    Numbers are compared by their digits and as a whole, so that punctuation does not matter and a
    suffix or prefix of an allowed number is another number.

    Args:
        policy: `pairing` acts as `allowlist`.
        allowed: numbers that `allowlist` takes.
        caller: as the carrier names it; empty or without digits when it is withheld.
    """
    if policy in {"disabled", "open"}:
        return policy == "open"
    digits = digits_of(caller)
    return bool(digits) and any(digits == digits_of(number) for number in allowed)


def digits_of(number: str) -> str:
    """The ASCII digits of a phone number.

    A SIP address or a name with digits in it is not a number: anything but digits and the
    punctuation that numbers are written with gives an empty string. So does what stands in for a
    number that is withheld.
    """
    if number.strip(" +-.()0123456789"):
        return ""
    digits = _NOT_DIGIT.sub("", number)
    return "" if digits in _WITHHELD else digits


def check_destination(number: str, *, sip: bool) -> str:
    """Return `number` if it can be dialled.

    Args:
        number: E.164, or a `sip:` address.
        sip: whether the carrier takes `sip:` addresses.

    Raises:
        InvalidRequest: it cannot.

    Source: ITU-T E.164 (11/2010), section 6.
    """
    if _E164.fullmatch(number) or (sip and _SIP.fullmatch(number)):
        return number
    kinds = "E.164 (+15550001234) or a sip: address" if sip else "E.164 (+15550001234)"
    raise InvalidRequest(f"to must be {kinds}")


def check_digits(digits: str) -> str:
    """Return `digits` if they can be sent as key tones: 0-9, `*`, `#`, and `w`/`W` for pauses.

    Raises:
        InvalidRequest: they cannot.
    """
    if not _DTMF.fullmatch(digits):
        raise InvalidRequest("digits must be one or more of 0-9 * # w W")
    return digits


def session_key(scope: SessionScope, *, call_id: str, remote: str) -> str:
    """Whose conversation memory a call continues.

    Args:
        scope: `per-phone` shares it among all calls with one number.
        call_id: our id of the call.
        remote: the other party; a withheld number shares nothing.
    """
    digits = digits_of(remote)
    if scope == "per-call" or not digits:
        return f"voice:call:{call_id}"
    return f"voice:{digits}"
