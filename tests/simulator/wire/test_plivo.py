from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.carriers.json_values import altered, values
from voicecall.clock import ManualClock
from voicecall.ports import PCM16_8K
from voicecall.simulator.wire import (
    ClearAudio,
    PlaceMark,
    PlayAudio,
    PressKeys,
    ProtocolBroken,
    StreamIdentity,
    Wire,
)
from voicecall.simulator.wire.line import PCM16_16K
from voicecall.simulator.wire.plivo import CONTENT_TYPES, PlivoOptions, PlivoWire

pytestmark = pytest.mark.unit

STREAM, CALL = "22220000-0000-4000-8000-000000000000", "11110000-0000-4000-8000-000000000000"
NOW_MS = 1_705_312_200_000
FRAME = bytes(range(160))
BODY = {
    "contentType": "audio/x-mulaw",
    "sampleRate": 8000,
    "payload": base64.b64encode(FRAME).decode(),
}
PLAY = {"event": "playAudio", "media": BODY}
CHECKPOINT = {"event": "checkpoint", "streamId": STREAM, "name": "m"}
CLEAR = {"event": "clearAudio", "streamId": STREAM}
KEYS = {"event": "sendDTMF", "dtmf": "12#"}


def wire(
    clock: ManualClock | None = None, parameters: dict[str, str] | None = None, **options: Any
) -> PlivoWire:
    identity = StreamIdentity(CALL, "MA1", STREAM, parameters or {})
    clock = clock or ManualClock(wall_ms=NOW_MS)
    return PlivoWire(identity, PlivoOptions(**options), clock=clock)


def said(messages: list[bytes]) -> list[Any]:
    return [json.loads(message) for message in messages]


def parse(message: Any, **options: Any) -> object:
    return wire(**options).parse(json.dumps(message).encode())


def play(**changed: Any) -> dict[str, Any]:
    body = {key: value for key, value in (BODY | changed).items() if value is not None}
    return {"event": "playAudio", "media": body}


def test_it_is_a_wire() -> None:
    made: Wire = wire(audio=PCM16_8K)
    assert (made.call_id, made.stream_id, made.audio) == (CALL, STREAM, PCM16_8K)
    assert not made.marks_after_clear


def test_the_opening_is_the_carriers_to_the_letter() -> None:
    assert said(wire(parameters={"session": "abc"}).opening()) == [
        {
            "event": "start",
            "sequenceNumber": 1,
            "start": {
                "callId": CALL,
                "streamId": STREAM,
                "accountId": "MA1",
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
            },
            "extra_headers": "session=abc",
        }
    ]


def test_everything_after_it_is_too() -> None:
    clock = ManualClock(wall_ms=NOW_MS)
    made = wire(clock, {"session": "abc"})
    made.opening()
    clock.advance_ms(50)
    head = {"streamId": STREAM}
    sent = [*made.media(FRAME, 40), *made.dtmf("5"), *made.mark("m"), *made.cleared()]
    assert said(sent) == [
        head
        | {
            "event": "media",
            "sequenceNumber": 2,
            "media": {
                "track": "inbound",
                "timestamp": "1705312200040",
                "chunk": 1,
                "payload": base64.b64encode(FRAME).decode(),
            },
            "extra_headers": "session=abc",
        },
        head
        | {
            "event": "dtmf",
            "sequenceNumber": 3,
            "dtmf": {"track": "inbound", "digit": "5", "timestamp": "1705312200050"},
            "extra_headers": "session=abc",
        },
        head | {"event": "playedStream", "sequenceNumber": 4, "name": "m"},
        head | {"event": "clearedAudio", "sequenceNumber": 5},
    ]
    assert made.stop() == made.complaint(ProtocolBroken("no")) == []


def test_timestamps_may_count_from_the_start_of_the_stream() -> None:
    clock = ManualClock(wall_ms=NOW_MS)
    made = wire(clock, epoch=False)
    clock.advance_ms(70)
    audio, key = said([*made.media(FRAME, 40), *made.dtmf("5")])
    assert (audio["media"]["timestamp"], key["dtmf"]["timestamp"]) == ("40", "70")


@pytest.mark.parametrize(
    ("form", "written"),
    [("commas", "a=1,b=2"), ("semicolons", "a=1;b=2"), ("json", '{"a":"1","b":"2"}')],
)
def test_extra_headers_are_a_text_in_one_of_three_forms(form: Any, written: str) -> None:
    made = wire(parameters={"a": "1", "b": "2"}, headers_form=form)
    assert said(made.opening())[0]["extra_headers"] == written
    assert said(wire(headers_form=form).opening())[0]["extra_headers"] == ""


