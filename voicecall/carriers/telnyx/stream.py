"""Telnyx media streaming in `rtp` mode: what comes on the socket, and how to answer.

Outgoing audio is coded as the stream was asked for (`stream_bidirectional_codec`), which need not
be what the phone's leg uses; voicecall asks for PCMU, so that is what it sends. Messages may come
out of order: media are put in order by `sequence_number`, keys say when they were pressed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from voicecall.ports import ULAW_8K, AudioFormat, StreamStart

if TYPE_CHECKING:
    from collections.abc import Mapping


class TelnyxDialect:
    """The WebSocket of `stream_url` with `stream_bidirectional_mode: rtp`."""

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
        )

    def outgoing(self, start: StreamStart) -> AudioFormat:
        """PCMU, as the stream is asked for."""
        del start
        return ULAW_8K


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
    """Current documents put the error under `payload`, older ones under `error`."""
    fields = mapping(message.get("payload", message.get("error")), "error")
    code, title, detail = (remark(fields.get(name)) for name in ("code", "title", "detail"))
    return f"{code} {title}: {detail}"
