"""Twilio Media Streams: what comes on the socket, and how to answer.

Only documented fields are sent, since Twilio ignores messages with extra ones (error 31951).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from voicecall.carriers._stream import (
    StreamDtmf,
    StreamMark,
    StreamMessage,
    StreamStopped,
    Wording,
    audio_format,
    digit,
    mapping,
    string_map,
    text,
)
from voicecall.carriers.twilio.signature import SIGNATURE_HEADER
from voicecall.ports import ULAW_8K, AudioFormat, StreamStart

if TYPE_CHECKING:
    from collections.abc import Mapping


class TwilioDialect:
    """Bidirectional Media Streams; also what the mock carrier's phone speaks."""

    signature_header: str | None = SIGNATURE_HEADER
    shortest_ms: int = 0

    def read(self, message: Mapping[str, Any]) -> StreamMessage | None:
        """What a message other than audio says; unknown events say nothing."""
        match message.get("event"):
            case "start":
                return _start(message)
            case "dtmf":
                return StreamDtmf(digit(mapping(message.get("dtmf"), "dtmf").get("digit")))
            case "mark":
                return StreamMark(
                    text(mapping(message.get("mark"), "mark").get("name"), "mark.name")
                )
            case "stop":
                return StreamStopped()
            case _:
                return None

    def wording(self, start: StreamStart) -> Wording:
        """How to talk on the stream that `start` opened."""
        sid = orjson.dumps(start.stream_id)
        return Wording(
            media_head=b'{"event":"media","streamSid":' + sid + b',"media":{"payload":"',
            media_tail=b'"}}',
            mark_head=b'{"event":"mark","streamSid":' + sid + b',"mark":{"name":"',
            mark_tail=b'"}}',
            clear=b'{"event":"clear","streamSid":' + sid + b"}",
        )

    def outgoing(self, start: StreamStart) -> AudioFormat:
        """Twilio takes what it sends: mu-law at 8 kHz."""
        return start.audio


def _start(message: Mapping[str, Any]) -> StreamStart:
    start = mapping(message.get("start"), "start")
    parameters = string_map(start.get("customParameters"))
    call_sid = start.get("callSid")
    return StreamStart(
        stream_id=text(start.get("streamSid", message.get("streamSid")), "streamSid"),
        provider_call_id=call_sid if isinstance(call_sid, str) else "",
        audio=audio_format(start.get("mediaFormat"), ULAW_8K),
        token=parameters.get("token"),
        parameters=parameters,
    )
