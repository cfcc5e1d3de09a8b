"""TwiML: what Twilio is told to do with a call, and the URLs it is told to report to.

Only verbs, attributes and values that Twilio documents. A document is done verb by verb; after the
last one Twilio hangs up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlencode, urlsplit
from xml.sax.saxutils import escape, quoteattr

from voicecall.carriers._pieces import pieces as cut_to_pieces
from voicecall.errors import CodecError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT_TYPE: Final = "application/xml"
MAX_DOCUMENT_OCTETS: Final = 64 * 1024
MAX_INLINE_CHARS: Final = 4000
"""How long a document may be that goes to Twilio in a request instead of an answer."""
MAX_SPEECH_CHARS: Final = 3000
"""How much is said by one verb, after escaping: leaves room for the rest of an inline document."""
MAX_PARAMETER_CHARS: Final = 499

DEFAULT_VOICE: Final = "Polly.Joanna"
# Voices of a like pitch and manner; Twilio speaks with Amazon's.
_VOICES = {
    "alloy": "Polly.Joanna",
    "ash": "Polly.Matthew",
    "ballad": "Polly.Brian",
    "cedar": "Polly.Joey",
    "coral": "Polly.Salli",
    "echo": "Polly.Matthew",
    "fable": "Polly.Amy",
    "marin": "Polly.Joanna",
    "nova": "Polly.Salli",
    "onyx": "Polly.Brian",
    "sage": "Polly.Kimberly",
    "shimmer": "Polly.Kimberly",
    "verse": "Polly.Joey",
}
_OWN_VOICE = re.compile(r"(?:man|woman|alice|(?:Polly|Google)\.[A-Za-z0-9_-]+)")

# XML 1.0, section 2.2: everything else cannot be written at all, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(*verbs: str) -> str:
    """A whole document.

    Raises:
        CodecError: it is longer than Twilio reads.
    """
    inner = "".join(verbs)
    whole = f'<?xml version="1.0" encoding="UTF-8"?><Response>{inner}</Response>'
    if len(whole.encode()) > MAX_DOCUMENT_OCTETS:
        raise CodecError(f"the TwiML is longer than {MAX_DOCUMENT_OCTETS} octets")
    return whole


def connect_stream(
    url: str, *, parameters: Mapping[str, str], status_url: str | None = None
) -> str:
    """Connect the call's media both ways; what follows is done when the socket is gone.

    Args:
        url: where to, without a query, which Twilio would drop.
        parameters: come back in the stream's `start`.
        status_url: told when the stream starts, stops or fails.

    Raises:
        CodecError: Twilio cannot connect to such a URL or carry such parameters.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or parts.query or parts.fragment:
        raise CodecError("a stream URL is wss: and has no query, which Twilio would drop")
    if any(len(name) + len(value) > MAX_PARAMETER_CHARS for name, value in parameters.items()):
        raise CodecError(f"a stream parameter is longer than {MAX_PARAMETER_CHARS} characters")
    inner = "".join(
        _element("Parameter", name=name, value=value) for name, value in parameters.items()
    )
    stream = _element(
        "Stream",
        inner,
        url=url,
        statusCallback=status_url,
        statusCallbackMethod="POST" if status_url else None,
    )
    return _element("Connect", stream)


def say(text: str, *, voice: str = DEFAULT_VOICE, language: str | None = None) -> str:
    """Say `text` in a voice that Twilio has."""
    return _element("Say", _text(text), voice=voice, language=language)


def gather(action: str, *, language: str = "en-US", timeout_s: int = 5) -> str:
    """Listen for speech or keys; what follows is done when neither comes.

    Args:
        action: told what was heard, and asked what to do next.
        language: what is spoken.
        timeout_s: how long to wait for a first word, and for one more key.
    """
    return _element(
        "Gather",
        input="dtmf speech",
        action=action,
        method="POST",
        language=language,
        timeout=str(timeout_s),
        speechTimeout="auto",
        # Otherwise the # key ends the input and is never reported.
        finishOnKey="",
    )


def play_digits(digits: str) -> str:
    """Send key tones; `w` pauses for half a second, `W` for a whole one."""
    return _element("Play", digits=digits.replace("W", "ww"))


def pause(length_s: int) -> str:
    """Do nothing for `length_s` seconds."""
    return _element("Pause", length=str(length_s))


def redirect(url: str) -> str:
    """Ask `url` what to do next; nothing after it is done."""
    return _element("Redirect", _text(url), method="POST")


def dial(to: str) -> str:
    """Connect the call with `to`, E.164 or a `sip:` address; what follows is done afterwards.

    `to` is shown the number that the call is from.
    """
    noun = "Sip" if to.lower().startswith(("sip:", "sips:")) else "Number"
    return _element("Dial", _element(noun, _text(to)))


def hang_up() -> str:
    """End the call."""
    return _element("Hangup")


def reject(reason: Literal["rejected", "busy"] = "rejected") -> str:
    """Refuse an inbound call unanswered, which costs nothing; has to be the first verb."""
    return _element("Reject", reason=reason)


def callback_url(base: str, fields: Mapping[str, str | None]) -> str:
    """The webhook's URL with `fields` in its query; those without a value are left out.

    Twilio signs the query with the rest, so what comes back there is what we wrote.
    """
    given = {name: value for name, value in fields.items() if value}
    return f"{base}{'&' if '?' in base else '?'}{urlencode(given)}" if given else base


def voice_named(name: str | None) -> str:
    """The voice that `<Say>` takes for one of OpenAI's or Twilio's names; unknown: the default."""
    if name is not None and _OWN_VOICE.fullmatch(name):
        return name
    return _VOICES.get((name or "").lower(), DEFAULT_VOICE)


def pieces(text: str, limit: int = MAX_SPEECH_CHARS) -> list[str]:
    """`text` in pieces of at most `limit` escaped characters, cut between words where possible."""
    return cut_to_pieces(text, limit, lambda piece: len(_text(piece)))


def check_stream_url(url: str) -> None:
    """Refuse at start what Twilio could not connect to later.

    Args:
        url: the public URL of the media plane.

    Raises:
        ConfigError: Twilio connects to `wss:` on port 443 only, and drops queries.
    """
    parts = urlsplit(url)
    problems = []
    if parts.scheme != "wss":
        problems.append("streaming.publicUrl: Twilio streams to wss: only; give an https: URL")
    if parts.port not in {None, 443}:
        problems.append("streaming.publicUrl: Twilio streams to port 443 only")
    if parts.query or parts.fragment:
        problems.append("streaming.publicUrl: Twilio drops a query; leave it out")
    if problems:
        raise ConfigError(*problems)


def _element(name: str, content: str = "", /, **attributes: str | None) -> str:
    written = "".join(
        f" {key}={quoteattr(_legal(value))}"
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def _text(text: str) -> str:
    return escape(_legal(text))


def _legal(text: str) -> str:
    return _NOT_XML.sub(" ", text)
