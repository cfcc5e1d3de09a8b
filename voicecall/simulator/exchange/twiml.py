"""TwiML as Twilio reads it: what a document says, and doing it verb by verb.

Written from Twilio's documentation and sharing nothing with what writes our own documents. As
there, a verb nobody knows and a value nobody understands end the call; an attribute too many is
only remarked upon.

Source: Twilio, "TwiML for Programmable Voice"; error and warning dictionary, 11xxx to 13xxx and
319xx.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from voicecall.errors import CodecError
from voicecall.simulator.exchange.xml import Attributes, Unreadable, content, response

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

UNPARSABLE: Final = 12100
"""Twilio's code for a document that is no XML, or no TwiML."""
SCHEMA: Final = 12200
"""Twilio's code for a verb, a noun or an attribute where none is to be."""
TOO_LARGE: Final = 11750
"""Twilio's code for a document of more than 64 KiB."""

MAX_DOCUMENT_OCTETS: Final = 64 * 1024
MAX_PARAMETER_CHARS: Final = 499
KEYS: Final = frozenset("0123456789*#ABCD")

_STREAM_SCHEME = 31922
_STREAM_URL = 31923
_STREAM_QUERY = 31920
_STREAM_TRACK = 31941
_INVALID_DIGITS = 13420
_INVALID_NUMBER = 13223
_NUMBER = re.compile(r"\+?[0-9]{2,15}")
_TRUE = "true"

Method: TypeAlias = Literal["GET", "POST"]


class TwimlError(CodecError):
    """Twilio would give up on the document.

    Attributes:
        code: Twilio's error code.
    """

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Say:
    """Say `text`; `times` over, 0 for ever."""

    text: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Play:
    """Play key tones, or the recording at `url`.

    Attributes:
        digits: keys, and `w` for half a second of silence; empty for a recording.
        url: of the recording; empty for key tones.
    """

    digits: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for `length_s` seconds."""

    length_s: int = 1


Prompt: TypeAlias = Say | Play | Pause


@dataclass(frozen=True, slots=True)
class Gather:
    """Listen for words and keys, and ask what to do with them.

    Attributes:
        prompts: said before and while listening.
        action: whom to ask; empty for where the document came from.
        method: how.
        speech: whether words count.
        dtmf: whether keys count.
        timeout_s: how long to wait for a beginning.
        finish_on_key: keys that end the input and are not part of it.
        num_digits: how many keys are enough; None for any number.
        ask_when_empty: whether to ask even if nothing was heard.
    """

    prompts: tuple[Prompt, ...] = ()
    action: str = ""
    method: Method = "POST"
    speech: bool = False
    dtmf: bool = True
    timeout_s: int = 5
    finish_on_key: str = "#"
    num_digits: int | None = None
    ask_when_empty: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """Connect the call's media both ways, until the other side closes the socket.

    Attributes:
        url: where to, without a query.
        parameters: for the stream's `start`.
        name: of the stream, unique in its call.
        status_url: whom to tell when it starts, stops or fails; empty for nobody.
        status_method: how.
        action: whom to ask what to do afterwards; None to go on with the document.
        method: how.
    """

    url: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    status_url: str = ""
    status_method: Method = "POST"
    action: str | None = None
    method: Method = "POST"


@dataclass(frozen=True, slots=True)
class Redirect:
    """Ask `url` what to do next; empty for where the document came from."""

    url: str
    method: Method = "POST"


@dataclass(frozen=True, slots=True)
class Hangup:
    """End the call."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Do not take the call; `busy` or `rejected`."""

    reason: Literal["busy", "rejected"] = "rejected"


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect the call with somebody else, until one of both hangs up.

    Attributes:
        to: a number, or a `sip:` address.
        action: whom to ask what to do afterwards; None to go on with the document.
        method: how.
    """

    to: str
    action: str | None = None
    method: Method = "POST"


Verb: TypeAlias = Say | Play | Pause | Gather | Stream | Dial | Redirect | Hangup | Reject


@dataclass(frozen=True, slots=True)
class Remark:
    """Something Twilio warns of in its debugger without ending the call."""

    code: int
    detail: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document that can be done.

    Attributes:
        verbs: in order.
        remarks: what is wrong with it, but harmless.
    """

    verbs: tuple[Verb, ...]
    remarks: tuple[Remark, ...] = ()


