"""Carriers' messages read with a JSON parser, as the framing's documentation describes them."""

import binascii
from dataclasses import dataclass
from typing import Any

import orjson

MESSAGE_MAX = 65536
COUNT_END = 10**18
OURS = ("inbound", "inbound_track")


class UnusableError(ValueError):
    """The message is a fault."""


@dataclass(frozen=True, slots=True)
class Audio:
    """The caller's audio; -1 for a number the message does not have."""

    sequence: int
    chunk: int
    timestamp: int
    octets: bytes

    @property
    def number(self) -> int:
        return self.chunk if self.chunk >= 0 else self.sequence


@dataclass(frozen=True, slots=True)
class OtherTrack:
    """Audio that is not the caller's."""


@dataclass(frozen=True, slots=True)
class Other:
    """Anything but audio."""

    message: dict[str, Any]


def count(value: object) -> int:
    if value is None:
        return -1
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    if type(value) is int and 0 <= value < COUNT_END:
        return value
    raise UnusableError("count")


def decoded(payload: str) -> bytes:
    if len(payload) % 4:
        raise UnusableError("base64")
    try:
        return binascii.a2b_base64(payload, strict_mode=True)
    except ValueError as error:
        raise UnusableError("base64") from error


def read(message: bytes) -> Audio | OtherTrack | Other:
    """What one message says; UnusableError when it makes no sense."""
    if len(message) > MESSAGE_MAX:
        raise UnusableError("length")
    try:
        parsed = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise UnusableError("JSON") from error
    if not isinstance(parsed, dict) or not isinstance(parsed.get("event"), str):
        raise UnusableError("event")
    return read_media(parsed) if parsed["event"] == "media" else Other(parsed)


def read_media(parsed: dict[str, Any]) -> Audio | OtherTrack:
    media = parsed.get("media")
    if not isinstance(media, dict) or not isinstance(media.get("payload"), str):
        raise UnusableError("media")
    if media.get("track", OURS[0]) not in OURS:
        return OtherTrack()
    chunk = count(media.get("chunk"))
    # With a chunk, the running number of all messages is of no interest and may be anything.
    sequence = parsed.get("sequenceNumber", parsed.get("sequence_number"))
    return Audio(
        sequence=count(sequence) if chunk < 0 else lenient_count(sequence),
        chunk=chunk,
        timestamp=count(media.get("timestamp")),
        octets=decoded(media["payload"]),
    )


def lenient_count(value: object) -> int:
    try:
        return count(value)
    except UnusableError:
        return -1


def parse_media(message: bytes) -> tuple[int, int, int, bytes] | None:
    """What `voicecall._codec.parse_media` may return instead of None."""
    try:
        said = read(message)
    except UnusableError:
        return None
    if isinstance(said, Audio):
        return said.sequence, said.chunk, said.timestamp, said.octets
    return None
