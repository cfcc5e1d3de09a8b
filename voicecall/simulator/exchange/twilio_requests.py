"""What the simulated Twilio is asked for over REST, and how it refuses.

Source: Twilio, "Call resource", its published API description, and its dictionary of errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import orjson

from voicecall.simulator.exchange.http import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voicecall.simulator.exchange.twiml import Method

INVALID: Final = 20001
UNAUTHENTICATED: Final = 20003
NOT_FOUND: Final = 20404
TOO_MANY: Final = 20429
UNEXPECTED: Final = 20500
NO_TO: Final = 21201
INVALID_URL: Final = 21205
INVALID_DIGITS: Final = 21206
INVALID_TIMEOUT: Final = 21208
INVALID_METHOD: Final = 21209
NOT_OURS: Final = 21210
INVALID_TO: Final = 21211
INVALID_FROM: Final = 21212
NO_FROM: Final = 21213
NOT_IN_PROGRESS: Final = 21220
INVALID_STATUS_URL: Final = 21609
INVALID_EVENTS: Final = 21626

MAX_TWIML_CHARS: Final = 4000
MAX_URL_CHARS: Final = 4000
STATUS_EVENTS: Final = frozenset({"initiated", "ringing", "answered", "completed"})
DEFAULT_RING_S: Final = 60
DEFAULT_LIMIT_S: Final = 14_400

_MAX_RING_S = 600
_MAX_DIGITS = 32
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_OTHER_ADDRESS = re.compile(r"(?:sip|client):\S{1,200}")
_DIGITS = re.compile(rf"[0-9*#wW]{{1,{_MAX_DIGITS}}}")

Fields: TypeAlias = "Mapping[str, Sequence[str]]"
Detection: TypeAlias = Literal["Enable", "DetectMessageEnd"]


class Refused(Exception):
    """A request is answered with an error, and nothing is done.

    Attributes:
        code: Twilio's own.
        status: of HTTP.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = int(status)
        self._headers = dict(headers or {})

    def answer(self) -> HttpResponse:
        """The error as it is sent."""
        body = {
            "code": self.code,
            "message": str(self),
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }
        return HttpResponse(self.status, orjson.dumps(body), headers=self._headers)


def unauthenticated() -> Refused:
    """The credentials are missing or wrong."""
    return Refused(
        UNAUTHENTICATED,
        "Authenticate",
        status=HTTPStatus.UNAUTHORIZED,
        headers={"WWW-Authenticate": 'Basic realm="Twilio API"'},
    )


def not_found(path: str) -> Refused:
    """There is nothing at `path`."""
    return Refused(
        NOT_FOUND, f"The requested resource {path} was not found", status=HTTPStatus.NOT_FOUND
    )


def too_many(retry_after_s: int) -> Refused:
    """Too many requests at once; none of it was done."""
    return Refused(
        TOO_MANY,
        "Too Many Requests",
        status=HTTPStatus.TOO_MANY_REQUESTS,
        headers={"Retry-After": str(retry_after_s)},
    )


def out_of_order(status: int, code: int | None = None) -> Refused:
    """Twilio itself is broken, or says so; `status` of HTTP, and a code other than the usual."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return too_many(1)
    usual: dict[int, int] = {401: UNAUTHENTICATED, 404: NOT_FOUND}
    return Refused(
        code or usual.get(status, UNEXPECTED), "The request could not be done", status=status
    )


def not_in_progress() -> Refused:
    """The call is over, or has not been answered yet."""
    return Refused(NOT_IN_PROGRESS, "Call is not in-progress. Cannot redirect.")


@dataclass(frozen=True, slots=True)
class Next:
    """Where a call's instructions come from: a document, or whoever knows one.

    Attributes:
        twiml: the document; empty to ask.
        url: whom to ask.
        method: how.
        fields: what to say beside what is always said.
    """

    twiml: str = ""
    url: str = ""
    method: Method = "POST"
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machines:
    """How to find out whether a machine answers.

    Attributes:
        kind: at once, or when its greeting ends.
        asynchronous: whether the call goes on meanwhile.
        url: told the verdict, if so.
        method: how.
    """

    kind: Detection
    asynchronous: bool = False
    url: str = ""
    method: Method = "POST"


@dataclass(frozen=True, slots=True)
class Reports:
    """Who is told of a call's progress.

    Attributes:
        url: whom to tell; empty for nobody.
        method: how.
        events: of what.
    """

    url: str = ""
    method: Method = "POST"
    events: frozenset[str] = frozenset({"completed"})


@dataclass(frozen=True, slots=True)
class Placing:
    """A call to be placed.

    Attributes:
        to: the callee.
        from_number: the caller.
        begin: what to do once answered.
        reports: who is told of its progress.
        ring_s: how long it rings at most.
        limit_s: how long it lasts at most.
        digits: keys to send when answered.
        machines: whether to listen for machines; None for no.
        remarks: what is wrong with the request, but not refused.
    """

    to: str
    from_number: str
    begin: Next
    reports: Reports
    ring_s: int
    limit_s: int
    digits: str = ""
    machines: Machines | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What shall become of a call: another status, or other instructions."""

    status: Literal["completed", "canceled"] | None = None
    begin: Next | None = None


