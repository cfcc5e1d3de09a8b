"""Plivo XML as Plivo reads it: what a document says, and doing it element by element.

Written from Plivo's documentation and sharing nothing with what writes our own documents. An
element or a value that Plivo does not document makes the whole document invalid, which ends the
call; an attribute too many is only remarked upon.

Source: Plivo, "Voice XML", "Audio streaming: the Stream element" and "Hangup causes".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from voicecall.errors import CodecError
from voicecall.ports import ULAW_8K, AudioFormat
from voicecall.simulator.exchange.xml import Attributes, Unreadable, content, response
from voicecall.simulator.wire.plivo import CONTENT_TYPES

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_DOCUMENT_OCTETS: Final = 100_000
MAX_EXTRA_HEADERS_OCTETS: Final = 512
MAX_STREAM_URL_CHARS: Final = 2048
DEFAULT_STREAM_TIMEOUT_S: Final = 86_400

# The two voices of Plivo's own; those of Amazon know more languages.
_LANGUAGES = frozenset(
    {
        "da-DK", "de-DE", "en-AU", "en-GB", "en-US", "es-ES", "es-US", "fr-CA", "fr-FR", "it-IT",
        "nl-NL", "pl-PL", "pt-BR", "pt-PT", "ru-RU", "sv-SE",
    }
)  # fmt: skip
_MAX_SPEAK_CHARS = 3000
_KEYS = frozenset("0123456789*#")
_PHONE = re.compile(r"\+?[0-9]{2,15}")
_TONES = re.compile(r"[0-9*#wW]+")
_EXTRA_HEADER = re.compile(r"([A-Za-z0-9]+)=([A-Za-z0-9]+)")

Method: TypeAlias = Literal["GET", "POST"]


class XmlError(CodecError):
    """Plivo would give up on the document; the message says why."""


@dataclass(frozen=True, slots=True)
class Speak:
    """Say `text`; `times` over, 0 for ever."""

    text: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Play:
    """Play the recording at `url`; `times` over, 0 for ever."""

    url: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for `length_s` seconds."""

    length_s: int = 1


@dataclass(frozen=True, slots=True)
class Dtmf:
    """Press keys; `w` is half a second of silence, `W` a whole one.

    Attributes:
        digits: the keys.
        aside: whether the next element begins while they are still being sent.
    """

    digits: str
    aside: bool = True


Prompt: TypeAlias = Speak | Play | Wait


@dataclass(frozen=True, slots=True)
class GetInput:
    """Listen for words and keys, and ask what to do with them.

    Attributes:
        action: whom to ask.
        prompts: said before listening.
        method: how to ask.
        speech: whether words count.
        dtmf: whether keys count.
        timeout_s: how long to listen, 5 to 60.
        finish_on_key: the key that ends the input and is no part of it; empty for none.
        num_digits: how many keys are enough.
        redirect: whether the answer takes over the call.
    """

    action: str
    prompts: tuple[Prompt, ...] = ()
    method: Method = "POST"
    speech: bool = False
    dtmf: bool = False
    timeout_s: int = 15
    finish_on_key: str = "#"
    num_digits: int = 32
    redirect: bool = True


@dataclass(frozen=True, slots=True)
class Stream:
    """Connect the call's media both ways.

    Attributes:
        url: where to, query included.
        keep_call_alive: whether the stream runs alone and what follows when it is over; else the
            next element begins at once.
        audio: how audio is coded in both directions.
        extra_headers: for the stream's `start`, as they were written.
        timeout_s: when the stream ends at the latest.
        status_url: whom to tell when it starts, stops or fails; empty for nobody.
        status_method: how.
    """

    url: str
    keep_call_alive: bool = False
    audio: AudioFormat = ULAW_8K
    extra_headers: str = ""
    timeout_s: int = DEFAULT_STREAM_TIMEOUT_S
    status_url: str = ""
    status_method: Method = "POST"


@dataclass(frozen=True, slots=True)
class Redirect:
    """Ask `url` what to do next."""

    url: str
    method: Method = "POST"