@pytest.mark.parametrize(
    ("content_type", "encoding", "rate_hz", "octets"),
    [
        ("audio/x-mulaw;rate=8000", "audio/x-mulaw", 8000, 160),
        ("audio/x-l16;rate=8000", "audio/x-l16", 8000, 320),
        ("audio/x-l16;rate=16000", "audio/x-l16", 16000, 640),
    ],
)
def test_the_start_names_the_format_that_the_media_have(
    content_type: str, encoding: str, rate_hz: int, octets: int
) -> None:
    made = wire(audio=CONTENT_TYPES[content_type])
    start = said(made.opening())[0]["start"]
    assert start["mediaFormat"] == {"encoding": encoding, "sampleRate": rate_hz}
    message = said(made.media(FRAME, 20))[0]
    assert len(base64.b64decode(message["media"]["payload"])) == octets


def test_what_only_the_examples_know_is_said_when_asked_for() -> None:
    made = wire(undocumented=True)
    assert said([*made.complaint(ProtocolBroken("not JSON")), *made.stop()]) == [
        {"event": "playFailed", "sequenceNumber": 1, "streamId": STREAM, "reason": "not JSON"},
        {"event": "stop", "sequenceNumber": 2, "streamId": STREAM},
    ]


def test_what_the_documentation_shows_is_accepted() -> None:
    assert parse(PLAY) == PlayAudio(FRAME)
    assert parse(CHECKPOINT) == PlaceMark("m")
    assert parse(CLEAR) == ClearAudio()
    assert parse(KEYS) == PressKeys("12#")


def test_what_plivos_examples_do_is_accepted() -> None:
    assert parse({"event": "clearAudio"}) == ClearAudio()
    assert parse(PLAY | {"streamId": STREAM}) == PlayAudio(FRAME)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"event": "media"}, "no such event"),
        ({"event": "playAudio"}, "the message lacks media"),
        (play(contentType="audio/x-mulaw;rate=8000"), "contentType is not audio/x-mulaw"),
        (play(contentType="audio/x-l16"), "contentType is not audio/x-mulaw"),
        (play(contentType=None), "media lacks contentType"),
        (play(sampleRate=None), "media lacks sampleRate"),
        (play(sampleRate="8000"), "sampleRate is not 8000"),
        (play(sampleRate=16000), "sampleRate is not 8000"),
        (play(payload="f3*/"), "not base64"),
        ({"event": "checkpoint", "name": "m"}, "the message lacks streamId"),
        (CHECKPOINT | {"name": ""}, "checkpoint.name"),
        (CHECKPOINT | {"streamId": CALL}, "another stream"),
        (CLEAR | {"streamId": CALL}, "another stream"),
        ({"event": "sendDTMF"}, "sendDTMF lacks dtmf"),
        (KEYS | {"dtmf": "x"}, "keys 0-9"),
    ],
)
def test_anything_else_is_refused_with_the_reason(message: Any, complaint: str) -> None:
    with pytest.raises(ProtocolBroken, match=complaint):
        parse(message)


def test_a_binary_message_is_refused() -> None:
    with pytest.raises(ProtocolBroken, match="binary"):
        wire().parse(json.dumps(CLEAR).encode(), binary=True)


def test_linear_audio_has_the_low_octet_first() -> None:
    payload = base64.b64encode(b"\xff\x7f" * 160).decode()
    message = play(contentType="audio/x-l16", payload=payload)
    assert parse(message, audio=PCM16_8K) == PlayAudio(b"\x80" * 160)
    with pytest.raises(ProtocolBroken, match="sampleRate is not 16000"):
        parse(message, audio=PCM16_16K)


@given(st.one_of(altered(PLAY, CHECKPOINT, CLEAR, KEYS), st.dictionaries(st.text(), values)))
def test_whatever_comes_is_understood_or_refused(message: dict[str, Any]) -> None:
    with suppress(ProtocolBroken):
        parse(message)


def test_another_stream_of_the_call_has_a_fresh_id_and_counts_anew() -> None:
    first = wire(parameters={"a": "1"}, audio=PCM16_8K)
    first.opening()
    again = first.again()
    assert again.stream_id not in {first.stream_id, first.again().stream_id}
    (start,) = said(again.opening())
    assert (start["sequenceNumber"], start["start"]["streamId"]) == (1, again.stream_id)
    assert (start["start"]["callId"], start["extra_headers"]) == (CALL, "a=1")
    assert again.audio == PCM16_8K
