from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.carriers.json_values import altered, values
from voicecall._codec import WireFormat
from voicecall.carriers._stream import (
    StreamCleared,
    StreamComplaint,
    StreamDtmf,
    StreamMark,
    StreamStopped,
)
from voicecall.carriers.plivo.names import CallNames
from voicecall.carriers.plivo.stream import PlivoDialect, extra_headers
from voicecall.errors import CodecError
from voicecall.ports import ULAW_8K, AudioFormat, StreamStart

pytestmark = pytest.mark.unit

STREAM, CALL = "22220000-0000-4000-8000-000000000000", "11110000-0000-4000-8000-000000000000"
L16_16K = AudioFormat("pcm16", 16000)
START: dict[str, Any] = {
    "event": "start",
    "sequenceNumber": 1,
    "start": {
        "callId": CALL,
        "streamId": STREAM,
        "accountId": "MAXXXX",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
    },
    "extra_headers": "session=abc,token=f00d",
}
DTMF = {
    "event": "dtmf",
    "sequenceNumber": 50,
    "streamId": STREAM,
    "dtmf": {"track": "inbound", "digit": "5", "timestamp": "1705312250000"},
    "extra_headers": "",
}
PLAYED = {"event": "playedStream", "sequenceNumber": 75, "streamId": STREAM, "name": "utt-7"}
CLEARED = {"event": "clearedAudio", "sequenceNumber": 80, "streamId": STREAM}
STARTED = StreamStart(STREAM, CALL, ULAW_8K, "f00d", {"session": "abc", "token": "f00d"})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (START, STARTED),
        (DTMF, StreamDtmf("5")),
        (PLAYED, StreamMark("utt-7")),
        (PLAYED | {"event": "played"}, StreamMark("utt-7")),
        (CLEARED, StreamCleared()),
        ({"event": "stop"}, StreamStopped()),
        ({"event": "playFailed", "reason": "no audio"}, StreamComplaint("no audio")),
        ({"event": "error"}, StreamComplaint("no reason given")),
        ({"event": "not-invented-yet"}, None),
    ],
)
def test_every_documented_message_is_understood(message: dict[str, Any], said: object) -> None:
    assert PlivoDialect().read(message) == said


@pytest.mark.parametrize(
    "value",
    ["session=abc,token=f00d", " session = abc ; token=f00d ", '{"session":"abc","token":"f00d"}'],
)
def test_extra_headers_come_in_three_forms(value: str) -> None:
    assert extra_headers(value) == {"session": "abc", "token": "f00d"}


@pytest.mark.parametrize("value", [None, "", "  ", 5, {"a": "1"}, "nonsense"])
def test_no_extra_headers_are_no_parameters(value: object) -> None:
    assert extra_headers(value) == {}


def test_extra_headers_may_contain_what_separates_them_only_once() -> None:
    assert extra_headers("a=b=c;d") == {"a": "b=c"}
    assert extra_headers('{"n": 5, "deep": {"x": [1]}}') == {"n": "5"}


@pytest.mark.parametrize("value", ["{", "{]", '{"a"}'])
def test_broken_json_in_extra_headers_is_an_error(value: str) -> None:
    with pytest.raises(CodecError):
        extra_headers(value)


@given(st.one_of(altered(START, DTMF, PLAYED, CLEARED), st.dictionaries(st.text(), values)))
def test_whatever_else_comes_is_understood_or_a_codec_error(message: dict[str, Any]) -> None:
    try:
        said = PlivoDialect().read(message)
    except CodecError:
        return
    if isinstance(said, StreamStart):
        assert PlivoDialect().outgoing(said) == said.audio


@pytest.mark.parametrize(
    ("audio", "content_type"), [(ULAW_8K, "audio/x-mulaw"), (L16_16K, "audio/x-l16")]
)
def test_only_documented_fields_are_sent(audio: AudioFormat, content_type: str) -> None:
    wording = PlivoDialect().wording(StreamStart(STREAM, CALL, audio, None, {}))
    wire = WireFormat(
        wording.media_head,
        wording.media_tail,
        wording.mark_head,
        wording.mark_tail,
        wording.clear,
    )
    assert orjson.loads(wire.media(b"\xff\xfe\x00")) == {
        "event": "playAudio",
        "media": {"contentType": content_type, "sampleRate": audio.rate_hz, "payload": "//4A"},
    }
    assert orjson.loads(wire.mark(b"utt-7")) == {
        "event": "checkpoint",
        "streamId": STREAM,
        "name": "utt-7",
    }
    assert orjson.loads(wire.clear) == {"event": "clearAudio", "streamId": STREAM}


def start(encoding: str, rate: int, headers: str = "") -> dict[str, Any]:
    fields = START["start"] | {"mediaFormat": {"encoding": encoding, "sampleRate": rate}}
    return START | {"start": fields, "extra_headers": headers}


@pytest.mark.parametrize(("encoding", "rate"), [("audio/x-alaw", 8000), ("audio/x-mulaw", 16000)])
def test_audio_that_plivo_does_not_stream_is_an_error(encoding: str, rate: int) -> None:
    with pytest.raises(CodecError, match="does not stream"):
        PlivoDialect().read(start(encoding, rate))


@pytest.mark.parametrize("rate", [8000, 16000])
def test_linear_audio_is_little_endian_at_its_rate(rate: int) -> None:
    started = PlivoDialect().read(start("audio/x-l16", rate))
    assert isinstance(started, StreamStart)
    assert started.audio == AudioFormat("pcm16", rate)
    assert not PlivoDialect().wording(started).big_endian
    assert PlivoDialect(big_endian=True).wording(started).big_endian


def test_a_stream_that_does_not_say_is_coded_as_it_was_asked_for() -> None:
    fields = {key: value for key, value in START["start"].items() if key != "mediaFormat"}
    for audio in (ULAW_8K, L16_16K):
        started = PlivoDialect(asked_for=audio).read(START | {"start": fields})
        assert isinstance(started, StreamStart)
        assert started.audio == audio


def test_a_stream_that_brings_the_calls_other_name_is_known_by_it() -> None:
    request = "99990000-0000-4000-8000-000000000000"
    named = start("audio/x-mulaw", 8000, f"request={request.replace('-', '')}")
    names = CallNames()
    for dialect in (PlivoDialect(), PlivoDialect(names)):
        started = dialect.read(named)
        assert isinstance(started, StreamStart)
        assert started.provider_call_id == request
    assert names.call_uuid(request) == CALL


def test_another_name_that_is_none_is_an_error() -> None:
    with pytest.raises(CodecError, match="no UUID"):
        PlivoDialect().read(start("audio/x-mulaw", 8000, "request=nonsense"))


def test_a_stream_without_a_call_stays_without() -> None:
    anonymous = {"event": "start", "start": {"streamId": STREAM}, "extra_headers": "request=00"}
    started = PlivoDialect().read(anonymous)
    assert isinstance(started, StreamStart)
    assert started.provider_call_id == ""
