"""What the simulated Twilio takes and refuses."""

from __future__ import annotations

import json

import pytest

from voicecall.simulator.exchange import twilio_requests as requests
from voicecall.simulator.exchange.twilio_requests import Machines, Next, Refused, Reports

pytestmark = pytest.mark.unit

URL = "https://calls.example.com/voice"
USUAL = {"To": ["+15550000001"], "From": ["+15550000002"], "Url": [URL]}


def test_what_is_not_said_is_as_documented() -> None:
    assert requests.read_placing(USUAL) == requests.Placing(
        to="+15550000001",
        from_number="+15550000002",
        begin=Next(url=URL),
        reports=Reports(),
        ring_s=60,
        limit_s=14_400,
    )


def test_everything_that_can_be_said_is_read() -> None:
    said = USUAL | {
        "Method": ["GET"],
        "StatusCallback": [f"{URL}/status"],
        "StatusCallbackMethod": ["GET"],
        "StatusCallbackEvent": ["ringing", "answered"],
        "Timeout": ["15"],
        "TimeLimit": ["600"],
        "MachineDetection": ["DetectMessageEnd"],
        "AsyncAmd": ["true"],
        "AsyncAmdStatusCallback": [f"{URL}/machine"],
    }
    placing = requests.read_placing(said)
    assert placing.begin == Next(url=URL, method="GET")
    assert placing.reports == Reports(f"{URL}/status", "GET", frozenset({"ringing", "answered"}))
    assert (placing.ring_s, placing.limit_s) == (15, 600)
    assert placing.machines == Machines("DetectMessageEnd", True, f"{URL}/machine")


def test_a_url_wins_over_a_document() -> None:
    placing = requests.read_placing(USUAL | {"Twiml": ["<Response/>"]})
    assert placing.begin == Next(url=URL)
    inline = requests.read_placing(USUAL | {"Url": [""], "Twiml": ["<Response/>"]})
    assert inline.begin == Next(twiml="<Response/>")


def test_keys_on_answer_leave_no_silence_to_detect_machines_in() -> None:
    said = USUAL | {"SendDigits": ["1w#"], "MachineDetection": ["Enable"]}
    placing = requests.read_placing(said)
    assert (placing.digits, placing.machines) == ("1w#", None)


def test_addresses_need_not_be_numbers() -> None:
    placing = requests.read_placing(USUAL | {"To": ["sip:bob@example.com"]})
    assert placing.to == "sip:bob@example.com"


def test_events_of_an_unknown_kind_are_remarked_upon_and_none_is_reported() -> None:
    said = USUAL | {"StatusCallback": [URL], "StatusCallbackEvent": ["initiated ringing"]}
    placing = requests.read_placing(said)
    assert placing.reports.events == frozenset()
    assert placing.remarks[0].startswith("21626")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"To": ""}, 21201),
        ({"From": ""}, 21213),
        ({"To": "5550001"}, 21211),
        ({"To": "+1555000000x"}, 21211),
        ({"From": "me"}, 21212),
        ({"Url": ""}, 21205),
        ({"Url": "calls.example.com/voice"}, 21205),
        ({"Url": "http://[broken/voice"}, 21205),
        ({"Url": f"{URL}?{'x' * 4000}"}, 21205),
        ({"Method": "PUT"}, 21209),
        ({"StatusCallback": "nowhere"}, 21609),
        ({"SendDigits": "12a"}, 21206),
        ({"SendDigits": "1" * 33}, 21206),
        ({"Timeout": "0"}, 21208),
        ({"Timeout": "601"}, 21208),
        ({"Timeout": "soon"}, 21208),
        ({"Url": "", "Twiml": "x" * 4001}, 20001),
        ({"MachineDetection": "perhaps"}, 20001),
    ],
)
def test_what_makes_no_sense_is_refused_with_twilios_code(said: dict[str, str], code: int) -> None:
    with pytest.raises(Refused) as caught:
        requests.read_placing(USUAL | {name: [value] for name, value in said.items()})
    assert (caught.value.code, caught.value.status) == (code, 400)


def test_a_change_is_of_status_or_of_instructions() -> None:
    assert requests.read_change({"Status": ["completed"]}) == requests.Change("completed")
    assert requests.read_change({"Url": [URL]}) == requests.Change(begin=Next(url=URL))
    assert requests.read_change({"Twiml": ["<Response/>"]}) == requests.Change(
        begin=Next(twiml="<Response/>")
    )


@pytest.mark.parametrize(
    ("said", "code"), [({"Status": "paused"}, 20001), ({"Method": "POST"}, 21205), ({}, 21205)]
)
def test_a_change_that_makes_no_sense_is_refused(said: dict[str, str], code: int) -> None:
    with pytest.raises(Refused) as caught:
        requests.read_change({name: [value] for name, value in said.items()})
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "code", "answered"),
    [(500, None, 20500), (404, None, 20404), (429, None, 20429), (400, 10004, 10004)],
)
def test_an_error_on_demand_has_twilios_shape(status: int, code: int | None, answered: int) -> None:
    answer = requests.out_of_order(status, code).answer()
    body = json.loads(answer.body)
    assert (answer.status, body["status"], body["code"]) == (status, status, answered)
    assert body.keys() == {"code", "message", "more_info", "status"}
    assert ("Retry-After" in answer.headers) == (status == 429)