@dataclass(frozen=True, slots=True)
class Hangup:
    """End the call.

    Attributes:
        reason: what a caller who was not answered yet is to hear.
        schedule_s: in how many seconds, what follows being done meanwhile; None for now.
    """

    reason: Literal["busy", "rejected"] | None = None
    schedule_s: int | None = None


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect the call with somebody else, until one of both hangs up.

    Attributes:
        to: a number, or a `sip:` address.
        action: whom to ask what to do afterwards; empty to go on with the document.
        method: how.
    """

    to: str
    action: str = ""
    method: Method = "POST"


Verb: TypeAlias = Speak | Play | Wait | Dtmf | GetInput | Stream | Dial | Redirect | Hangup


@dataclass(frozen=True, slots=True)
class Document:
    """A document that can be done.

    Attributes:
        elements: in order.
        remarks: what is wrong with it, but harmless.
    """

    elements: tuple[Verb, ...]
    remarks: tuple[str, ...] = ()

    @property
    def refusal(self) -> Hangup | None:
        """What refuses a call that was not answered yet: a hang-up with a reason, first of all."""
        first = self.elements[0] if self.elements else None
        refuses = isinstance(first, Hangup) and first.reason and first.schedule_s is None
        return first if refuses and isinstance(first, Hangup) else None


# --- doing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """What the other end said or pressed; nothing when both are empty."""

    words: str = ""
    digits: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Whom to ask what to do next.

    Attributes:
        kind: on what occasion; Plivo tells their failures apart.
        url: absolute.
        method: how.
        fields: for the form, beside those that every request has.
    """

    kind: Literal["answer", "action", "redirect", "transfer"]
    url: str
    method: Method = "POST"
    fields: Mapping[str, str] = field(default_factory=dict)


Ending: TypeAlias = Ask | Hangup | None
"""What comes after a document; None when it ran out."""


class Performer(Protocol):
    """The call that a document is done on."""

    async def prompt(self, element: Prompt) -> None:
        """Say, play, or keep silent; returns when it is over."""
        ...

    async def press(self, element: Dtmf) -> None:
        """Send keys; returns when the next element may begin."""
        ...

    async def get_input(self, element: GetInput) -> Heard:
        """Listen, the prompts having been said."""
        ...

    async def stream(self, element: Stream) -> None:
        """Connect media; returns when the next element may begin."""
        ...

    async def dial(self, element: Dial) -> str:
        """Connect with somebody else; returns when that is over, with its `DialStatus`."""
        ...

    def hang_up_later(self, after_s: int) -> None:
        """End the call in so many seconds."""
        ...

    def report(self, ask: Ask) -> None:
        """Tell somebody whose answer does not matter."""
        ...


async def perform(document: Document, call: Performer) -> Ending:
    """Do what a document says, until it is left or there is nothing more to do."""
    for element in document.elements:
        match element:
            case Redirect(url, method):
                return Ask("redirect", url, method)
            case Hangup(schedule_s=None):
                return element
            case GetInput():
                ask = await _get_input(element, call)
                if ask is not None:
                    return ask
            case Dial(action=action, method=method):
                said = {"DialStatus": await call.dial(element)}
                if action:
                    return Ask("action", action, method, said)
            case _:
                await _perform_one(element, call)
    return None


async def _perform_one(element: Verb, call: Performer) -> None:
    match element:
        case Speak() | Play() | Wait():
            await call.prompt(element)
        case Dtmf():
            await call.press(element)
        case Stream():
            await call.stream(element)
        case Hangup(schedule_s=after_s) if after_s is not None:
            call.hang_up_later(after_s)


async def _get_input(element: GetInput, call: Performer) -> Ask | None:
    for prompt in element.prompts:
        await call.prompt(prompt)
    heard = await call.get_input(element)
    if not (heard.digits or heard.words):
        return None
    fields = {
        "InputType": "dtmf" if heard.digits else "speech",
        "Digits": heard.digits,
        "Speech": "" if heard.digits else heard.words,
        # No recognizer is as sure as a simulated one.
        "SpeechConfidenceScore": "0.0" if heard.digits else "0.95",
        "BilledAmount": "0.0" if heard.digits else "0.0200",
    }
    ask = Ask("action", element.action, element.method, fields)
    if element.redirect:
        return ask
    call.report(ask)
    return None


# --- reading ---------------------------------------------------------------------------------


def read(text: bytes) -> Document:
    """Read a document.

    Args:
        text: XML, as it came.

    Raises:
        XmlError: Plivo would not do it; says why.
    """
    if len(text) > MAX_DOCUMENT_OCTETS:
        raise XmlError(f"a document of {len(text)} octets")
    try:
        root = response(text)
    except Unreadable as error:
        raise XmlError(str(error)) from error
    remarks: list[str] = []
    return Document(tuple(_verb(each, _VERBS, remarks) for each in root), tuple(remarks))


