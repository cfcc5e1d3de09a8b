from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from voicecall.simulator.wire import ProtocolBroken
from voicecall.simulator.wire.reading import (
    keys,
    part,
    payload,
    read_event,
    require,
    require_exactly,
    string,
)

pytestmark = pytest.mark.unit


def read(message: Any) -> dict[str, Any]:
    return read_event(json.dumps(message).encode(), binary=False, known=("media", "clear"))


def test_a_known_event_is_read() -> None:
    assert read({"event": "clear", "more": 1}) == {"event": "clear", "more": 1}


@pytest.mark.parametrize("message", [{}, {"event": "stop"}, {"event": ["media"]}, {"event": None}])
def test_an_unknown_event_is_refused(message: Any) -> None:
    with pytest.raises(ProtocolBroken, match="no such event"):
        read(message)


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [(b"{", "not JSON"), (b"\xff", "not JSON"), (b"[]", "not a JSON object"), (b"", "not JSON")],
)
def test_what_is_no_json_object_is_malformed(raw: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolBroken, match=complaint) as refused:
        read_event(raw, binary=False, known=("media",))
    assert refused.value.fault == "malformed"


def test_a_binary_message_is_refused_whatever_is_in_it() -> None:
    with pytest.raises(ProtocolBroken, match="binary") as refused:
        read_event(b'{"event":"media"}', binary=True, known=("media",))
    assert refused.value.fault == "binary"


def test_fields_that_lack_and_fields_too_many_are_named() -> None:
    require({"a": 1, "b": 2}, {"a"}, "it")
    require_exactly({"a": 1}, {"a"}, "it")
    with pytest.raises(ProtocolBroken, match="it lacks b, c"):
        require({"a": 1}, {"a", "b", "c"}, "it")
    with pytest.raises(ProtocolBroken, match="it lacks b"):
        require_exactly({"a": 1, "x": 2}, {"a", "b"}, "it")
    with pytest.raises(ProtocolBroken, match="it has extra x, y"):
        require_exactly({"a": 1, "y": 2, "x": 2}, {"a"}, "it")


@pytest.mark.parametrize(
    ("message", "complaint"),
    [({}, "the message lacks mark"), ({"mark": "m"}, "mark is not an object")],
)
def test_a_part_is_an_object(message: dict[str, Any], complaint: str) -> None:
    assert part({"mark": {"name": "m"}}, "mark") == {"name": "m"}
    with pytest.raises(ProtocolBroken, match=complaint):
        part(message, "mark")


@pytest.mark.parametrize("found", [{}, {"name": ""}, {"name": 1}, {"name": None}])
def test_a_text_is_there_and_not_empty(found: dict[str, Any]) -> None:
    assert string({"name": "m"}, "name", "mark") == "m"
    with pytest.raises(ProtocolBroken, match="name"):
        string(found, "name", "mark")


def test_keys_are_those_of_a_telephone() -> None:
    assert keys({"dtmf": "09*#AD"}, "dtmf", "it") == "09*#AD"
    for digits in ("E", "1 2", "a", ""):
        with pytest.raises(ProtocolBroken, match="dtmf"):
            keys({"dtmf": digits}, "dtmf", "it")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("f3*/", "not base64"),
        ("f39", "not base64"),
        ("\u00e9", "not base64"),
        ("f38_", "not base64"),
        ("UklGRg==", "a file"),
    ],
)
def test_a_payload_that_cannot_be_played_is_a_fault_of_the_audio(text: str, complaint: str) -> None:
    with pytest.raises(ProtocolBroken, match=complaint) as refused:
        payload({"payload": text})
    assert refused.value.fault == "audio"


def test_a_payload_is_bare_audio() -> None:
    audio = bytes(range(256))
    assert payload({"payload": base64.b64encode(audio).decode()}) == audio
