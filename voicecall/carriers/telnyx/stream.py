"""Telnyx media streaming in `rtp` mode: what comes on the socket, and how to answer.

Outgoing audio is coded as the stream was asked for (`stream_bidirectional_codec`), which need not
be what the phone's leg uses. Messages may come out of order: media are put in order by
`media.chunk`, keys say when they were pressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from voicecall.carriers._stream import (
    StreamComplaint,
    StreamDtmf,
    StreamMark,
    StreamMessage,
    StreamStopped,
    Wording,
    audio_format,
    digit,
    mapping,
    remark,
    string_map,
    text,
)
from voicecall.carriers.telnyx.moment import milliseconds
from voicecall.errors import CodecError
from voicecall.ports import ALAW_8K, ULAW_8K, AudioFormat, StreamStart

# What may be asked for with `stream_bidirectional_codec`, as far as voicecall speaks it.
SENDABLE: Final = (ULAW_8K, ALAW_8K, AudioFormat("pcm16", 16000))

# Telnyx does not say which octet of L16 comes first. Its payload is that of RTP without the header,
# and RFC 3551, section 4.5.11, has the most significant one first.
L16_BIG_ENDIAN: Final = True


class TelnyxDialect:
    """The WebSocket of `stream_url` with `stream_bidirectional_mode: rtp`.

    Args:
        sent: how outgoing audio is coded: as the stream is asked for. One of `SENDABLE`.
        big_endian: whether L16 has its high octet first, in both directions.

    Raises:
        CodecError: Telnyx does not take such audio.
    """

    signature_header: str | None = None
    shortest_ms: int = 20

    def __init__(self, sent: AudioFormat = ULAW_8K, *, big_endian: bool = L16_BIG_ENDIAN) -> None:
        if sent not in SENDABLE:
            raise CodecError(f"Telnyx does not take {sent.encoding} at {sent.rate_hz} Hz")
        self._sent = sent
        self._big_endian = big_endian

    def read(self, message: Mapping[str, Any]) -> StreamMessage | None:
        """What a message other than audio says; unknown events say nothing."""
        match message.get("event"):
            case "start":
                return _start(message)
            case "dtmf":
                return _dtmf(message)
            case "mark":
                return StreamMark(
                    text(mapping(message.get("mark"), "mark").get("name"), "mark.name")
                )
            case "error":
                return StreamComplaint(_complaint(message))
            case "stop":
                return StreamStopped()
            case _:
                return None

    def wording(self, start: StreamStart) -> Wording:
        """How to talk on the stream; Telnyx wants no stream id."""
        del start
        return Wording(
            media_head=b'{"event":"media","media":{"payload":"',
            media_tail=b'"}}',
            mark_head=b'{"event":"mark","mark":{"name":"',
            mark_tail=b'"}}',
            clear=b'{"event":"clear"}',
            big_endian=self._big_endian,
        )

    def outgoing(self, start: StreamStart) -> AudioFormat:
        """As the stream is asked for, whatever the caller's audio is."""
        del start
        return self._sent


def _start(message: Mapping[str, Any]) -> StreamStart:
    start = mapping(message.get("start"), "start")
    parameters = string_map(start.get("custom_parameters", start.get("customParameters")))
    call_id = start.get("call_control_id")
    return StreamStart(
        stream_id=text(message.get("stream_id"), "stream_id"),
        provider_call_id=call_id if isinstance(call_id, str) else "",
        audio=audio_format(start.get("media_format"), ULAW_8K),
        token=parameters.get("token"),
        parameters=parameters,
    )


def _dtmf(message: Mapping[str, Any]) -> StreamDtmf:
    pressed_at = message.get("occurred_at")
    return StreamDtmf(
        digit(mapping(message.get("dtmf"), "dtmf").get("digit")),
        None if pressed_at is None else milliseconds(pressed_at, "occurred_at"),
    )


def _complaint(message: Mapping[str, Any]) -> str:
    """Current documents put the error under `payload`, older ones under `error`.

    One in yet another shape is a complaint all the same: it must not end the stream.
    """
    shapes = (message.get("payload"), message.get("error"), message)
    fields = next(shape for shape in shapes if isinstance(shape, Mapping))
    code, title, detail = (remark(fields.get(name)) for name in ("code", "title", "detail"))
    what = " ".join(filter(None, (code, title)))
    return ": ".join(filter(None, (what, detail))) or "no reason given"
