"""What the simulated Plivo is asked for over REST, and how it refuses.

Source: Plivo, "Call API"; the error's shape is that of all its APIs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import uuid4

import orjson

from voicecall.simulator.exchange.http import HttpResponse
from voicecall.simulator.exchange.plivo_xml import (
    DEFAULT_STREAM_TIMEOUT_S,
    Ask,
    Stream,
    is_extra_headers,
    is_http_url,
    is_stream_url,
    is_tones,
)
from voicecall.simulator.wire.plivo import CONTENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.simulator.exchange.plivo_xml import Method

MAX_DESTINATIONS: Final = 1000
DEFAULT_LIMIT_S: Final = 14_400
DEFAULT_RING_S: Final = 120
DEFAULT_DETECTION_MS: Final = 5000

_MAX_DETECTION_MS = 10_000
_MIN_DETECTION_MS = 2000
_MAX_TEXT_CHARS = 3000
_MAX_NUMBER = 2**31
_NUMBER = re.compile(r"\+?[1-9][0-9]{6,14}")
_SIP = re.compile(r"sip:\S{1,200}")

Machines: TypeAlias = Literal["true", "hangup"]


class Refused(Exception):
    """A request is answered with an error, and nothing is done.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = int(status)

    def answer(self) -> HttpResponse:
        """The error as it is sent."""
        return answer(self.status, error=str(self))


def not_found() -> Refused:
    """There is no such call, or nothing of that name."""
    return Refused("not found", HTTPStatus.NOT_FOUND)


def answer(status: int = HTTPStatus.OK, **fields: object) -> HttpResponse:
    """An answer as Plivo makes them: with an id of its own."""
    return HttpResponse(int(status), orjson.dumps({"api_id": str(uuid4()), **fields}))


@dataclass(frozen=True, slots=True)
class Callback:
    """Whom to tell, or ask.

    Attributes:
        url: empty for nobody.
        method: how.
    """

    url: str = ""
    method: Method = "POST"


@dataclass(frozen=True, slots=True)
class Placing:
    """How a call is placed.

    Attributes:
        from_number: the caller's.
        destinations: who is called, each in a call of its own.
        answer: asked what to do when the call is answered.
        fallback: asked if that fails.
        ring: told that it rings.
        hangup: told that it is over.
        ring_s: how long it may ring.
        limit_s: how long it may last.
        hangup_on_ring_s: when it ends after it began to ring, answered or not; None for never.
        digits: pressed when it is answered.
        machines: what to do about answering machines; None for not to listen for any.
        machine: told of them while the call goes on; without it the call waits for the finding.
        detection_ms: how long it takes to tell.
    """

    from_number: str
    destinations: tuple[str, ...]
    answer: Callback
    fallback: Callback = Callback()
    ring: Callback = Callback()
    hangup: Callback = Callback()
    ring_s: int = DEFAULT_RING_S
    limit_s: int = DEFAULT_LIMIT_S
    hangup_on_ring_s: int | None = None
    digits: str = ""
    machines: Machines | None = None
    machine: Callback = Callback()
    detection_ms: int = DEFAULT_DETECTION_MS


