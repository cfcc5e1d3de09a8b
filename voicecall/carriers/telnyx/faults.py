"""What Telnyx's REST API says when it refuses, in the words of `voicecall.errors`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson

from voicecall.errors import CarrierError

if TYPE_CHECKING:
    from collections.abc import Mapping

ALREADY_ENDED: Final = "90018"
UNKNOWN_CALL: Final = "90015"
ALREADY_TRANSCRIBING: Final = "90054"

MAY_RING: Final = "the call may have been placed all the same, so it is not tried again"
MAY_BE_DONE: Final = "it may have been done all the same, so it is not tried again"

MAX_PAUSE_S: Final = 60.0
_DEFAULT_PAUSE_S = 1.0

_MAX_REMARK_CHARS = 200
# Numbers and ids are personal or long; a refusal is understood without them.
_LONG_NUMBER = re.compile(r"\+?[0-9][0-9 ().-]{4,}[0-9]")

_ADVICE_BY_CODE: Mapping[str, str] = {
    "10015": "check telnyx.connectionId (TELNYX_CONNECTION_ID)",
    "10016": "numbers have to be E.164, such as +15550001234",
    "90034": "wait until the call is answered",
    "90045": "Telnyx cannot do this while it streams the call's media",
}
_ADVICE: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "check telnyx.apiKey (TELNYX_API_KEY)",
    HTTPStatus.PAYMENT_REQUIRED: "check the account's balance",
    HTTPStatus.FORBIDDEN: "check the account's limits and its outbound voice profile",
    HTTPStatus.NOT_FOUND: "check telnyx.apiBaseUrl, and whether the call still exists",
    HTTPStatus.UNPROCESSABLE_ENTITY: "check the numbers and the Call Control application",
    HTTPStatus.TOO_MANY_REQUESTS: "place calls more slowly, or have the account's limit raised",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of 300 or above.

    Attributes:
        status: of HTTP.
        code: Telnyx's own, digits; empty when it gave none.
        remark: its words, short and without numbers; empty when it gave none.
    """

    status: int
    code: str = ""
    remark: str = ""

    @classmethod
    def read(cls, status: int, body: bytes, secret: str) -> Refusal:
        """The refusal in an answer; a body that makes no sense only leaves its words out.

        Args:
            status: of HTTP.
            body: as received.
            secret: what must not be repeated, should the body do so.
        """
        error = _first_error(body)
        code = error.get("code")
        words = [error.get(name) for name in ("title", "detail")]
        remark = ": ".join(word.strip(" .") for word in words if isinstance(word, str) and word)
        remark = _LONG_NUMBER.sub("…", remark.replace(secret, "…"))
        return cls(
            status,
            code[:8] if isinstance(code, str) and code.isascii() and code.isdecimal() else "",
            " ".join(remark.split())[:_MAX_REMARK_CHARS],
        )

    @property
    def over(self) -> bool:
        """Whether the call that was meant has ended already."""
        return self.code == ALREADY_ENDED

    @property
    def unknown(self) -> bool:
        """Whether Telnyx knows no such call, which it forgets some minutes after their end."""
        return self.code == UNKNOWN_CALL or self.status == HTTPStatus.NOT_FOUND


class Refused(CarrierError):
    """Telnyx answered with a status of 300 or above.

    Args:
        refusal: what it said.
        what: what it was asked to do, as in "place the call".
        doubt: what to say when it may have been done all the same, of what must not be repeated
            then; empty where repeating does no harm.

    Attributes:
        refusal: what it said.
    """

    def __init__(self, refusal: Refusal, what: str, *, doubt: str = "") -> None:
        advice, retryable = _advice(refusal, doubt)
        code = f", code {refusal.code}" if refusal.code else ""
        remark = f": {refusal.remark}" if refusal.remark else ""
        super().__init__(
            f"Telnyx refused to {what} (HTTP {refusal.status}{code}{remark}); {advice}",
            retryable=retryable,
            status=refusal.code or refusal.status,
        )
        self.refusal = refusal


def unreachable(what: str, why: str, *, sent: bool, doubt: str = "") -> CarrierError:
    """The error of a request without an answer.

    Args:
        what: what Telnyx was asked to do.
        why: what happened instead of an answer.
        sent: whether the request may have reached Telnyx.
        doubt: what to say when it may have been done, as of `Refused`.
    """
    doubtful = sent and bool(doubt)
    advice = doubt if doubtful else "check the network and telnyx.apiBaseUrl, then try again"
    return CarrierError(f"could not have Telnyx {what}: {why}; {advice}", retryable=not doubtful)


def pause_s(headers: Mapping[str, str]) -> float:
    """How long an answer of 429 asks to wait, in seconds: `retry-after`, else the limit's reset.

    Between 0 and `MAX_PAUSE_S`; a second when it does not say.
    """
    for name in ("retry-after", "x-ratelimit-reset"):
        said = headers.get(name, "").strip()
        if said.isascii() and said.isdecimal():
            return min(float(said[:6]), MAX_PAUSE_S)
    return _DEFAULT_PAUSE_S


def _first_error(body: bytes) -> Mapping[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    errors = answer.get("errors") if isinstance(answer, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    return first if isinstance(first, dict) else {}


def _advice(refusal: Refusal, doubt: str) -> tuple[str, bool]:
    """What to do about a refusal, and whether the same request may succeed later."""
    status = refusal.status
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return (doubt, False) if doubt else ("try again later", True)
    if status < HTTPStatus.BAD_REQUEST:
        return "redirects are not followed; check telnyx.apiBaseUrl", False
    by_status = _ADVICE.get(status, "see the account's debugging events")
    advice = _ADVICE_BY_CODE.get(refusal.code, by_status)
    return advice, status == HTTPStatus.TOO_MANY_REQUESTS