# --- doing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """What was gathered: words, or keys, or nothing."""

    words: str = ""
    digits: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Whom to ask what to do next.

    Attributes:
        url: may be relative to where the document came from, or empty for the same.
        method: how.
        fields: for the form, beside those that every request has.
    """

    url: str
    method: Method = "POST"
    fields: Mapping[str, str] = field(default_factory=dict)


Ending: TypeAlias = Ask | Hangup | Reject


class Performer(Protocol):
    """The call that a document is done on."""

    async def prompt(self, verb: Prompt) -> None:
        """Say, play, or keep silent; returns when it is over."""
        ...

    async def gather(self, verb: Gather) -> Heard:
        """Listen, the prompts having been said."""
        ...

    async def stream(self, verb: Stream) -> None:
        """Connect media; returns when the other side has closed the socket."""
        ...

    async def dial(self, verb: Dial) -> str:
        """Connect with somebody else; returns when that is over, with its `DialCallStatus`."""
        ...


async def perform(document: Document, call: Performer) -> Ending:
    """Do what a document says, until it is left or there is nothing more to do.

    Returns:
        what comes next; hanging up after the last verb.
    """
    for verb in document.verbs:
        ending = await _perform_one(verb, call)
        if ending is not None:
            return ending
    return Hangup()


async def _perform_one(verb: Verb, call: Performer) -> Ending | None:
    match verb:
        case Say() | Play() | Pause():
            await call.prompt(verb)
            return None
        case Gather():
            return await _gather(verb, call)
        case Stream():
            await call.stream(verb)
            return None if verb.action is None else Ask(verb.action, verb.method)
        case Dial():
            said = {"DialCallStatus": await call.dial(verb)}
            return None if verb.action is None else Ask(verb.action, verb.method, said)
        case Redirect(url, method):
            return Ask(url, method)
        case _:
            return verb


async def _gather(verb: Gather, call: Performer) -> Ask | None:
    for prompt in verb.prompts:
        await call.prompt(prompt)
    heard = await call.gather(verb)
    if heard.digits:
        return Ask(verb.action, verb.method, {"Digits": heard.digits})
    if heard.words:
        # No recognizer is as sure as a simulated one.
        said = {"SpeechResult": heard.words, "Confidence": "0.95"}
        return Ask(verb.action, verb.method, said)
    if verb.ask_when_empty:
        empty = "SpeechResult" if verb.speech else "Digits"
        return Ask(verb.action, verb.method, {empty: ""})
    return None


# --- reading ---------------------------------------------------------------------------------


def read(text: bytes) -> Document:
    """Read a document.

    Args:
        text: XML, as it came.

    Raises:
        TwimlError: Twilio would not do it; says why.
    """
    if len(text) > MAX_DOCUMENT_OCTETS:
        raise TwimlError(TOO_LARGE, f"a document of {len(text)} octets")
    try:
        root = response(text)
    except Unreadable as error:
        raise TwimlError(UNPARSABLE, str(error)) from error
    remarks: list[Remark] = []
    verbs = tuple(_verb(element, _VERBS, remarks) for element in root)
    return Document(verbs, tuple(remarks))


class _Attributes(Attributes):
    """An element's attributes; what is wrong with one breaks the schema."""

    highest = 3600

    def __init__(self, element: Element) -> None:
        super().__init__(element, lambda detail: TwimlError(SCHEMA, detail))

    def optional(self, name: str) -> str | None:
        return self.left.pop(name, None)

    def method(self, name: str = "method") -> Method:
        text = self.left.pop(name, "POST").upper()
        if text == "GET":
            return "GET"
        if text != "POST":
            raise self.wrong(name)
        return "POST"

    def finish(self, remarks: list[Remark]) -> None:
        """Remark upon what nobody asked for."""
        remarks += [Remark(SCHEMA, detail) for detail in self.unasked()]


_Reader: TypeAlias = Callable[["Element", _Attributes, "list[Remark]"], Verb]


def _verb(element: Element, known: Mapping[str, _Reader], remarks: list[Remark]) -> Verb:
    reader = known.get(element.tag)
    if reader is None:
        raise TwimlError(SCHEMA, f"<{element.tag}> is no verb, or not here")
    attributes = _Attributes(element)
    verb = reader(element, attributes, remarks)
    attributes.finish(remarks)
    return verb


def _say(element: Element, attributes: _Attributes, _: list[Remark]) -> Say:
    attributes.ignored("voice", "language")
    return Say(content(element), attributes.number("loop", 1))


def _play(element: Element, attributes: _Attributes, _: list[Remark]) -> Play:
    digits, url = attributes.text("digits"), content(element)
    attributes.number("loop", 1)
    if not set(digits) <= KEYS | {"w"}:
        raise TwimlError(_INVALID_DIGITS, "digits of <Play> are none")
    if not (digits or url):
        raise TwimlError(SCHEMA, "<Play> has nothing to play")
    return Play(digits, "" if digits else url)


def _pause(_: Element, attributes: _Attributes, __: list[Remark]) -> Pause:
    return Pause(attributes.number("length", 1))


