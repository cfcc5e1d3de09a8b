"""What the simulated Plivo understands of a request, and what it refuses."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from voicecall.ports import ULAW_8K
from voicecall.simulator.exchange import plivo_requests as requests
from voicecall.simulator.exchange.plivo_requests import Arguments, Callback, Refused
from voicecall.simulator.exchange.plivo_xml import Ask, Stream

pytestmark = pytest.mark.unit

URL = "https://voice.example.org/voice/webhook"
CALL: dict[str, Any] = {"from": "+15550000001", "to": "+15550000002", "answer_url": URL}
STREAM: dict[str, Any] = {"service_url": "wss://example.org/media", "bidirectional": True}


def placing(**fields: Any) -> requests.Placing:
    return requests.read_placing(Arguments(CALL | fields))


def test_a_call_has_the_documented_defaults() -> None:
    read = placing()
    assert read == requests.Placing("+15550000001", ("+15550000002",), Callback(URL))
    assert (read.ring_s, read.limit_s, read.machines) == (120, 14_400, None)


def test_a_call_has_everything_that_it_was_given() -> None:
    read = placing(
        to="15550000002<sip:anna@example.org",
        answer_method="GET",
        ring_url=f"{URL}/ring",
        hangup_url=f"{URL}/hangup#rc=5",
        fallback_url=f"{URL}/fallback",
        ring_timeout=30,
        time_limit="600",
        hangup_on_ring=0,
        send_digits="1w2#",
        machine_detection="hangup",
        machine_detection_url=f"{URL}/machine",
        machine_detection_time=2000,
    )
    assert read == requests.Placing(
        "+15550000001",
        ("15550000002", "sip:anna@example.org"),
        Callback(URL, "GET"),
        fallback=Callback(f"{URL}/fallback"),
        ring=Callback(f"{URL}/ring"),
        hangup=Callback(f"{URL}/hangup#rc=5"),
        ring_s=30,
        limit_s=600,
        hangup_on_ring_s=0,
        digits="1w2#",
        machines="hangup",
        machine=Callback(f"{URL}/machine"),
        detection_ms=2000,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"from": None},
        {"from": "anna"},
        {"to": ""},
        {"to": "+15550000002<"},
        {"to": "<".join(["15550000002"] * 1001)},
        {"to": ["15550000002"]},
        {"answer_url": None},
        {"answer_url": "/answer"},
        {"answer_method": "PUT"},
        {"hangup_url": "wss://example.org"},
        {"ring_timeout": -1},
        {"ring_timeout": True},
        {"ring_timeout": "soon"},
        {"time_limit": 0},
        {"send_digits": "12x"},
        {"machine_detection": "perhaps"},
        {"machine_detection_time": 1000},
    ],
)
def test_a_call_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        placing(**fields)
    assert refused.value.status == 400


def test_the_error_has_plivos_shape() -> None:
    answer = requests.not_found().answer()
    body = orjson.loads(answer.body)
    assert (answer.status, body["error"], sorted(body)) == (404, "not found", ["api_id", "error"])


def test_a_transfer_names_whom_to_ask() -> None:
    read = requests.read_transfer(
        Arguments({"legs": "aleg", "aleg_url": URL, "aleg_method": "GET"})
    )
    assert read == Ask("transfer", URL, "GET")


@pytest.mark.parametrize(
    "fields",
    [{}, {"legs": "aleg"}, {"legs": "cleg", "aleg_url": URL}, {"legs": "bleg", "bleg_url": URL}],
)
def test_a_transfer_of_nothing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        requests.read_transfer(Arguments(fields))


def test_a_stream_has_everything_that_it_was_given() -> None:
    read = requests.read_stream(
        Arguments(
            STREAM
            | {
                "content_type": "audio/x-mulaw;rate=8000",
                "extra_headers": "a=1",
                "stream_timeout": 60,
                "status_callback_url": URL,
            }
        )
    )
    assert read == Stream(
        "wss://example.org/media",
        audio=ULAW_8K,
        extra_headers="a=1",
        timeout_s=60,
        status_url=URL,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"service_url": "https://example.org"},
        {"bidirectional": False},
        {"bidirectional": "perhaps"},
        {"audio_track": "both"},
        {"content_type": "audio/x-wav"},
        {"extra_headers": "a_b=1"},
        {"stream_timeout": 0},
    ],
)
def test_a_stream_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        requests.read_stream(Arguments(STREAM | fields))


def test_digits_and_texts_are_checked() -> None:
    assert requests.read_digits(Arguments({"digits": "1w#", "leg": "aleg"})) == "1w#"
    assert requests.read_text(Arguments({"text": "hello"})) == "hello"
    for wrong in ({"digits": "x"}, {"digits": "1", "leg": "bleg"}, {}):
        with pytest.raises(Refused):
            requests.read_digits(Arguments(wrong))
    with pytest.raises(Refused):
        requests.read_text(Arguments({"text": "a" * 3001}))
