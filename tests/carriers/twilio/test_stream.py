from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.carriers.json_values import altered, values
from voicecall._codec import WireFormat
from voicecall.carriers._stream import StreamDtmf, StreamMark, StreamStopped
from voicecall.carriers.twilio.stream import TwilioDialect
from voicecall.errors import CodecError
from voicecall.ports import ULAW_8K, StreamStart

pytestmark = pytest.mark.unit

SID, CALL = "MZ" + "0" * 32, "CA" + "0" * 32
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
START: dict[str, Any] = {
    "event": "start",
    "sequenceNumber": "1",
    "streamSid": SID,
    "start": {
        "accountSid": "AC" + "0" * 32,
        "callSid": CALL,
        "streamSid": SID,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"session": "abc", "token": "f00d"},
    },
}
DTMF = {
    "event": "dtmf",
    "sequenceNumber": "9",
    "streamSid": SID,
    "dtmf": {"track": "inbound_track", "digit": "5"},
}
MARK = {"event": "mark", "sequenceNumber": "10", "streamSid": SID, "mark": {"name": "utt-7"}}
STOP = {
    "event": "stop",
    "sequenceNumber": "11",
    "streamSid": SID,
    "stop": {"accountSid": "AC" + "0" * 32, "callSid": CALL},
}
STARTED = StreamStart(SID, CALL, ULAW_8K, "f00d", {"session": "abc", "token": "f00d"})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (CONNECTED, None),
        (START, STARTED),
        (DTMF, StreamDtmf("5")),
        (MARK, StreamMark("utt-7")),
        (STOP, StreamStopped()),
        ({"event": "not-invented-yet"}, None),
        ({}, None),
    ],
)
def test_every_documented_message_is_understood(message: dict[str, Any], said: object) -> None:
    assert TwilioDialect().read(message) == said


def test_a_start_without_parameters_has_no_token() -> None:
    start = {key: value for key, value in START["start"].items() if key != "customParameters"}
    said = TwilioDialect().read(START | {"start": start})
    assert isinstance(said, StreamStart)
    assert said.token is None


def test_a_start_without_a_call_id_says_so() -> None:
    for call_sid in (None, 5, ""):
        said = TwilioDialect().read(START | {"start": START["start"] | {"callSid": call_sid}})
        assert isinstance(said, StreamStart)
        assert said.provider_call_id == ""


@given(st.one_of(altered(START, DTMF, MARK, STOP, CONNECTED), st.dictionaries(st.text(), values)))
def test_whatever_else_comes_is_understood_or_a_codec_error(message: dict[str, Any]) -> None:
    try:
        said = TwilioDialect().read(message)
    except CodecError:
        return
    if isinstance(said, StreamStart):
        TwilioDialect().wording(said)
        assert TwilioDialect().outgoing(said) == said.audio


@given(st.text(min_size=1).filter(str.isprintable))
def test_only_documented_fields_are_sent(stream_id: str) -> None:
    wording = TwilioDialect().wording(
        StreamStart(stream_id, CALL, ULAW_8K, None, {}),
    )
    wire = WireFormat(
        wording.media_head,
        wording.media_tail,
        wording.mark_head,
        wording.mark_tail,
        wording.clear,
    )
    assert orjson.loads(wire.media(b"\xff\xfe\x00")) == {
        "event": "media",
        "streamSid": stream_id,
        "media": {"payload": "//4A"},
    }
    assert orjson.loads(wire.mark(b"utt-7")) == {
        "event": "mark",
        "streamSid": stream_id,
        "mark": {"name": "utt-7"},
    }
    assert orjson.loads(wire.clear) == {"event": "clear", "streamSid": stream_id}
