"""Plivo audio streaming: what comes on the socket, and how to answer."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

import orjson

from voicecall.carriers._stream import (
    StreamCleared,
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
    text,
)
from voicecall.errors import CodecError
from voicecall.ports import PCM16_8K, ULAW_8K, AudioFormat, StreamStart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.carriers.plivo.names import CallNames

_CONTENT_TYPES: Final = {
    ULAW_8K: b"audio/x-mulaw",
    PCM16_8K: b"audio/x-l16",
    AudioFormat("pcm16", 16000): b"audio/x-l16",
}

# Plivo does not say which octet of L16 comes first; its own agent transport writes and reads the
# least significant one first.
L16_BIG_ENDIAN: Final = False


class PlivoDialect:
    """The WebSocket of a bidirectional `<Stream>`.

    Args:
        names: learns what Plivo calls the call, where the stream brings its other name along.
        asked_for: the audio that streams are asked for; holds where a stream does not say.
        big_endian: whether L16 has its high octet first, in both directions.
    """

    signature_header: str | None = None
    shortest_ms: int = 0

    def __init__(
        self,
        names: CallNames | None = None,
        *,
        asked_for: AudioFormat = ULAW_8K,
        big_endian: bool = L16_BIG_ENDIAN,
    ) -> None:
        self._names = names
        self._asked_for = asked_for
        self._big_endian = big_endian

    def read(self, message: Mapping[str, Any]) -> StreamMessage | None:
        """What a message other than audio says; unknown events say nothing."""
        match message.get("event"):
            case "start":
                return self._start(message)
            case "dtmf":
                return StreamDtmf(digit(mapping(message.get("dtmf"), "dtmf").get("digit")))
            case "playedStream" | "played":
                return StreamMark(text(message.get("name"), "name"))
            case "clearedAudio":
                return StreamCleared()
            case "playFailed" | "error":
                return StreamComplaint(remark(message.get("reason")) or "no reason given")
            case "stop":
                return StreamStopped()
            case _:
                return None

    def wording(self, start: StreamStart) -> Wording:
        """How to talk on the stream; `contentType` carries no rate here."""
        stream_id = orjson.dumps(start.stream_id)
        kind = _CONTENT_TYPES[start.audio]
        rate = b"%d" % start.audio.rate_hz
        return Wording(
            media_head=b'{"event":"playAudio","media":{"contentType":"'
            + kind
            + b'","sampleRate":'
            + rate
            + b',"payload":"',
            media_tail=b'"}}',
            mark_head=b'{"event":"checkpoint","streamId":' + stream_id + b',"name":"',
            mark_tail=b'"}',
            clear=b'{"event":"clearAudio","streamId":' + stream_id + b"}",
            big_endian=self._big_endian,
        )

    def outgoing(self, start: StreamStart) -> AudioFormat:
        """One content type holds for both directions."""
        return start.audio

    def _start(self, message: Mapping[str, Any]) -> StreamStart:
        start = mapping(message.get("start"), "start")
        parameters = extra_headers(message.get("extra_headers"))
        call_id = start.get("callId")
        return StreamStart(
            stream_id=text(start.get("streamId", message.get("streamId")), "streamId"),
            provider_call_id=self._known_as(
                call_id if isinstance(call_id, str) else "", parameters
            ),
            audio=_audio(start.get("mediaFormat"), self._asked_for),
            token=parameters.get("token"),
            parameters=parameters,
        )

    def _known_as(self, call_uuid: str, parameters: Mapping[str, str]) -> str:
        request = parameters.get("request")
        if not call_uuid or request is None:
            return call_uuid
        try:
            request_uuid = str(uuid.UUID(request))
        except ValueError as error:
            raise CodecError("the request that the stream names is no UUID") from error
        if self._names is None:
            return request_uuid
        return self._names.learn(request_uuid, call_uuid)


def _audio(media_format: object, asked_for: AudioFormat) -> AudioFormat:
    audio = audio_format(media_format, asked_for)
    if audio not in _CONTENT_TYPES:
        raise CodecError(f"Plivo does not stream {audio.encoding} at {audio.rate_hz} Hz")
    return audio


def extra_headers(value: object) -> dict[str, str]:
    """Custom parameters, which come as `a=1,b=2`, as `a=1;b=2` or as a JSON object in a string."""
    if not isinstance(value, str) or not value.strip():
        return {}
    if value.lstrip().startswith("{"):
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise CodecError("extra_headers is neither pairs nor JSON") from error
        return {
            key: str(item)
            for key, item in mapping(parsed, "extra_headers").items()
            if isinstance(item, str | int | float)
        }
    pairs = (pair.partition("=") for pair in value.replace(";", ",").split(","))
    return {key.strip(): item.strip() for key, separator, item in pairs if separator}