def read_placing(fields: Fields) -> Placing:
    """Read what a call is to be placed with.

    Raises:
        Refused: it cannot be, with Twilio's code for it.
    """
    form = _Form(fields)
    to = form.address("To", (NO_TO, "No 'To' number is specified"), INVALID_TO)
    from_number = form.address("From", (NO_FROM, "Caller phone number required"), INVALID_FROM)
    begin = form.begin()
    if begin is None:
        raise Refused(INVALID_URL, "Url parameter is required.")
    digits = form.text("SendDigits")
    if digits and not _DIGITS.fullmatch(digits):
        raise Refused(INVALID_DIGITS, "SendDigits is invalid.")
    reports, remarks = form.reports()
    return Placing(
        to=to,
        from_number=from_number,
        begin=begin,
        reports=reports,
        ring_s=form.seconds("Timeout", DEFAULT_RING_S, _MAX_RING_S),
        limit_s=form.seconds("TimeLimit", DEFAULT_LIMIT_S, 24 * 3600),
        digits=digits,
        # Keys on answer would sound into the detection.
        machines=None if digits else form.machines(),
        remarks=remarks,
    )


def read_change(fields: Fields) -> Change:
    """Read what shall become of a call.

    Raises:
        Refused: it makes no sense, with Twilio's code for it.
    """
    form = _Form(fields)
    status = form.text("Status")
    if status not in {"", "completed", "canceled"}:
        raise Refused(INVALID, f"Invalid value for Status: {status}")
    begin = form.begin()
    if not status and begin is None:
        raise Refused(INVALID_URL, "Url parameter is required.")
    return Change(cast("Literal['completed', 'canceled'] | None", status or None), begin)


class _Form:
    """A form's fields, each read as Twilio reads it."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        return self._fields.get(name, [""])[0]

    def address(self, name: str, missing: tuple[int, str], invalid: int) -> str:
        text = self.text(name)
        if not text:
            raise Refused(*missing)
        if not (_NUMBER.fullmatch(text) or _OTHER_ADDRESS.fullmatch(text)):
            raise Refused(invalid, f"The phone number you specified, {text}, is not valid.")
        return text

    def url(self, name: str, code: int = INVALID_URL) -> str:
        text = self.text(name)
        if text and not _is_http(text):
            raise Refused(code, f"{name} is not a valid URL: {text}")
        return text

    def method(self, name: str) -> Method:
        text = self.text(name) or "POST"
        if text not in {"GET", "POST"}:
            raise Refused(INVALID_METHOD, f"{name} must be GET or POST")
        return "GET" if text == "GET" else "POST"

    def seconds(self, name: str, default: int, high: int) -> int:
        text = self.text(name) or str(default)
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= high):
            raise Refused(INVALID_TIMEOUT, f"{name} is invalid.")
        return int(text)

    def begin(self) -> Next | None:
        """The instructions; a URL wins over a document."""
        if url := self.url("Url"):
            return Next(url=url, method=self.method("Method"))
        twiml = self.text("Twiml")
        if len(twiml) > MAX_TWIML_CHARS:
            raise Refused(INVALID, f"Twiml is longer than {MAX_TWIML_CHARS} characters")
        return Next(twiml=twiml) if twiml else None

    def reports(self) -> tuple[Reports, tuple[str, ...]]:
        """Who is told of what; of nothing if the events are not written as Twilio knows them."""
        url = self.url("StatusCallback", INVALID_STATUS_URL)
        method = self.method("StatusCallbackMethod")
        events = frozenset(self._fields.get("StatusCallbackEvent", ["completed"]))
        if events <= STATUS_EVENTS:
            return Reports(url, method, events), ()
        remark = f"{INVALID_EVENTS} StatusCallbackEvent has unknown values: nothing is reported"
        return Reports(url, method, frozenset()), (remark,)

    def machines(self) -> Machines | None:
        kind = self.text("MachineDetection")
        if kind not in {"", "Enable", "DetectMessageEnd"}:
            raise Refused(INVALID, f"Invalid value for MachineDetection: {kind}")
        if not kind:
            return None
        return Machines(
            kind=cast("Detection", kind),
            asynchronous=self.text("AsyncAmd") == "true",
            url=self.url("AsyncAmdStatusCallback"),
            method=self.method("AsyncAmdStatusCallbackMethod"),
        )


def _is_http(text: str) -> bool:
    if len(text) > MAX_URL_CHARS:
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