def _gather_verb(element: Element, attributes: _Attributes, remarks: list[Remark]) -> Gather:
    inputs = set(attributes.text("input", "dtmf").split())
    if not inputs or not inputs <= {"dtmf", "speech"}:
        raise TwimlError(SCHEMA, "input of <Gather> makes no sense")
    finish_on_key = attributes.text("finishOnKey", "#")
    if not set(finish_on_key) <= KEYS:
        raise TwimlError(SCHEMA, "finishOnKey of <Gather> is no key")
    digits = attributes.number("numDigits", 0)
    attributes.ignored(
        "language", "hints", "speechTimeout", "speechModel", "enhanced", "profanityFilter",
        "partialResultCallback", "partialResultCallbackMethod", "bargeIn", "debug",
    )  # fmt: skip
    return Gather(
        prompts=tuple(_prompts(element, remarks)),
        action=attributes.text("action"),
        method=attributes.method(),
        speech="speech" in inputs,
        dtmf="dtmf" in inputs,
        timeout_s=attributes.number("timeout", 5),
        finish_on_key=finish_on_key,
        num_digits=digits or None,
        ask_when_empty=attributes.text("actionOnEmptyResult") == _TRUE,
    )


def _prompts(element: Element, remarks: list[Remark]) -> Sequence[Prompt]:
    verbs = [_verb(child, _PROMPTS, remarks) for child in element]
    return [verb for verb in verbs if isinstance(verb, Say | Play | Pause)]


def _connect(element: Element, attributes: _Attributes, remarks: list[Remark]) -> Stream:
    if [child.tag for child in element] != ["Stream"]:
        raise TwimlError(SCHEMA, "<Connect> is read with one <Stream> in it, and nothing else")
    noun = element[0]
    found = _Attributes(noun)
    if found.text("track", "inbound_track") != "inbound_track":
        raise TwimlError(_STREAM_TRACK, "a <Stream> in a <Connect> has an inbound track only")
    stream = Stream(
        url=_stream_url(found.text("url"), remarks),
        parameters=dict(_parameter(child, remarks) for child in noun),
        name=found.text("name"),
        status_url=found.text("statusCallback"),
        status_method=found.method("statusCallbackMethod"),
        action=attributes.optional("action"),
        method=attributes.method(),
    )
    found.finish(remarks)
    return stream


def _stream_url(url: str, remarks: list[Remark]) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise TwimlError(_STREAM_URL, "url of <Stream> is none") from None
    host = parts.hostname
    if not host:
        raise TwimlError(_STREAM_URL, "url of <Stream> names no server")
    # Twilio itself takes nothing but wss; a server on this machine has no certificate.
    if parts.scheme not in ({"wss", "ws"} if _is_loopback(host) else {"wss"}):
        raise TwimlError(_STREAM_SCHEME, "a <Stream> goes to wss: only")
    if parts.query:
        remarks.append(Remark(_STREAM_QUERY, "the query of <Stream>'s url is dropped"))
    return parts._replace(query="", fragment="").geturl()


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _parameter(element: Element, remarks: list[Remark]) -> tuple[str, str]:
    if element.tag != "Parameter":
        raise TwimlError(SCHEMA, f"<{element.tag}> is not for a <Stream>")
    attributes = _Attributes(element)
    name, value = attributes.text("name"), attributes.text("value")
    attributes.finish(remarks)
    if not name or len(name) + len(value) > MAX_PARAMETER_CHARS:
        raise TwimlError(SCHEMA, "a <Parameter> without a name, or of 500 characters or more")
    return name, value


def _dial(element: Element, attributes: _Attributes, remarks: list[Remark]) -> Dial:
    if len(element) > 1 or (len(element) and element[0].tag not in {"Number", "Sip"}):
        raise TwimlError(SCHEMA, "<Dial> is read with one <Number> or <Sip> in it, or a number")
    for noun in element:
        found = _Attributes(noun)
        found.ignored("sendDigits", "username", "password")
        found.finish(remarks)
    to = content(element)
    if not (_NUMBER.fullmatch(to) or to.lower().startswith(("sip:", "sips:"))):
        raise TwimlError(_INVALID_NUMBER, "whom to <Dial> is nobody")
    attributes.number("timeout", 30)
    attributes.number("timeLimit", 14_400, high=86_400)
    attributes.ignored("callerId", "answerOnBridge", "hangupOnStar", "ringTone", "sequential")
    return Dial(to, attributes.optional("action"), attributes.method())


def _redirect(element: Element, attributes: _Attributes, _: list[Remark]) -> Redirect:
    return Redirect(content(element), attributes.method())


def _hang_up(_: Element, __: _Attributes, ___: list[Remark]) -> Hangup:
    return Hangup()


def _reject(_: Element, attributes: _Attributes, __: list[Remark]) -> Reject:
    reason = attributes.text("reason", "rejected")
    if reason not in {"busy", "rejected"}:
        raise TwimlError(SCHEMA, "reason of <Reject> makes no sense")
    return Reject("busy" if reason == "busy" else "rejected")


_PROMPTS: Mapping[str, _Reader] = {"Say": _say, "Play": _play, "Pause": _pause}
_VERBS: Mapping[str, _Reader] = {
    **_PROMPTS,
    "Gather": _gather_verb,
    "Connect": _connect,
    "Dial": _dial,
    "Redirect": _redirect,
    "Hangup": _hang_up,
    "Reject": _reject,
}
