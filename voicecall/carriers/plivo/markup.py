"""Plivo XML: what Plivo is told to do with a call, and the URLs it is told to report to.

Only elements, attributes and values that Plivo documents. The limit on a document is Plivo's:
100 KB.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

from voicecall.errors import CodecError
from voicecall.ports import ULAW_8K, AudioFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT_TYPE: Final = "application/xml"
MAX_DOCUMENT_OCTETS: Final = 100_000
MAX_INPUT_S: Final = 60

_CONTENT_TYPES = {
    ULAW_8K: "audio/x-mulaw;rate=8000",
    AudioFormat("pcm16", 8000): "audio/x-l16;rate=8000",
    AudioFormat("pcm16", 16000): "audio/x-l16;rate=16000",
}

# XML 1.0, section 2.2: everything else cannot be written at all, not even escaped. A carriage
# return could, but is read as a new line (section 2.11).
_NOT_XML = re.compile("[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_EXTRA_HEADER = re.compile(r"[A-Za-z0-9]+")
_MAX_EXTRA_HEADERS_OCTETS = 512


def document(*elements: str) -> bytes:
    """A whole answer; Plivo does one element after the other and hangs up after the last.

    Raises:
        CodecError: it is longer than Plivo reads.
    """
    inner = "".join(elements)
    whole = f'<?xml version="1.0" encoding="UTF-8"?><Response>{inner}</Response>'.encode()
    if len(whole) > MAX_DOCUMENT_OCTETS:
        raise CodecError(f"the answer is longer than {MAX_DOCUMENT_OCTETS} octets")
    return whole


def stream(
    url: str,
    *,
    audio: AudioFormat = ULAW_8K,
    status_url: str | None = None,
    extra_headers: Mapping[str, str] | None = None,
) -> str:
    """Connect the call's media both ways; what follows runs when the socket is gone.

    Args:
        url: where to, `wss:` (or `ws:`), query included.
        audio: how audio is coded in both directions.
        status_url: told of the stream's beginning and end.
        extra_headers: come back in the stream's `start`; letters and digits only.

    Raises:
        CodecError: Plivo cannot stream such audio, or carry such headers.
    """
    content_type = _CONTENT_TYPES.get(audio)
    if content_type is None:
        raise CodecError(f"Plivo does not stream {audio.encoding} at {audio.rate_hz} Hz")
    attributes = {
        "bidirectional": "true",
        "keepCallAlive": "true",
        "contentType": content_type,
        "statusCallbackUrl": status_url,
        "extraHeaders": _extra_headers(extra_headers or {}),
    }
    return _element("Stream", url, **attributes)


def speak(text: str, *, voice: str = "WOMAN", language: str = "en-US") -> str:
    """Say `text` in Plivo's own voice: `WOMAN`, `MAN` or `Polly.` and a name."""
    return _element("Speak", text, voice=voice, language=language)


def get_input(action: str, *, language: str = "en-US", timeout_s: int = MAX_INPUT_S) -> str:
    """Listen for speech or keys, whichever comes first; what follows runs when neither comes.

    Args:
        action: told what was heard, and asked what to do next.
        language: what is spoken.
        timeout_s: how long to listen, 5 to 60 seconds.
    """
    return _element(
        "GetInput",
        "",
        action=action,
        method="POST",
        inputType="dtmf speech",
        executionTimeout=str(timeout_s),
        digitEndTimeout="2",
        # Callers press `#` to say something, not to be done.
        finishOnKey="none",
        language=language,
        # What callers say and press is nobody's business but theirs.
        log="false",
    )


def wait(length_s: int) -> str:
    """Do nothing for `length_s` seconds."""
    return _element("Wait", "", length=str(length_s))


def redirect(url: str) -> str:
    """Ask `url` what to do next; nothing after it runs."""
    return _element("Redirect", url, method="POST")


def dial(to: str) -> str:
    """Connect the call with `to`, E.164 or a `sip:` address; what follows runs afterwards.

    `to` is shown the number that the call is from.
    """
    noun = "User" if to.lower().startswith(("sip:", "sips:")) else "Number"
    return f"<Dial>{_element(noun, to)}</Dial>"


def hang_up(reason: Literal["rejected", "busy"] | None = None) -> str:
    """End the call; a `reason` refuses one that is not answered yet."""
    return _element("Hangup", "", reason=reason)


def callback_url(base: str, fields: Mapping[str, str | None]) -> str:
    """The webhook's URL with `fields` in its query; those without a value are left out.

    Plivo signs the query with the rest, so what comes back there is what we wrote.
    """
    given = {key: value for key, value in fields.items() if value}
    return f"{base}{'&' if '?' in base else '?'}{urlencode(given)}" if given else base


def _extra_headers(headers: Mapping[str, str]) -> str | None:
    if not all(_EXTRA_HEADER.fullmatch(part) for pair in headers.items() for part in pair):
        raise CodecError("extra headers may have only letters and digits")
    joined = ",".join(f"{key}={value}" for key, value in headers.items())
    if len(joined) > _MAX_EXTRA_HEADERS_OCTETS:
        raise CodecError(f"extra headers are longer than {_MAX_EXTRA_HEADERS_OCTETS} octets")
    return joined or None


def _element(name: str, content: str, **attributes: str | None) -> str:
    written = "".join(
        f" {key}={quoteattr(_legal(value))}" for key, value in attributes.items() if value
    )
    if not content:
        return f"<{name}{written}/>"
    return f"<{name}{written}>{escape(_legal(content))}</{name}>"


def _legal(text: str) -> str:
    return _NOT_XML.sub(" ", text)