class Arguments:
    """The fields of a request, each checked as it is read.

    Args:
        fields: the JSON object, or a query.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def text(self, name: str, *, required: bool = False) -> str:
        """A text; empty when it is not there."""
        value = self._fields.get(name)
        if value is None or value == "":
            if required:
                raise Refused(f"{name} parameter not present")
            return ""
        if not isinstance(value, str):
            raise wrong(name)
        return value

    def number(self, name: str, default: int, *, low: int = 0, high: int = _MAX_NUMBER) -> int:
        """A whole number; also as a text."""
        value = self._fields.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool) or not str(value).isdecimal() or not low <= int(value) <= high:
            raise wrong(name)
        return int(value)

    def optional_number(self, name: str) -> int | None:
        """A whole number, where it is there."""
        return None if self._fields.get(name) is None else self.number(name, 0)

    def flag(self, name: str) -> bool:
        """Yes or no; also as a text."""
        value = str(self._fields.get(name, False)).lower()
        if value not in {"true", "false"}:
            raise wrong(name)
        return value == "true"

    def callback(self, name: str, *, required: bool = False) -> Callback:
        """`<name>_url` with its `<name>_method`."""
        url = self.text(f"{name}_url", required=required)
        if url and not is_http_url(url):
            raise wrong(f"{name}_url")
        method = self.text(f"{name}_method") or "POST"
        if method not in {"GET", "POST"}:
            raise wrong(f"{name}_method")
        return Callback(url, "GET" if method == "GET" else "POST")


def wrong(name: str) -> Refused:
    """A field makes no sense."""
    return Refused(f"{name} parameter is invalid")


def read_placing(arguments: Arguments) -> Placing:
    """How a call is to be placed. Raises `Refused`."""
    from_number = arguments.text("from", required=True)
    destinations = tuple(arguments.text("to", required=True).split("<"))
    if not _is_address(from_number):
        raise wrong("from")
    if len(destinations) > MAX_DESTINATIONS or not all(map(_is_address, destinations)):
        raise wrong("to")
    digits = arguments.text("send_digits")
    if digits and not is_tones(digits):
        raise wrong("send_digits")
    return Placing(
        from_number=from_number,
        destinations=destinations,
        answer=arguments.callback("answer", required=True),
        fallback=arguments.callback("fallback"),
        ring=arguments.callback("ring"),
        hangup=arguments.callback("hangup"),
        ring_s=arguments.number("ring_timeout", DEFAULT_RING_S),
        limit_s=arguments.number("time_limit", DEFAULT_LIMIT_S, low=1),
        hangup_on_ring_s=arguments.optional_number("hangup_on_ring"),
        digits=digits,
        machines=_machines(arguments),
        machine=arguments.callback("machine_detection"),
        detection_ms=arguments.number(
            "machine_detection_time",
            DEFAULT_DETECTION_MS,
            low=_MIN_DETECTION_MS,
            high=_MAX_DETECTION_MS,
        ),
    )


def read_transfer(arguments: Arguments) -> Ask:
    """Whom to ask instead. Raises `Refused`; there is only one leg here."""
    legs = arguments.text("legs") or "aleg"
    if legs not in {"aleg", "bleg", "both"}:
        raise wrong("legs")
    if legs != "aleg":
        raise Refused("the call has no B leg")
    to = arguments.callback("aleg", required=True)
    return Ask("transfer", to.url, to.method)


def read_text(arguments: Arguments) -> str:
    """What to say. Raises `Refused`."""
    text = arguments.text("text", required=True)
    if len(text) > _MAX_TEXT_CHARS:
        raise wrong("text")
    return text


def read_digits(arguments: Arguments) -> str:
    """What to press. Raises `Refused`."""
    digits = arguments.text("digits", required=True)
    if not is_tones(digits) or arguments.text("leg") not in {"", "aleg"}:
        raise wrong("digits")
    return digits


def read_stream(arguments: Arguments) -> Stream:
    """What to stream where. Raises `Refused`."""
    url = arguments.text("service_url", required=True)
    if not is_stream_url(url):
        raise wrong("service_url")
    if not arguments.flag("bidirectional"):
        raise Refused("a stream that is not bidirectional is not simulated")
    if arguments.text("audio_track") not in {"", "inbound"}:
        raise wrong("audio_track")
    content_type = arguments.text("content_type") or "audio/x-l16;rate=8000"
    if content_type not in CONTENT_TYPES:
        raise wrong("content_type")
    extra_headers = arguments.text("extra_headers")
    if not is_extra_headers(extra_headers):
        raise wrong("extra_headers")
    status = arguments.callback("status_callback")
    return Stream(
        url=url,
        audio=CONTENT_TYPES[content_type],
        extra_headers=extra_headers,
        timeout_s=arguments.number("stream_timeout", DEFAULT_STREAM_TIMEOUT_S, low=1),
        status_url=status.url,
        status_method=status.method,
    )


def _machines(arguments: Arguments) -> Machines | None:
    match arguments.text("machine_detection"):
        case "":
            return None
        case "true":
            return "true"
        case "hangup":
            return "hangup"
    raise wrong("machine_detection")


def _is_address(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text) or _SIP.fullmatch(text))