class _Attributes(Attributes):
    """An element's attributes."""

    def __init__(self, element: Element) -> None:
        super().__init__(element, XmlError)

    def optional_number(self, name: str) -> int | None:
        return self.number(name, 0) if name in self.left else None

    def flag(self, name: str, *, default: bool) -> bool:
        text = self.left.pop(name, str(default)).lower()
        if text not in {"true", "false"}:
            raise self.wrong(name)
        return text == "true"

    def one_of(self, name: str, default: str, allowed: frozenset[str]) -> str:
        text = self.left.pop(name, default)
        if text not in allowed:
            raise self.wrong(name)
        return text

    def method(self, name: str = "method") -> Method:
        text = self.left.pop(name, "POST")
        if text not in {"GET", "POST"}:
            raise self.wrong(name)
        return "GET" if text == "GET" else "POST"

    def url(self, name: str, *, required: bool = False) -> str:
        text = self.left.pop(name, "")
        if (text or required) and not is_http_url(text):
            raise self.wrong(name)
        return text


_Reader: TypeAlias = Callable[["Element", _Attributes, "list[str]"], Verb]


def is_http_url(text: str) -> bool:
    """Whether `text` is a URL that Plivo calls back."""
    return _has_scheme(text, {"http", "https"})


def is_stream_url(text: str) -> bool:
    """Whether `text` is a URL that Plivo streams to."""
    return len(text) <= MAX_STREAM_URL_CHARS and _has_scheme(text, {"ws", "wss"})


def is_extra_headers(text: str) -> bool:
    """Whether `text` is empty or `a=1,b=2`, of letters and digits only and not too long."""
    if len(text.encode()) > MAX_EXTRA_HEADERS_OCTETS:
        return False
    return not text or all(_EXTRA_HEADER.fullmatch(pair) for pair in text.split(","))


def is_tones(text: str) -> bool:
    """Whether `text` is keys and pauses."""
    return _TONES.fullmatch(text) is not None


def _has_scheme(text: str, schemes: set[str]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname)
    except ValueError:
        return False


def _verb(element: Element, known: Mapping[str, _Reader], remarks: list[str]) -> Verb:
    reader = known.get(element.tag)
    if reader is None:
        raise XmlError(f"<{element.tag}> is no element, not here, or not simulated")
    attributes = _Attributes(element)
    verb = reader(element, attributes, remarks)
    remarks += attributes.unasked()
    return verb


def _speak(element: Element, attributes: _Attributes, _: list[str]) -> Speak:
    voice, language = attributes.text("voice", "WOMAN"), attributes.text("language", "en-US")
    if not voice.startswith("Polly."):
        if voice not in {"WOMAN", "MAN"}:
            raise attributes.wrong("voice")
        if language not in _LANGUAGES:
            raise attributes.wrong("language")
    text = content(element)
    if len(text) > _MAX_SPEAK_CHARS:
        raise XmlError(f"<Speak> has more than {_MAX_SPEAK_CHARS} characters")
    return Speak(text, attributes.number("loop", 1))


def _play(element: Element, attributes: _Attributes, _: list[str]) -> Play:
    url = content(element)
    if not is_http_url(url):
        raise XmlError("<Play> has no URL to play")
    return Play(url, attributes.number("loop", 1))


def _wait(_: Element, attributes: _Attributes, __: list[str]) -> Wait:
    attributes.ignored("silence", "minSilence", "beep")
    return Wait(attributes.number("length", 1, low=1))


def _dtmf(element: Element, attributes: _Attributes, _: list[str]) -> Dtmf:
    digits = content(element)
    if not is_tones(digits):
        raise XmlError("<DTMF> has no keys, or what is none")
    return Dtmf(digits, attributes.flag("async", default=True))


