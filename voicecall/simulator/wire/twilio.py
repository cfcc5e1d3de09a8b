"""Twilio Media Streams as the carrier speaks it.

Source: Twilio, "Media Streams - WebSocket messages"; errors 31950 and 31951.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self
from uuid import uuid4

import orjson

from voicecall.ports import ULAW_8K
from voicecall.simulator.wire import (
    ClearAudio,
    Fault,
    PlaceMark,
    PlayAudio,
    ProtocolBroken,
    ServerMessage,
    StreamIdentity,
)
from voicecall.simulator.wire.reading import part, payload, read_event, require_exactly, string

if TYPE_CHECKING:
    from collections.abc import Mapping

_SERVER_KEYS = {
    "media": {"event", "streamSid", "media"},
    "mark": {"event", "streamSid", "mark"},
    "clear": {"event", "streamSid"},
}


class TwilioWire:
    """One bidirectional stream; implements `Wire`. Both directions are mu-law at 8 kHz.

    Args:
        identity: whose stream it is.
    """

    audio = ULAW_8K
    marks_after_clear = True
    codes: ClassVar[Mapping[Fault, int]] = {"binary": 31950, "malformed": 31951, "audio": 31951}

    def __init__(self, identity: StreamIdentity) -> None:
        self.call_id = identity.call_id
        self.stream_id = identity.stream_id or f"MZ{uuid4().hex}"
        self._identity = identity
        self._sequence = 0
        self._chunk = 0

    def opening(self) -> list[bytes]:
        """The greeting, which alone has no number, and what the stream is about."""
        identity = self._identity
        start = {
            "accountSid": identity.account_id,
            "callSid": identity.call_id,
            "streamSid": self.stream_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(identity.parameters),
        }
        greeting = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        return [orjson.dumps(greeting), self._numbered("start", start)]

    def media(self, frame: bytes, timestamp_ms: int) -> list[bytes]:
        """The caller's audio, as it is on the line."""
        self._chunk += 1
        media = {
            "track": "inbound",
            "chunk": str(self._chunk),
            "timestamp": str(timestamp_ms),
            "payload": base64.b64encode(frame).decode(),
        }
        return [self._numbered("media", media)]

    def dtmf(self, digit: str) -> list[bytes]:
        """A key the caller pressed."""
        return [self._numbered("dtmf", {"track": "inbound_track", "digit": digit})]

    def mark(self, name: str) -> list[bytes]:
        """The echo of a mark."""
        return [self._numbered("mark", {"name": name})]

    def cleared(self) -> list[bytes]:
        """Nothing: the marks that return say it."""
        return []

    def stop(self) -> list[bytes]:
        """The stream is over."""
        identity = self._identity
        body = {"accountSid": identity.account_id, "callSid": identity.call_id}
        return [self._numbered("stop", body)]

    def complaint(self, broken: ProtocolBroken) -> list[bytes]:
        """Nothing: Twilio complains to its customer's debugger, not on the socket."""
        del broken
        return []

    def parse(self, message: bytes, *, binary: bool = False) -> ServerMessage:
        """Read a message as strictly as Twilio, which ignores those with a field too many.

        Raises:
            ProtocolBroken: something is missing, extra or wrong; says what.
        """
        found = read_event(message, binary=binary, known=_SERVER_KEYS)
        event: str = found["event"]
        require_exactly(found, _SERVER_KEYS[event], "the message")
        if found["streamSid"] != self.stream_id:
            raise ProtocolBroken("streamSid names another stream")
        if event == "clear":
            return ClearAudio()
        body = part(found, event)
        if event == "mark":
            require_exactly(body, {"name"}, "mark")
            return PlaceMark(string(body, "name", "mark"))
        require_exactly(body, {"payload"}, "media")
        return PlayAudio(payload(body))

    def again(self) -> Self:
        """Another stream of the same call, with an id of its own."""
        return type(self)(replace(self._identity, stream_id=""))

    def _numbered(self, event: str, body: dict[str, Any]) -> bytes:
        self._sequence += 1
        return orjson.dumps(
            {
                "event": event,
                "sequenceNumber": str(self._sequence),
                "streamSid": self.stream_id,
                event: body,
            }
        )
