"""What the three carriers' media sockets have in common: their messages in one vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from voicecall.errors import CodecError
from voicecall.ports import AudioFormat, Encoding, StreamStart


@dataclass(frozen=True, slots=True)
class StreamDtmf:
    """The caller pressed `digit`.

    Attributes:
        digit: the key.
        pressed_at_ms: when, in milliseconds since the epoch, where the carrier says so because
            its messages may come out of order.
    """

    digit: str
    pressed_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StreamMark:
    """The carrier has come to the mark `name`: played up to it, or flushed it by a clear."""

    name: str


@dataclass(frozen=True, slots=True)
class StreamCleared:
    """The carrier has dropped what it had buffered."""


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The carrier ends the stream."""


@dataclass(frozen=True, slots=True)
class StreamComplaint:
    """The carrier could not use something we sent; `text` says what."""

    text: str


StreamMessage: TypeAlias = (
    StreamStart | StreamDtmf | StreamMark | StreamCleared | StreamStopped | StreamComplaint
)


@dataclass(frozen=True, slots=True)
class Wording:
    """The constant parts of one stream's outgoing messages, UTF-8.

    Attributes:
        media_head: before the base64 audio of a media message.
        media_tail: after it.
        mark_head: before the name of a mark message.
        mark_tail: after it.
        clear: the whole clear message.
        big_endian: whether linear audio has the high octet first, in both directions.
    """

    media_head: bytes
    media_tail: bytes
    mark_head: bytes
    mark_tail: bytes
    clear: bytes
    big_endian: bool = False


class Dialect(Protocol):
    """One carrier's way to talk on a media socket: pure functions over parsed JSON."""

    @property
    def signature_header(self) -> str | None:
        """The lower-case name of the header that signs the carrier's upgrades; None without one."""
        ...

    @property
    def shortest_ms(self) -> int:
        """How much audio a message has to hold at least."""
        ...

    def read(self, message: Mapping[str, Any]) -> StreamMessage | None:
        """What a message other than audio says; None when it needs nothing done.

        Raises:
            CodecError: it is not as the carrier documents it.
        """
        ...

    def wording(self, start: StreamStart) -> Wording:
        """How to talk on the stream that `start` opened."""
        ...

    def outgoing(self, start: StreamStart) -> AudioFormat:
        """How audio sent on that stream is coded."""
        ...


_ENCODINGS: dict[str, Encoding] = {
    "audio/x-mulaw": "ulaw",
    "pcmu": "ulaw",
    "audio/x-alaw": "alaw",
    "pcma": "alaw",
    "audio/x-l16": "pcm16",
    "l16": "pcm16",
}

_RATES_HZ: dict[int | str, int] = {8000: 8000, "8000": 8000, 16000: 16000, "16000": 16000}

# A carrier's complaint goes to the log; what is longer than this is cut.
_REMARK_MAX_CHARS = 200


def audio_format(media_format: object, default: AudioFormat) -> AudioFormat:
    """The audio that a `start` message's media format describes.

    Args:
        media_format: an object with `encoding` and the rate as `sampleRate` or `sample_rate`.
        default: what to assume when it is missing.

    Raises:
        CodecError: an encoding or rate that voicecall does not speak.
    """
    if media_format is None:
        return default
    fields = mapping(media_format, "media format")
    name = text(fields.get("encoding"), "encoding").lower()
    encoding = _ENCODINGS.get(name)
    if encoding is None:
        raise CodecError(f"the stream is coded as {name!r}, which voicecall does not speak")
    rate = fields.get("sampleRate", fields.get("sample_rate", 8000))
    rate_hz = _RATES_HZ.get(rate) if isinstance(rate, int | str) else None
    if rate_hz is None:
        raise CodecError("the stream's rate is not one of 8000 and 16000 samples a second")
    return AudioFormat(encoding, rate_hz)


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else a CodecError that names `what`."""
    if not isinstance(value, Mapping):
        raise CodecError(f"{what} is not an object")
    return value


def text(value: object, what: str) -> str:
    """`value` if it is a non-empty JSON string, else a CodecError that names `what`."""
    if not isinstance(value, str) or not value:
        raise CodecError(f"{what} is missing or not a string")
    return value


def digit(value: object) -> str:
    """`value` if it is one key of a telephone, else a CodecError."""
    if not isinstance(value, str) or len(value) != 1 or value not in "0123456789*#ABCD":
        raise CodecError("not a key of a telephone")
    return value


def remark(value: object) -> str:
    """A piece of a carrier's complaint, fit for a log; empty when it is no string or number."""
    return str(value)[:_REMARK_MAX_CHARS] if isinstance(value, str | int | float) else ""


def string_map(value: object) -> dict[str, str]:
    """Custom parameters: the string values of a JSON object; empty when there is none."""
    if not isinstance(value, Mapping):
        return {}
    return {str(key): item for key, item in value.items() if isinstance(item, str)}
