from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.carriers.json_values import altered, values
from voicecall.simulator.wire import (
    ClearAudio,
    PlaceMark,
    PlayAudio,
    ProtocolBroken,
    StreamIdentity,
    Wire,
)
from voicecall.simulator.wire.twilio import TwilioWire

pytestmark = pytest.mark.unit

SID = "MZ1"
MEDIA = {"event": "media", "streamSid": SID, "media": {"payload": "f39/"}}
MARK = {"event": "mark", "streamSid": SID, "mark": {"name": "m"}}
CLEAR = {"event": "clear", "streamSid": SID}
FRAME = bytes(range(160))


def wire() -> TwilioWire:
    return TwilioWire(StreamIdentity("CA1", "AC1", SID, {"token": "t"}))


def parse(message: Any) -> object:
    return wire().parse(json.dumps(message).encode())


def said(messages: list[bytes]) -> list[Any]:
    return [json.loads(message) for message in messages]


def test_it_is_a_wire() -> None:
    made: Wire = wire()
    assert (made.call_id, made.stream_id, made.marks_after_clear) == ("CA1", SID, True)


def test_the_opening_is_the_carriers_to_the_letter() -> None:
    assert said(wire().opening()) == [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": SID,
            "start": {
                "accountSid": "AC1",
                "callSid": "CA1",
                "streamSid": SID,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"token": "t"},
            },
        },
    ]


def test_everything_after_it_is_too() -> None:
    made = wire()
    made.opening()
    head = {"streamSid": SID}
    assert said([*made.media(FRAME, 20), *made.dtmf("5"), *made.mark("m"), *made.stop()]) == [
        head
        | {
            "event": "media",
            "sequenceNumber": "2",
            "media": {
                "track": "inbound",
                "chunk": "1",
                "timestamp": "20",
                "payload": base64.b64encode(FRAME).decode(),
            },
        },
        head
        | {
            "event": "dtmf",
            "sequenceNumber": "3",
            "dtmf": {"track": "inbound_track", "digit": "5"},
        },
        head | {"event": "mark", "sequenceNumber": "4", "mark": {"name": "m"}},
        head
        | {
            "event": "stop",
            "sequenceNumber": "5",
            "stop": {"accountSid": "AC1", "callSid": "CA1"},
        },
    ]
    assert made.cleared() == made.complaint(ProtocolBroken("no")) == []


def test_chunks_count_media_alone() -> None:
    made = wire()
    messages = [*made.media(FRAME, 20), *made.dtmf("1"), *made.media(FRAME, 40)]
    chunks = [message["media"]["chunk"] for message in said(messages) if "media" in message]
    assert chunks == ["1", "2"]


def test_what_the_documentation_shows_is_accepted() -> None:
    assert parse(MEDIA) == PlayAudio(b"\x7f\x7f\x7f")
    assert parse(MARK) == PlaceMark("m")
    assert parse(CLEAR) == ClearAudio()


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"event": "stop", "streamSid": SID}, "no such event"),
        ({"event": "clear"}, "the message lacks streamSid"),
        (CLEAR | {"streamSid": "MZ2"}, "another stream"),
        (CLEAR | {"track": "inbound"}, "has extra track"),
        (MARK | {"mark": {}}, "mark lacks name"),
        (MARK | {"mark": {"name": ""}}, "mark.name"),
        (MARK | {"mark": {"name": "m", "at": 1}}, "mark has extra at"),
        (MARK | {"mark": "m"}, "mark is not an object"),
        (MEDIA | {"media": {"payload": "UklGRg=="}}, "a file"),
        (MEDIA | {"media": {"payload": "f39/", "chunk": "1"}}, "media has extra chunk"),
    ],
)
def test_anything_else_is_an_invalid_message(message: Any, complaint: str) -> None:
    with pytest.raises(ProtocolBroken, match=complaint) as refused:
        parse(message)
    assert TwilioWire.codes[refused.value.fault] == 31951


def test_a_binary_message_is_undecodable() -> None:
    with pytest.raises(ProtocolBroken) as refused:
        wire().parse(json.dumps(CLEAR).encode(), binary=True)
    assert TwilioWire.codes[refused.value.fault] == 31950


@given(st.one_of(altered(MEDIA, MARK, CLEAR), st.dictionaries(st.text(), values)))
def test_whatever_comes_is_understood_or_refused(message: dict[str, Any]) -> None:
    with suppress(ProtocolBroken):
        parse(message)


def test_another_stream_of_the_call_has_a_fresh_id_and_counts_anew() -> None:
    first = wire()
    first.opening()
    again = first.again()
    assert again.stream_id not in {first.stream_id, first.again().stream_id}
    assert again.stream_id.startswith("MZ")
    assert len(again.stream_id) == 34
    start = said(again.opening())[1]
    assert start["sequenceNumber"] == "1"
    assert start["start"]["callSid"] == "CA1"
    assert start["start"]["customParameters"] == {"token": "t"}
