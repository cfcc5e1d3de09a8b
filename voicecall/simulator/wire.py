"""Twilio Media Streams as the carrier speaks it: what it sends, and what it accepts.

Written from the carrier's documentation and sharing nothing with the server's own reading of it, so
that a mistake made on one side is seen by the other.

Source: Twilio, "Media Streams - WebSocket messages"; errors 31950 and 31951.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import orjson

from voicecall.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Mapping

UNDECODABLE_MESSAGE = 31950
"""The carrier's code for a binary message."""
INVALID_MESSAGE = 31951
"""The carrier's code for a message with missing, extra or wrong fields."""

_SERVER_KEYS = {
    "media": {"event", "streamSid", "media"},
    "mark": {"event", "streamSid", "mark"},
    "clear": {"event", "streamSid"},
}
_WAV_MAGIC = b"RIFF"


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """Whose stream it is.

    Attributes:
        call_sid: the carrier's id of the call.
        account_sid: the carrier's id of the customer.
        stream_sid: the carrier's id of this stream.
        parameters: custom parameters the customer attached.
    """

    call_sid: str
    account_sid: str
    stream_sid: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def fresh_stream_sid() -> str:
    """A stream id nobody has used."""
    return f"MZ{uuid4().hex}"


class CarrierMessages:
    """Makes the carrier's messages of one stream, numbered as they go out.

    Args:
        identity: whose stream it is.
    """

    def __init__(self, identity: StreamIdentity) -> None:
        self._identity = identity
        self._sequence = 0
        self._chunk = 0

    def connected(self) -> bytes:
        """The greeting; it alone has no number."""
        return orjson.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self) -> bytes:
        """What the stream is about."""
        identity = self._identity
        return self._numbered(
            "start",
            {
                "accountSid": identity.account_sid,
                "callSid": identity.call_sid,
                "streamSid": identity.stream_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": dict(identity.parameters),
            },
        )

    def media(self, audio: bytes, timestamp_ms: int) -> bytes:
        """The caller's audio: mu-law of any length, `timestamp_ms` after the start."""
        self._chunk += 1
        return self._numbered(
            "media",
            {
                "track": "inbound",
                "chunk": str(self._chunk),
                "timestamp": str(timestamp_ms),
                "payload": base64.b64encode(audio).decode(),
            },
        )

    def dtmf(self, digit: str) -> bytes:
        """A key the caller pressed."""
        return self._numbered("dtmf", {"track": "inbound_track", "digit": digit})

    def mark(self, name: str) -> bytes:
        """The echo of a mark."""
        return self._numbered("mark", {"name": name})

    def stop(self) -> bytes:
        """The stream is over."""
        identity = self._identity
        body = {"accountSid": identity.account_sid, "callSid": identity.call_sid}
        return self._numbered("stop", body)

    def _numbered(self, event: str, body: dict[str, Any]) -> bytes:
        self._sequence += 1
        return orjson.dumps(
            {
                "event": event,
                "sequenceNumber": str(self._sequence),
                "streamSid": self._identity.stream_sid,
                event: body,
            }
        )


@dataclass(frozen=True, slots=True)
class PlayAudio:
    """The server wants mu-law audio played."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class PlaceMark:
    """The server wants to hear when everything before has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """The server wants everything that waits thrown away."""


ServerMessage: TypeAlias = PlayAudio | PlaceMark | ClearAudio


def parse_server_message(text: bytes, stream_sid: str) -> ServerMessage:
    """Read a text message from the server as strictly as the carrier does.

    Args:
        text: the message.
        stream_sid: the stream it has to name.

    Raises:
        CodecError: something is missing, extra or wrong; says what.
    """
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CodecError("not JSON") from error
    if not isinstance(message, dict):
        raise CodecError("not a JSON object")
    event = message.get("event")
    if not isinstance(event, str) or event not in _SERVER_KEYS:
        raise CodecError("no such event")
    _require_keys(message, _SERVER_KEYS[event], "the message")
    if message["streamSid"] != stream_sid:
        raise CodecError("streamSid names another stream")
    if event == "media":
        return PlayAudio(_audio(_only_string(message, "media", "payload")))
    if event == "mark":
        return PlaceMark(_only_string(message, "mark", "name"))
    return ClearAudio()


def _require_keys(found: dict[str, Any], wanted: set[str], where: str) -> None:
    for problem, keys in (("lacks", wanted - found.keys()), ("has extra", found.keys() - wanted)):
        if keys:
            raise CodecError(f"{where} {problem} {', '.join(sorted(keys))}")


def _only_string(message: dict[str, Any], part: str, key: str) -> str:
    body = message[part]
    if not isinstance(body, dict):
        raise CodecError(f"{part} is not an object")
    _require_keys(body, {key}, part)
    value = body[key]
    if not isinstance(value, str) or not value:
        raise CodecError(f"{part}.{key} is not a text, or empty")
    return value


def _audio(payload: str) -> bytes:
    try:
        audio = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CodecError("media.payload is not base64") from error
    if audio.startswith(_WAV_MAGIC):
        raise CodecError("media.payload is a file, not bare audio")
    return audio
