"""Plivo audio streaming as the carrier speaks it.

Source: Plivo, "Audio Streaming - protocol reference" and "Stream XML"; L16 is little-endian as in
Plivo's own example programs.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias
from uuid import uuid4

import orjson

from voicecall.clock import SystemClock
from voicecall.ports import PCM16_8K, ULAW_8K, AudioFormat
from voicecall.simulator.wire import (
    ClearAudio,
    Fault,
    PlaceMark,
    PlayAudio,
    PressKeys,
    ProtocolBroken,
    ServerMessage,
    StreamIdentity,
)
from voicecall.simulator.wire.line import PCM16_16K, FromLine, ToLine
from voicecall.simulator.wire.reading import keys, part, payload, read_event, require, string

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.clock import Clock

HeadersForm: TypeAlias = Literal["commas", "semicolons", "json"]

CONTENT_TYPES: Mapping[str, AudioFormat] = {
    "audio/x-mulaw;rate=8000": ULAW_8K,
    "audio/x-l16;rate=8000": PCM16_8K,
    "audio/x-l16;rate=16000": PCM16_16K,
}
"""What `contentType` may ask for."""

_ENCODINGS = {"ulaw": "audio/x-mulaw", "pcm16": "audio/x-l16"}
_EVENTS = ("playAudio", "checkpoint", "clearAudio", "sendDTMF")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlivoOptions:
    """How the stream was asked for, and which of its documents the carrier keeps to.

    Attributes:
        audio: both directions' format, one of `CONTENT_TYPES`.
        headers_form: how `extra_headers` is written: `a=1,b=2`, `a=1;b=2` or as a JSON object.
        epoch: whether timestamps count from the epoch; from the start of the stream otherwise.
        undocumented: whether to say `stop` and `playFailed`, which Plivo's examples know and its
            documents do not.
    """

    audio: AudioFormat = ULAW_8K
    headers_form: HeadersForm = "commas"
    epoch: bool = True
    undocumented: bool = False


class PlivoWire:
    """One bidirectional stream; implements `Wire`.

    Args:
        identity: whose stream it is; `call_id` is the call's UUID, `account_id` the auth id.
        options: how it was asked for.
        clock: says when it began and when keys were pressed; the machine's own when None.
    """

    marks_after_clear = False
    codes: ClassVar[Mapping[Fault, int]] = {}

    def __init__(
        self,
        identity: StreamIdentity,
        options: PlivoOptions | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._options = options = options or PlivoOptions()
        self.call_id = identity.call_id
        self.stream_id = identity.stream_id or str(uuid4())
        self.audio = options.audio
        self._identity = identity
        self._clock = clock or SystemClock()
        self._began_ms = self._clock.wall_ms()
        self._from_line = FromLine(options.audio)
        self._to_line = ToLine(options.audio)
        self._encoding = _ENCODINGS[options.audio.encoding]
        self._headers = _written(identity.parameters, options.headers_form)
        self._sequence = 0
        self._chunk = 0

    def opening(self) -> list[bytes]:
        """What the stream is about; there is no greeting."""
        start = {
            "callId": self.call_id,
            "streamId": self.stream_id,
            "accountId": self._identity.account_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": self._encoding, "sampleRate": self.audio.rate_hz},
        }
        self._sequence += 1
        return [
            orjson.dumps(
                {
                    "event": "start",
                    "sequenceNumber": self._sequence,
                    "start": start,
                    "extra_headers": self._headers,
                }
            )
        ]

    def media(self, frame: bytes, timestamp_ms: int) -> list[bytes]:
        """The caller's audio."""
        self._chunk += 1
        media = {
            "track": "inbound",
            "timestamp": self._timestamp(timestamp_ms),
            "chunk": self._chunk,
            "payload": base64.b64encode(self._from_line.convert(frame)).decode(),
        }
        return [self._numbered("media", media=media, extra_headers=self._headers)]

    def dtmf(self, digit: str) -> list[bytes]:
        """A key the caller pressed."""
        since_start_ms = self._clock.wall_ms() - self._began_ms
        dtmf = {"track": "inbound", "digit": digit, "timestamp": self._timestamp(since_start_ms)}
        return [self._numbered("dtmf", dtmf=dtmf, extra_headers=self._headers)]

    def mark(self, name: str) -> list[bytes]:
        """A checkpoint whose audio has been played."""
        return [self._numbered("playedStream", name=name)]

    def cleared(self) -> list[bytes]:
        """What waited was thrown away; its checkpoints are never heard of again."""
        return [self._numbered("clearedAudio")]

    def stop(self) -> list[bytes]:
        """Nothing by the documents, `stop` by the examples."""
        return [self._numbered("stop")] if self._options.undocumented else []

    def complaint(self, broken: ProtocolBroken) -> list[bytes]:
        """Nothing by the documents, `playFailed` by the examples."""
        if not self._options.undocumented:
            return []
        return [self._numbered("playFailed", reason=str(broken))]

    def parse(self, message: bytes, *, binary: bool = False) -> ServerMessage:
        """Read a message as Plivo does, which has no rule against fields too many.

        Raises:
            ProtocolBroken: something is missing or wrong; says what.
        """
        found = read_event(message, binary=binary, known=_EVENTS)
        match found["event"]:
            case "playAudio":
                return PlayAudio(self._played(part(found, "media")))
            case "checkpoint":
                require(found, {"streamId", "name"}, "the message")
                self._see_stream_is_ours(found)
                return PlaceMark(string(found, "name", "checkpoint"))
            case "clearAudio":
                self._see_stream_is_ours(found)
                return ClearAudio()
            case _:
                return PressKeys(keys(found, "dtmf", "sendDTMF"))

    def again(self) -> Self:
        """Another stream of the same call, with an id of its own."""
        identity = replace(self._identity, stream_id="")
        return type(self)(identity, self._options, clock=self._clock)

    def _played(self, media: dict[str, Any]) -> bytes:
        require(media, {"contentType", "sampleRate", "payload"}, "media")
        if media["contentType"] != self._encoding:
            raise ProtocolBroken(f"media.contentType is not {self._encoding}", "audio")
        rate_hz = media["sampleRate"]
        if isinstance(rate_hz, bool) or rate_hz != self.audio.rate_hz:
            raise ProtocolBroken(f"media.sampleRate is not {self.audio.rate_hz}", "audio")
        return self._to_line.convert(payload(media))

    def _see_stream_is_ours(self, found: dict[str, Any]) -> None:
        # Plivo's own examples clear without naming the stream.
        if found.get("streamId", self.stream_id) != self.stream_id:
            raise ProtocolBroken("streamId names another stream")

    def _timestamp(self, since_start_ms: int) -> str:
        return str(since_start_ms + (self._began_ms if self._options.epoch else 0))

    def _numbered(self, event: str, **fields: Any) -> bytes:  # noqa: ANN401  (JSON)
        self._sequence += 1
        head = {"event": event, "sequenceNumber": self._sequence, "streamId": self.stream_id}
        return orjson.dumps(head | fields)


def _written(parameters: Mapping[str, str], form: HeadersForm) -> str:
    if form == "json":
        return orjson.dumps(dict(parameters)).decode() if parameters else ""
    separator = "," if form == "commas" else ";"
    return separator.join(f"{key}={value}" for key, value in parameters.items())
