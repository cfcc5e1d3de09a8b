"""Telnyx media streaming as the carrier speaks it.

Nothing guarantees the order of media and keys here, so a wire can be told to mix them up.

Source: Telnyx, "Media Streaming over WebSockets"; RFC 3551, section 4.5.11 for L16, whose byte
order Telnyx does not state.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from uuid import uuid4

import orjson

from voicecall.clock import SystemClock
from voicecall.ports import ALAW_8K, ULAW_8K, AudioFormat
from voicecall.simulator.wire import (
    ClearAudio,
    Fault,
    PlaceMark,
    PlayAudio,
    ProtocolBroken,
    ServerMessage,
    StreamIdentity,
)
from voicecall.simulator.wire.line import PCM16_16K, FromLine, ToLine
from voicecall.simulator.wire.reading import part, payload, read_event, string

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.clock import Clock

CODECS: Mapping[str, AudioFormat] = {"PCMU": ULAW_8K, "PCMA": ALAW_8K, "L16": PCM16_16K}
"""Those of Telnyx's codecs that a stream of the simulation may have, by `stream_codec`."""

_NAMES = {"ulaw": "PCMU", "alaw": "PCMA", "pcm16": "L16"}
_EVENTS = ("media", "mark", "clear")
_TITLES = {100003: "malformed_frame", 100004: "invalid_media"}
_SHORTEST_MS = 20
_LONGEST_MS = 30_000
_KEY_HELD_FRAMES = 15
"""Longer than two keys pressed in a row are apart, shorter than anybody waits for a third."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TelnyxOptions:
    """How the stream was asked for, and how untidy the carrier is.

    Attributes:
        sends: what the server gets (`stream_codec`).
        takes: what the server has to send (`stream_bidirectional_codec` and `_sampling_rate`).
        mode: `stream_bidirectional_mode`; only in `rtp` is audio played.
        big_endian: whether L16 has the high octet first.
        swap_every: every so many media messages one comes after its successor; 0 for never.
        keys_swapped: whether of two keys pressed in a row the second comes first.
        old_errors: whether complaints have the older documents' shape.
        session_id: `call_session_id`.
        from_number: who calls.
        to_number: who is called.
        client_state: what the customer attached to the call, base64; absent when empty.
    """

    sends: AudioFormat = ULAW_8K
    takes: AudioFormat = ULAW_8K
    mode: Literal["rtp", "mp3"] = "rtp"
    big_endian: bool = True
    swap_every: int = 0
    keys_swapped: bool = False
    old_errors: bool = False
    session_id: str = ""
    from_number: str = ""
    to_number: str = ""
    client_state: str = ""


class TelnyxWire:
    """One stream; implements `Wire`.

    Args:
        identity: whose stream it is; `call_id` is the call control id, `account_id` the user id.
        options: how it was asked for.
        clock: says when keys were pressed; the machine's own when None.
    """

    marks_after_clear = True
    codes: ClassVar[Mapping[Fault, int]] = {"binary": 100003, "malformed": 100003, "audio": 100004}

    def __init__(
        self,
        identity: StreamIdentity,
        options: TelnyxOptions | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._options = options = options or TelnyxOptions()
        self.call_id = identity.call_id
        self.stream_id = identity.stream_id or str(uuid4())
        self.audio = options.sends
        self._identity = identity
        self._clock = clock or SystemClock()
        self._from_line = FromLine(options.sends, big_endian=options.big_endian)
        self._to_line = ToLine(options.takes, big_endian=options.big_endian)
        self._sequence = 0
        self._chunk = 0
        self._held_media: bytes | None = None
        self._held_key: bytes | None = None
        self._held_key_until = 0

    def opening(self) -> list[bytes]:
        """The greeting, and what the stream is about; its id stands beside `start`, not in it."""
        options, identity = self._options, self._identity
        start: dict[str, Any] = {
            "user_id": identity.account_id,
            "call_control_id": identity.call_id,
            "call_session_id": options.session_id,
            "from": options.from_number,
            "to": options.to_number,
            "tags": [],
            "media_format": {
                "encoding": _NAMES[options.sends.encoding],
                "sample_rate": options.sends.rate_hz,
                "channels": 1,
            },
        }
        if options.client_state:
            start["client_state"] = options.client_state
        if identity.parameters:
            start["custom_parameters"] = dict(identity.parameters)
        greeting = {"event": "connected", "version": "1.0.0"}
        return [orjson.dumps(greeting), self._numbered("start", start=start)]

    def media(self, frame: bytes, timestamp_ms: int) -> list[bytes]:
        """The caller's audio, and a key held back long enough; may come in the next one's wake."""
        self._chunk += 1
        message = self._numbered(
            "media",
            media={
                "track": "inbound",
                "chunk": str(self._chunk),
                "timestamp": str(timestamp_ms),
                "payload": base64.b64encode(self._from_line.convert(frame)).decode(),
            },
        )
        keys = self._release_key() if self._chunk >= self._held_key_until else []
        if self._held_media is not None:
            held, self._held_media = self._held_media, None
            return [message, held, *keys]
        if self._options.swap_every and self._chunk % self._options.swap_every == 0:
            self._held_media = message
            return keys
        return [message, *keys]

    def dtmf(self, digit: str) -> list[bytes]:
        """A key the caller pressed, with the time; of two in a row the first may come second."""
        message = self._numbered("dtmf", occurred_at=self._now(), dtmf={"digit": digit})
        if self._held_key is not None:
            return [message, *self._release_key()]
        if not self._options.keys_swapped:
            return [message]
        self._held_key = message
        self._held_key_until = self._chunk + _KEY_HELD_FRAMES
        return []

    def mark(self, name: str) -> list[bytes]:
        """The echo of a mark."""
        return [self._numbered("mark", mark={"name": name})]

    def cleared(self) -> list[bytes]:
        """Nothing: the marks that return say it."""
        return []

    def stop(self) -> list[bytes]:
        """What was held back, and that the stream is over."""
        held = [] if self._held_media is None else [self._held_media]
        self._held_media = None
        identity = self._identity
        body = {"user_id": identity.account_id, "call_control_id": identity.call_id}
        return [*held, *self._release_key(), self._numbered("stop", stop=body)]

    def complaint(self, broken: ProtocolBroken) -> list[bytes]:
        """An error message; the older documents' shape differs in every detail."""
        code = self.codes[broken.fault]
        title, detail = _TITLES[code], str(broken)
        if self._options.old_errors:
            error = {"code": str(code), "title": title, "detail": detail}
            return [self._numbered("error", error=error)]
        error_now = {"code": code, "title": title, "detail": detail}
        return [orjson.dumps({"event": "error", "stream_id": self.stream_id, "payload": error_now})]

    def parse(self, message: bytes, *, binary: bool = False) -> ServerMessage:
        """Read a message as Telnyx does, which has no rule against fields too many.

        Raises:
            ProtocolBroken: something is missing or wrong; says what.
        """
        found = read_event(message, binary=binary, known=_EVENTS)
        event: str = found["event"]
        if event == "clear":
            return ClearAudio()
        if event == "mark":
            return PlaceMark(string(part(found, "mark"), "name", "mark"))
        return PlayAudio(self._played(payload(part(found, "media"))))

    def again(self) -> Self:
        """Another stream of the same call, with an id of its own."""
        identity = replace(self._identity, stream_id="")
        return type(self)(identity, self._options, clock=self._clock)

    def _played(self, audio: bytes) -> bytes:
        if self._options.mode != "rtp":
            raise ProtocolBroken("the stream is in mp3 mode, which is not played here", "audio")
        duration_ms = self._options.takes.duration_ms(len(audio))
        if not _SHORTEST_MS <= duration_ms <= _LONGEST_MS:
            raise ProtocolBroken(
                f"media.payload lasts {duration_ms:g} ms, not 20 ms to 30 s", "audio"
            )
        return self._to_line.convert(audio)

    def _release_key(self) -> list[bytes]:
        held, self._held_key = self._held_key, None
        return [] if held is None else [held]

    def _now(self) -> str:
        moment = datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def _numbered(self, event: str, **fields: Any) -> bytes:  # noqa: ANN401  (JSON)
        self._sequence += 1
        head = {
            "event": event,
            "sequence_number": str(self._sequence),
            "stream_id": self.stream_id,
        }
        return orjson.dumps(head | fields)
