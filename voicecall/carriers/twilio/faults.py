"""What Twilio's refusals mean, and what to do about them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from voicecall.errors import CarrierError

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_FOUND: Final = frozenset({404, 20404})
NOT_IN_PROGRESS: Final = 21220
TOO_MANY: Final = frozenset({429, 20429})

MAY_RING: Final = "the call may ring all the same, and is hung up once Twilio reports it"
MAY_BE_DONE: Final = "it may have been done all the same, so it is not tried again"

_ADVICE: Mapping[int, str] = {
    401: "check twilio.accountSid and twilio.authToken",
    403: "the account may not do this; check it in Twilio's console",
    404: "Twilio does not know it; check twilio.accountSid, twilio.region and twilio.apiBaseUrl",
    429: "too many requests at once; try again later",
    10001: "the account is not active; check it in Twilio's console",
    10004: "too many calls at once for this account; lower maxConcurrentCalls or ask Twilio",
    20003: "check twilio.accountSid and twilio.authToken",
    20005: "the account is not active; check it in Twilio's console",
    20404: "Twilio does not know it; check twilio.accountSid, twilio.region and twilio.apiBaseUrl",
    20429: "too many requests at once; try again later",
    21203: "allow international calls in Twilio's console",
    21205: "Twilio does not take our webhook's URL; check publicUrl",
    21210: "fromNumber is neither a number of this account nor verified for it",
    21211: "the destination is no valid number",
    21212: "fromNumber is no valid number",
    21214: "the destination cannot be called",
    21215: "allow the destination's country in Twilio's geographic permissions",
    21216: "the account may not call this destination",
    21217: "the destination is no valid number",
    21219: "a trial account calls only verified numbers; verify it or upgrade the account",
    21220: "the call is not in progress",
}

# What a message may repeat of a request: numbers, ids, tokens.
_NUMBER = re.compile(r"\+?[0-9][0-9 ().-]{3,}[0-9]")
_LONG_WORD = re.compile(r"\S{25,}")
_MAX_CHARS = 200


class Refused(CarrierError):
    """Twilio answered, and did not do it.

    Attributes:
        http_status: of the answer.
        twilio_code: Twilio's own, where it gave one.
    """

    def __init__(
        self, what: str, *, http_status: int, twilio_code: int | None, said: str, retryable: bool
    ) -> None:
        known = twilio_code is not None and twilio_code != http_status
        codes = f"error {twilio_code}, HTTP {http_status}" if known else f"HTTP {http_status}"
        super().__init__(
            f"Twilio did not {what}: {_reason(http_status, twilio_code, said)} ({codes})",
            retryable=retryable,
            status=twilio_code if known else http_status,
        )
        self.http_status = http_status
        self.twilio_code = twilio_code

    @property
    def unknown(self) -> bool:
        """Whether Twilio does not know the call, or not any more."""
        return self.http_status in NOT_FOUND or self.twilio_code in NOT_FOUND

    @property
    def over(self) -> bool:
        """Whether the call is not going on, or not any more."""
        return self.twilio_code == NOT_IN_PROGRESS


def masked(text: str) -> str:
    """`text` fit for a log: one short line, without what could be a number, an id or a secret."""
    line = " ".join(text.split())
    return _LONG_WORD.sub("…", _NUMBER.sub("…", line))[:_MAX_CHARS]


def _reason(http_status: int, twilio_code: int | None, said: str) -> str:
    for code in (twilio_code, http_status):
        if code is not None and code in _ADVICE:
            return _ADVICE[code]
    return masked(said) or "it gave no reason"
