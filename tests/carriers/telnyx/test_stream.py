from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.carriers.json_values import altered, values
from voicecall._codec import WireFormat
from voicecall.carriers._stream import StreamComplaint, StreamDtmf, StreamMark, StreamStopped
from voicecall.carriers.telnyx.stream import SENDABLE, TelnyxDialect
from voicecall.errors import CodecError
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat, StreamStart

pytestmark = pytest.mark.unit

STREAM, CALL = "2f1c0000-0000-4000-8000-000000000000", "v3:call"
CONNECTED = {"event": "connected", "version": "1.0.0"}
START: dict[str, Any] = {
    "event": "start",
    "sequence_number": "1",
    "stream_id": STREAM,
    "start": {
        "user_id": "u",
        "call_control_id": CALL,
        "call_session_id": "s",
        "from": "+13125550001",
        "to": "+13125550002",
        "tags": ["t1"],
        "client_state": "YWJj",
        "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
    },
}
DTMF = {
    "event": "dtmf",
    "sequence_number": "7",
    "stream_id": STREAM,
    "occurred_at": "2026-01-01T00:00:00.000000Z",
    "dtmf": {"digit": "1"},
}
MARK = {"event": "mark", "sequence_number": "8", "stream_id": STREAM, "mark": {"name": "utt-7"}}
ERROR = {
    "event": "error",
    "stream_id": STREAM,
    "payload": {"code": 100003, "title": "malformed_frame", "detail": "bad"},
}
OLD_ERROR = {
    "event": "error",
    "sequence_number": "3",
    "stream_id": STREAM,
    "error": {"code": "100005", "title": "rate_limit_reached", "detail": "slow down"},
}
STOP = {
    "event": "stop",
    "sequence_number": "9",
    "stream_id": STREAM,
    "stop": {"user_id": "u", "call_control_id": CALL},
}
STARTED = StreamStart(STREAM, CALL, ULAW_8K, None, {})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (CONNECTED, None),
        (START, STARTED),
        (DTMF, StreamDtmf("1", pressed_at_ms=1_767_225_600_000)),
        (DTMF | {"occurred_at": None}, StreamDtmf("1")),
        (MARK, StreamMark("utt-7")),
        (ERROR, StreamComplaint("100003 malformed_frame: bad")),
        (OLD_ERROR, StreamComplaint("100005 rate_limit_reached: slow down")),
        (STOP, StreamStopped()),
        ({"event": "not-invented-yet"}, None),
    ],
)
def test_every_documented_message_is_understood(message: dict[str, Any], said: object) -> None:
    assert TelnyxDialect().read(message) == said


@pytest.mark.parametrize("spelling", ["custom_parameters", "customParameters"])
def test_parameters_are_found_in_either_spelling(spelling: str) -> None:
    said = TelnyxDialect().read(START | {"start": START["start"] | {spelling: {"token": "f00d"}}})
    assert isinstance(said, StreamStart)
    assert said.token == "f00d"


def test_a_phone_leg_in_a_law_is_heard_in_a_law_and_spoken_to_in_mu_law() -> None:
    media_format = {"encoding": "PCMA", "sample_rate": 8000, "channels": 1}
    said = TelnyxDialect().read(START | {"start": START["start"] | {"media_format": media_format}})
    assert isinstance(said, StreamStart)
    assert said.audio == ALAW_8K
    assert TelnyxDialect().outgoing(said) == ULAW_8K


@pytest.mark.parametrize("sent", SENDABLE, ids=str)
def test_what_is_sent_is_what_was_asked_for_whatever_is_heard(sent: AudioFormat) -> None:
    for heard in (ULAW_8K, ALAW_8K, PCM16_8K):
        started = StreamStart(STREAM, CALL, heard, None, {})
        assert TelnyxDialect(sent).outgoing(started) == sent


@pytest.mark.parametrize("sent", [PCM16_8K, AudioFormat("ulaw", 16000)], ids=str)
def test_audio_that_telnyx_does_not_take_is_an_error(sent: AudioFormat) -> None:
    with pytest.raises(CodecError, match="does not take"):
        TelnyxDialect(sent)


def test_linear_audio_is_big_endian_unless_told_otherwise() -> None:
    assert TelnyxDialect().wording(STARTED).big_endian
    assert not TelnyxDialect(big_endian=False).wording(STARTED).big_endian


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"payload": {"code": 100002, "title": "unknown_error"}}, "100002 unknown_error"),
        ({"payload": {"detail": "bad"}}, "bad"),
        ({"payload": "malformed_frame", "error": {"code": "100004"}}, "100004"),
        ({"payload": None, "code": 100003}, "100003"),
        ({"error": [1]}, "no reason given"),
        ({}, "no reason given"),
    ],
)
def test_an_error_in_any_shape_is_a_complaint(fields: dict[str, Any], text: str) -> None:
    assert TelnyxDialect().read({"event": "error", **fields}) == StreamComplaint(text)


def test_keys_that_come_out_of_order_say_when_they_were_pressed() -> None:
    later = DTMF | {"occurred_at": "2026-01-01T00:00:00.250000Z", "dtmf": {"digit": "2"}}
    said = [TelnyxDialect().read(message) for message in (later, DTMF)]
    keys = [key for key in said if isinstance(key, StreamDtmf)]
    assert (
        "".join(key.digit for key in sorted(keys, key=lambda key: key.pressed_at_ms or 0)) == "12"
    )


def test_a_key_pressed_at_no_time_is_a_codec_error() -> None:
    with pytest.raises(CodecError, match="occurred_at"):
        TelnyxDialect().read(DTMF | {"occurred_at": "yesterday"})


def test_the_stream_id_stands_beside_the_start_not_in_it() -> None:
    with pytest.raises(CodecError, match="stream_id"):
        TelnyxDialect().read({"event": "start", "start": START["start"] | {"stream_id": STREAM}})


@given(
    st.one_of(
        altered(START, DTMF, MARK, ERROR, OLD_ERROR, STOP), st.dictionaries(st.text(), values)
    )
)
def test_whatever_else_comes_is_understood_or_a_codec_error(message: dict[str, Any]) -> None:
    try:
        said = TelnyxDialect().read(message)
    except CodecError:
        return
    if isinstance(said, StreamComplaint):
        assert len(said.text) < 700


def test_only_documented_fields_are_sent() -> None:
    wording = TelnyxDialect().wording(STARTED)
    wire = WireFormat(
        wording.media_head,
        wording.media_tail,
        wording.mark_head,
        wording.mark_tail,
        wording.clear,
    )
    assert orjson.loads(wire.media(b"\xff\xfe\x00")) == {
        "event": "media",
        "media": {"payload": "//4A"},
    }
    assert orjson.loads(wire.mark(b"utt-7")) == {"event": "mark", "mark": {"name": "utt-7"}}
    assert orjson.loads(wire.clear) == {"event": "clear"}
