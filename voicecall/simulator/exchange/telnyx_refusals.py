"""How the simulated Telnyx refuses: its codes, and its words for them.

Source: the 422 examples of Telnyx's published API description; its pages on errors and on rate
limiting.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson

from voicecall.simulator.exchange.http import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MISSING: Final = "10004"
NO_SUCH_RESOURCE: Final = "10005"
UNEXPECTED: Final = "10007"
UNAUTHENTICATED: Final = "10009"
TOO_MANY: Final = "10011"
INVALID: Final = "10015"
NOT_E164: Final = "10016"
NOT_ENUMERATED: Final = "10032"
OUT_OF_RANGE: Final = "10033"
INVALID_CALL: Final = "90015"
ALREADY_ENDED: Final = "90018"
NOT_POSSIBLE: Final = "90033"
NOT_ANSWERED: Final = "90034"
ALREADY_STREAMING: Final = "90045"
ALREADY_TRANSCRIBING: Final = "90054"


class Refused(Exception):
    """A request is answered with an error, and nothing is done.

    Args:
        code: Telnyx's own.
        title: what is wrong, in general.
        detail: what is wrong, here.
        status: of HTTP.
        pointer: the offending field, as a JSON pointer.
        headers: sent along.
    """

    def __init__(
        self,
        code: str,
        title: str,
        detail: str,
        *,
        status: int = HTTPStatus.UNPROCESSABLE_ENTITY,
        pointer: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code} {title}")
        self.code = code
        self.status = int(status)
        self._error: dict[str, Any] = {"code": code, "title": title, "detail": detail}
        if pointer is not None:
            self._error["source"] = {"pointer": pointer}
        self._headers = dict(headers or {})

    def answer(self) -> HttpResponse:
        """The error as it is sent."""
        body = orjson.dumps({"errors": [self._error]})
        return HttpResponse(status=self.status, body=body, headers=self._headers)


def unauthenticated() -> Refused:
    """The key is missing or wrong."""
    return Refused(
        UNAUTHENTICATED,
        "Authentication failed",
        "Could not understand the provided credentials.",
        status=HTTPStatus.UNAUTHORIZED,
    )


def no_such_resource() -> Refused:
    """There is nothing at this address."""
    return Refused(
        NO_SUCH_RESOURCE,
        "Resource not found",
        "The requested resource or URL could not be found.",
        status=HTTPStatus.NOT_FOUND,
    )


def too_many_requests(limit: int, reset_s: int) -> Refused:
    """More than `limit` requests; `reset_s` seconds until more are taken."""
    return Refused(
        TOO_MANY,
        "Too many requests",
        "You have exceeded the maximum number of allowed requests.",
        status=HTTPStatus.TOO_MANY_REQUESTS,
        headers={
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(reset_s),
        },
    )


def broken(status: int, code: int | str | None = None) -> Refused:
    """Telnyx itself is broken, or pretends to be; `status` of HTTP, `code` of its own."""
    return Refused(
        UNEXPECTED if code is None else str(code),
        "Unexpected error",
        "An unexpected error occurred.",
        status=status,
    )


def not_json() -> Refused:
    """The body is no JSON object."""
    return Refused(
        INVALID,
        "Bad Request",
        "The request failed because it was not well-formed.",
        status=HTTPStatus.BAD_REQUEST,
    )


def missing(name: str) -> Refused:
    """A field that has to be there is not, or is blank."""
    return Refused(
        MISSING,
        "Missing required parameter",
        f"The '{name}' parameter is required and cannot be blank.",
        pointer=f"/{name}",
    )


def invalid(name: str, why: str) -> Refused:
    """A field makes no sense."""
    return Refused(INVALID, f"Invalid value for {name}", why, pointer=f"/{name}")


def unknown_connection() -> Refused:
    """There is no such Call Control application."""
    return Refused(
        INVALID,
        "Invalid value for connection_id (Call Control App ID)",
        "The requested connection_id (Call Control App ID) is either invalid or does not exist. "
        "Only Call Control Apps with valid webhook URL are accepted.",
        pointer="/connection_id",
    )


def not_e164(name: str) -> Refused:
    """A number is not written as numbers are."""
    return Refused(
        NOT_E164,
        "Phone number must be in +E164 format",
        f"The '{name}' parameter must be in E164 format.",
        pointer=f"/{name}",
    )


def not_enumerated(name: str, values: Iterable[str]) -> Refused:
    """A field has none of its `values`."""
    return Refused(
        NOT_ENUMERATED,
        "Invalid enumerated value",
        f"The value must be one of: {', '.join(sorted(values))}.",
        pointer=f"/{name}",
    )


def out_of_range(name: str, low: int, high: int) -> Refused:
    """A number is too small or too large, or a text too long."""
    return Refused(
        OUT_OF_RANGE,
        "Value outside of range",
        f"The value is outside of allowed range {low} to {high}",
        pointer=f"/{name}",
    )


def invalid_call() -> Refused:
    """There never was such a call."""
    return Refused(
        INVALID_CALL,
        "Invalid Call Control ID",
        "The call_control_id provided was not valid.",
        pointer="/call_control_id",
    )


def already_ended() -> Refused:
    """The call is over."""
    return Refused(
        ALREADY_ENDED,
        "Call has already ended",
        "This call is no longer active and can't receive commands.",
    )


def not_answered() -> Refused:
    """The call has to be answered first."""
    return Refused(
        NOT_ANSWERED,
        "Call not answered yet",
        "This call can't receive this command because it has not been answered yet.",
    )


def not_possible(why: str) -> Refused:
    """The call is not in a state for it; no example of the documents is about this case."""
    return Refused(NOT_POSSIBLE, "Unable to execute command", why)


def already_streaming() -> Refused:
    """A call has one stream."""
    return Refused(
        ALREADY_STREAMING,
        "Media Streaming is used",
        "This command can't be issued when media streaming is used.",
    )


def already_transcribing() -> Refused:
    """A call has one transcription."""
    return Refused(
        ALREADY_TRANSCRIBING,
        "Call transcription is already in progress",
        "Call transcription can not be started more than once.",
    )
