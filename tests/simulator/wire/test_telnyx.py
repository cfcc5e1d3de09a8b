from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.carriers.json_values import altered, values
from voicecall.clock import ManualClock
from voicecall.ports import ALAW_8K, PCM16_8K
from voicecall.simulator.wire import (
    ClearAudio,
    PlaceMark,
    PlayAudio,
    ProtocolBroken,
    StreamIdentity,
    Wire,
)
from voicecall.simulator.wire.line import PCM16_16K
from voicecall.simulator.wire.telnyx import CODECS, TelnyxOptions, TelnyxWire

pytestmark = pytest.mark.unit

STREAM, CALL = "2f1c0000-0000-4000-8000-000000000000", "v3:call"
FRAME = bytes(range(160))
MEDIA = {"event": "media", "media": {"payload": base64.b64encode(FRAME).decode()}}
MARK = {"event": "mark", "mark": {"name": "m"}}
CLEAR = {"event": "clear"}


def wire(clock: ManualClock | None = None, **options: Any) -> TelnyxWire:
    identity = StreamIdentity(CALL, "user", STREAM)
    return TelnyxWire(identity, TelnyxOptions(**options), clock=clock or ManualClock())


def said(messages: list[bytes]) -> list[Any]:
    return [json.loads(message) for message in messages]


def parse(message: Any, **options: Any) -> object:
    return wire(**options).parse(json.dumps(message).encode())


def media(audio: bytes) -> dict[str, Any]:
    return {"event": "media", "media": {"payload": base64.b64encode(audio).decode()}}


def numbers(messages: list[bytes]) -> list[int]:
    return [int(message["sequence_number"]) for message in said(messages)]


def test_it_is_a_wire() -> None:
    made: Wire = wire(sends=ALAW_8K)
    assert (made.call_id, made.stream_id, made.audio) == (CALL, STREAM, ALAW_8K)
    assert made.marks_after_clear


def test_the_opening_is_the_carriers_to_the_letter() -> None:
    made = wire(
        session_id="s", from_number="+13125550001", to_number="+13125550002", client_state="YWJj"
    )
    assert said(made.opening()) == [
        {"event": "connected", "version": "1.0.0"},
        {
            "event": "start",
            "sequence_number": "1",
            "stream_id": STREAM,
            "start": {
                "user_id": "user",
                "call_control_id": CALL,
                "call_session_id": "s",
                "from": "+13125550001",
                "to": "+13125550002",
                "tags": [],
                "client_state": "YWJj",
                "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
            },
        },
    ]


def test_what_was_not_attached_to_the_call_is_not_in_the_start() -> None:
    assert {"client_state", "custom_parameters"}.isdisjoint(said(wire().opening())[1]["start"])
    made = TelnyxWire(StreamIdentity(CALL, "user", parameters={"a": "1"}))
    assert said(made.opening())[1]["start"]["custom_parameters"] == {"a": "1"}


@pytest.mark.parametrize(
    ("codec", "rate_hz", "octets"), [("PCMU", 8000, 160), ("PCMA", 8000, 160), ("L16", 16000, 640)]
)
def test_the_start_names_the_codec_that_the_media_have(
    codec: str, rate_hz: int, octets: int
) -> None:
    made = wire(sends=CODECS[codec])
    start = said(made.opening())[1]["start"]
    assert start["media_format"] == {"encoding": codec, "sample_rate": rate_hz, "channels": 1}
    message = said(made.media(FRAME, 20))[0]
    assert len(base64.b64decode(message["media"]["payload"])) == octets


def test_everything_after_it_is_the_carriers_too() -> None:
    made = wire(ManualClock(wall_ms=1_767_225_600_250))
    made.opening()
    head = {"stream_id": STREAM}
    assert said([*made.media(FRAME, 20), *made.dtmf("5"), *made.mark("m"), *made.stop()]) == [
        head
        | {
            "event": "media",
            "sequence_number": "2",
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
            "sequence_number": "3",
            "occurred_at": "2026-01-01T00:00:00.250000Z",
            "dtmf": {"digit": "5"},
        },
        head | {"event": "mark", "sequence_number": "4", "mark": {"name": "m"}},
        head
        | {
            "event": "stop",
            "sequence_number": "5",
            "stop": {"user_id": "user", "call_control_id": CALL},
        },
    ]
    assert made.cleared() == []


def test_every_so_many_media_messages_two_change_places() -> None:
    made = wire(swap_every=4)
    sent = [message for frame in range(10) for message in made.media(FRAME, 20 * frame)]
    chunks = [int(message["media"]["chunk"]) for message in said(sent)]
    assert chunks == [1, 2, 3, 5, 4, 6, 7, 9, 8, 10]
    assert numbers(sent) == chunks
    stamps = [int(message["media"]["timestamp"]) for message in said(sent)]
    assert stamps == [20 * (chunk - 1) for chunk in chunks]


def test_with_every_message_to_be_swapped_none_is_held_twice() -> None:
    made = wire(swap_every=1)
    sent = [message for frame in range(6) for message in made.media(FRAME, 20 * frame)]
    assert numbers(sent) == [2, 1, 4, 3, 6, 5]


def test_media_that_is_held_back_comes_before_the_stop() -> None:
    made = wire(swap_every=2)
    sent = [*made.media(FRAME, 0), *made.media(FRAME, 20)]
    assert numbers(sent) == [1]
    assert [message["event"] for message in said(made.stop())] == ["media", "stop"]


