from __future__ import annotations

import json
from typing import Any

import pytest

from voicecall.errors import CodecError
from voicecall.simulator.wire import (
    CarrierMessages,
    ClearAudio,
    PlaceMark,
    PlayAudio,
    StreamIdentity,
    fresh_stream_sid,
    parse_server_message,
)

pytestmark = pytest.mark.unit

SID = "MZ1"


def parse(message: Any) -> object:
    return parse_server_message(json.dumps(message).encode(), SID)


def test_what_the_documentation_shows_is_accepted() -> None:
    media = {"event": "media", "streamSid": SID, "media": {"payload": "f39/"}}
    assert parse(media) == PlayAudio(b"\x7f\x7f\x7f")
    assert parse({"event": "mark", "streamSid": SID, "mark": {"name": "m"}}) == PlaceMark("m")
    assert parse({"event": "clear", "streamSid": SID}) == ClearAudio()


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ([], "not a JSON object"),
        ({"streamSid": SID}, "no such event"),
        ({"event": ["media"], "streamSid": SID}, "no such event"),
        ({"event": "stop", "streamSid": SID}, "no such event"),
        ({"event": "clear"}, "the message lacks streamSid"),
        ({"event": "clear", "streamSid": "MZ2"}, "another stream"),
        ({"event": "clear", "streamSid": SID, "track": "inbound"}, "has extra track"),
        ({"event": "mark", "streamSid": SID, "mark": {}}, "mark lacks name"),
        ({"event": "mark", "streamSid": SID, "mark": {"name": ""}}, "mark.name"),
        ({"event": "mark", "streamSid": SID, "mark": {"name": 1}}, "mark.name"),
        ({"event": "mark", "streamSid": SID, "mark": "m"}, "mark is not an object"),
        ({"event": "media", "streamSid": SID, "media": {"payload": "f3*/"}}, "not base64"),
        ({"event": "media", "streamSid": SID, "media": {"payload": "f39"}}, "not base64"),
        ({"event": "media", "streamSid": SID, "media": {"payload": "\u00e9"}}, "not base64"),
        ({"event": "media", "streamSid": SID, "media": {"payload": "UklGRg=="}}, "a file"),
        (
            {"event": "media", "streamSid": SID, "media": {"payload": "f39/", "chunk": "1"}},
            "media has extra chunk",
        ),
    ],
)
def test_anything_else_is_refused_with_the_reason(message: Any, complaint: str) -> None:
    with pytest.raises(CodecError, match=complaint):
        parse(message)


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(CodecError, match="not JSON"):
        parse_server_message(b"{", SID)


def test_numbers_count_messages_and_chunks_count_media() -> None:
    messages = CarrierMessages(StreamIdentity("CA1", "AC1", SID))
    assert "sequenceNumber" not in json.loads(messages.connected())
    sent = [
        json.loads(raw)
        for raw in (
            messages.start(),
            messages.media(b"\xff", 20),
            messages.dtmf("1"),
            messages.media(b"\xff", 40),
            messages.mark("m"),
            messages.stop(),
        )
    ]
    assert [message["sequenceNumber"] for message in sent] == ["1", "2", "3", "4", "5", "6"]
    assert [m["media"]["chunk"] for m in sent if m["event"] == "media"] == ["1", "2"]


def test_stream_ids_are_fresh_and_look_like_the_carriers() -> None:
    first, second = fresh_stream_sid(), fresh_stream_sid()
    assert first != second
    assert first.startswith("MZ")
    assert len(first) == 34