def _get_input_element(element: Element, attributes: _Attributes, remarks: list[str]) -> GetInput:
    inputs = attributes.one_of("inputType", "", frozenset({"dtmf", "speech", "dtmf speech"}))
    finish = attributes.one_of("finishOnKey", "#", _KEYS | {"", "none"})
    for name in ("digitEndTimeout", "speechEndTimeout"):
        attributes.one_of(name, "auto", frozenset({"auto", *map(str, range(2, 11))}))
    attributes.one_of("log", "true", frozenset({"true", "false"}))
    attributes.url("interimSpeechResultsCallback")
    attributes.ignored(
        "language", "hints", "speechModel", "profanityFilter", "interimSpeechResultsCallbackMethod",
    )  # fmt: skip
    return GetInput(
        action=attributes.url("action", required=True),
        prompts=tuple(_prompts(element, remarks)),
        method=attributes.method(),
        speech="speech" in inputs,
        dtmf="dtmf" in inputs,
        timeout_s=attributes.number("executionTimeout", 15, low=5, high=60),
        finish_on_key="" if finish == "none" else finish,
        num_digits=attributes.number("numDigits", 32, low=1, high=32),
        redirect=attributes.flag("redirect", default=True),
    )


def _prompts(element: Element, remarks: list[str]) -> list[Prompt]:
    verbs = [_verb(child, _PROMPTS, remarks) for child in element]
    return [verb for verb in verbs if isinstance(verb, Speak | Play | Wait)]


def _stream(element: Element, attributes: _Attributes, _: list[str]) -> Stream:
    url = content(element)
    if not is_stream_url(url):
        raise XmlError("<Stream> has no URL to stream to")
    if not attributes.flag("bidirectional", default=False):
        raise XmlError("a <Stream> that is not bidirectional is not simulated")
    if attributes.text("audioTrack", "inbound") != "inbound":
        raise XmlError("a bidirectional <Stream> has the inbound track only")
    content_type = attributes.text("contentType", "audio/x-l16;rate=8000")
    if content_type not in CONTENT_TYPES:
        raise attributes.wrong("contentType")
    extra_headers = attributes.text("extraHeaders")
    if not is_extra_headers(extra_headers):
        raise attributes.wrong("extraHeaders")
    attributes.ignored("noiseCancellation", "noiseCancellationLevel")
    return Stream(
        url=url,
        keep_call_alive=attributes.flag("keepCallAlive", default=False),
        audio=CONTENT_TYPES[content_type],
        extra_headers=extra_headers,
        timeout_s=attributes.number("streamTimeout", DEFAULT_STREAM_TIMEOUT_S, low=1),
        status_url=attributes.url("statusCallbackUrl"),
        status_method=attributes.method("statusCallbackMethod"),
    )


def _dial(element: Element, attributes: _Attributes, remarks: list[str]) -> Dial:
    if [child.tag for child in element] not in (["Number"], ["User"]):
        raise XmlError("<Dial> is read with one <Number> or <User> in it, and nothing else")
    noun = element[0]
    found = _Attributes(noun)
    found.ignored("sendDigits", "sendOnPreanswer", "sipHeaders")
    remarks += found.unasked()
    to = content(noun)
    if noun.tag == "User" and not to.lower().startswith(("sip:", "sips:")):
        raise XmlError("<User> is no sip: address")
    if noun.tag == "Number" and not _PHONE.fullmatch(to):
        raise XmlError("<Number> is none")
    attributes.ignored("callerId", "callerName", "hangupOnStar", "dialMusic", "sipHeaders")
    attributes.number("timeout", 120, low=1)
    attributes.number("timeLimit", 14_400, low=1)
    return Dial(to, attributes.url("action"), attributes.method())


def _redirect(element: Element, attributes: _Attributes, _: list[str]) -> Redirect:
    url = content(element)
    if not is_http_url(url):
        raise XmlError("<Redirect> has no URL to go to")
    return Redirect(url, attributes.method())


def _hang_up(_: Element, attributes: _Attributes, __: list[str]) -> Hangup:
    reason = attributes.one_of("reason", "", frozenset({"", "busy", "rejected"}))
    schedule_s = attributes.optional_number("schedule")
    match reason:
        case "busy":
            return Hangup("busy", schedule_s)
        case "rejected":
            return Hangup("rejected", schedule_s)
    return Hangup(None, schedule_s)


_PROMPTS: Mapping[str, _Reader] = {"Speak": _speak, "Play": _play, "Wait": _wait}
_VERBS: Mapping[str, _Reader] = {
    **_PROMPTS,
    "DTMF": _dtmf,
    "GetInput": _get_input_element,
    "Stream": _stream,
    "Dial": _dial,
    "Redirect": _redirect,
    "Hangup": _hang_up,
}