def test_of_two_keys_the_second_may_come_first_and_says_so() -> None:
    clock = ManualClock()
    made = wire(clock, keys_swapped=True)
    assert made.dtmf("1") == []
    clock.advance_ms(200)
    second, first = said(made.dtmf("2"))
    assert (second["dtmf"]["digit"], first["dtmf"]["digit"]) == ("2", "1")
    assert second["occurred_at"] > first["occurred_at"]


def test_a_single_key_that_is_held_back_comes_after_300_ms_of_audio() -> None:
    made = wire(keys_swapped=True)
    made.media(FRAME, 20)
    assert made.dtmf("1") == []
    early = [message for frame in range(2, 16) for message in made.media(FRAME, 20 * frame)]
    assert {message["event"] for message in said(early)} == {"media"}
    assert [message["event"] for message in said(made.media(FRAME, 320))] == ["media", "dtmf"]
    assert [message["event"] for message in said(made.media(FRAME, 340))] == ["media"]


def test_a_key_that_is_held_back_comes_before_the_stop() -> None:
    made = wire(keys_swapped=True)
    made.dtmf("1")
    assert [message["event"] for message in said(made.stop())] == ["dtmf", "stop"]


def test_what_the_documentation_shows_is_accepted() -> None:
    assert parse(MEDIA) == PlayAudio(FRAME)
    assert parse(MARK) == PlaceMark("m")
    assert parse(CLEAR) == ClearAudio()
    # No document forbids it, and clients in the field do it.
    assert parse(CLEAR | {"stream_id": STREAM}) == ClearAudio()


@pytest.mark.parametrize(
    ("message", "complaint", "code"),
    [
        ({"event": "stop"}, "no such event", 100003),
        ({"event": "mark"}, "the message lacks mark", 100003),
        ({"event": "mark", "mark": {"name": ""}}, "mark.name", 100003),
        ({"event": "media", "media": {}}, "media lacks payload", 100003),
        ({"event": "media", "media": {"payload": "f3*/"}}, "not base64", 100004),
        (media(b"\xff" * 159), "lasts 19.875 ms", 100004),
        (media(b"\xff" * 240_001), "lasts 30000.1 ms", 100004),
    ],
)
def test_anything_else_is_refused_with_the_carriers_code(
    message: Any, complaint: str, code: int
) -> None:
    with pytest.raises(ProtocolBroken, match=complaint) as refused:
        parse(message)
    assert TelnyxWire.codes[refused.value.fault] == code


def test_a_message_of_20_ms_to_30_s_is_played_whole() -> None:
    assert parse(media(b"\x80" * 160)) == PlayAudio(b"\x80" * 160)
    assert parse(media(b"\x80" * 240_000)) == PlayAudio(b"\x80" * 240_000)


def test_a_binary_message_is_malformed() -> None:
    with pytest.raises(ProtocolBroken) as refused:
        wire().parse(b"{}", binary=True)
    assert TelnyxWire.codes[refused.value.fault] == 100003


def test_bare_audio_is_not_played_in_mp3_mode() -> None:
    with pytest.raises(ProtocolBroken, match="mp3"):
        parse(MEDIA, mode="mp3")


def test_the_servers_audio_is_read_in_the_codec_that_was_asked_for() -> None:
    assert parse(media(b"\xd5" * 160), takes=ALAW_8K) == PlayAudio(b"\xfe" * 160)
    high = parse(media(b"\x7f\xff" * 160), takes=PCM16_8K)
    assert high == PlayAudio(b"\x80" * 160)
    assert parse(media(b"\xff\x7f" * 160), takes=PCM16_8K, big_endian=False) == high
    with pytest.raises(ProtocolBroken, match="lasts 10 ms"):
        parse(media(b"\0" * 320), takes=PCM16_16K)
    with pytest.raises(ProtocolBroken, match="middle of a sample"):
        parse(media(b"\0" * 641), takes=PCM16_16K)


def test_a_complaint_has_the_shape_of_the_current_documents() -> None:
    assert said(wire().complaint(ProtocolBroken("not JSON"))) == [
        {
            "event": "error",
            "stream_id": STREAM,
            "payload": {"code": 100003, "title": "malformed_frame", "detail": "not JSON"},
        }
    ]


def test_a_complaint_may_have_the_shape_of_the_older_documents() -> None:
    assert said(wire(old_errors=True).complaint(ProtocolBroken("not base64", "audio"))) == [
        {
            "event": "error",
            "sequence_number": "1",
            "stream_id": STREAM,
            "error": {"code": "100004", "title": "invalid_media", "detail": "not base64"},
        }
    ]


@given(st.one_of(altered(MEDIA, MARK, CLEAR), st.dictionaries(st.text(), values)))
def test_whatever_comes_is_understood_or_refused(message: dict[str, Any]) -> None:
    made = wire()
    try:
        made.parse(json.dumps(message).encode())
    except ProtocolBroken as broken:
        json.loads(made.complaint(broken)[0])


def test_another_stream_of_the_call_has_a_fresh_id_and_counts_anew() -> None:
    first = wire(sends=ALAW_8K, session_id="s")
    first.opening()
    again = first.again()
    assert again.stream_id not in {first.stream_id, first.again().stream_id}
    start = said(again.opening())[1]
    assert (start["sequence_number"], start["stream_id"]) == ("1", again.stream_id)
    assert start["start"]["call_control_id"] == CALL
    assert start["start"]["call_session_id"] == "s"
    assert again.audio == ALAW_8K
