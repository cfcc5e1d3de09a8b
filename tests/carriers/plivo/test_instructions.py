from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree as ET

import pytest

from tests.carriers.plivo.requests import CALL, CALL_ID, REQUEST, URL
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers._prompts import Prompts
from voicecall.carriers.plivo import instructions as instructions_module
from voicecall.carriers.plivo.instructions import Instructions, Manner
from voicecall.carriers.plivo.names import CallNames
from voicecall.carriers.plivo.stream import PlivoDialect
from voicecall.ports import ALAW_8K, AudioFormat

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit


class Urls:
    """Counts what it issues."""

    def __init__(self) -> None:
        self.issued: list[str] = []

    def issue(self, call_id: str) -> str:
        self.issued.append(call_id)
        return f"wss://voice.example.org/voice/stream/{len(self.issued):032x}"

    def revoke(self, call_id: str) -> None:
        self.issued.remove(call_id)


def record(
    state: CallState = CallState.ANSWERED, mode: str = "conversation", **metadata: str
) -> CallRecord:
    return CallRecord(
        call_id=CALL_ID,
        provider="plivo",
        direction=Direction.OUTBOUND,
        state=state,
        from_number="+15550001111",
        to_number="+15550002222",
        session_key="voice:15550002222",
        started_at=1,
        metadata={"mode": mode, **metadata},
    )


def instructions(
    urls: Urls | None = None, names: CallNames | None = None, manner: Manner | None = None
) -> Instructions:
    names = CallNames() if names is None else names
    return Instructions(lambda: URL, names=names, prompts=Prompts(), urls=urls, manner=manner)


def elements(answer: bytes) -> list[ET.Element]:
    return list(ET.fromstring(answer))  # noqa: S314  (our own document)


def query(url: str | None) -> dict[str, str]:
    assert url is not None
    assert url.startswith(URL)
    return dict(parse_qsl(urlsplit(url).query))


def test_with_streaming_a_call_is_connected_again_and_again() -> None:
    urls = Urls()
    told = instructions(urls)
    for number in (1, 2):
        stream, wait, redirect = elements(told.next(record(), CALL))
        assert stream.text == f"wss://voice.example.org/voice/stream/{number:032x}"
        assert "extraHeaders" not in stream.attrib
        assert query(stream.attrib["statusCallbackUrl"]) == {"callId": CALL_ID}
        assert (wait.tag, redirect.tag) == ("Wait", "Redirect")
        assert query(redirect.text) == {"callId": CALL_ID}
    assert urls.issued == [CALL_ID, CALL_ID]


def test_the_socket_brings_the_calls_other_name_along() -> None:
    names = CallNames()
    names.learn(REQUEST, CALL)
    stream, *_ = elements(instructions(Urls(), names).next(record(), CALL))
    sent = {
        "event": "start",
        "start": {"callId": CALL, "streamId": "s"},
        "extra_headers": stream.attrib["extraHeaders"],
    }
    # A server that was started since then learns the names from the socket.
    learned = CallNames()
    start = PlivoDialect(learned).read(sent)
    assert getattr(start, "provider_call_id", None) == REQUEST
    assert learned.call_uuid(REQUEST) == CALL


@pytest.mark.parametrize("name", [CALL, "no-uuid-at-all"])
def test_a_name_that_needs_not_or_cannot_travel_stays_here(name: str) -> None:
    names = CallNames()
    names.learn(name, CALL)
    stream, *_ = elements(instructions(Urls(), names).next(record(), CALL))
    assert "extraHeaders" not in stream.attrib


def test_the_stream_is_coded_as_configured() -> None:
    manner = Manner(audio=AudioFormat("pcm16", 16000))
    stream, *_ = elements(instructions(Urls(), manner=manner).next(record(), CALL))
    assert stream.attrib["contentType"] == "audio/x-l16;rate=16000"


def test_a_manner_that_plivo_cannot_stream_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not stream alaw"):
        instructions(Urls(), manner=Manner(audio=ALAW_8K)).next(record(), CALL)


@pytest.mark.parametrize("urls", [None, Urls()])
def test_a_call_that_is_over_is_hung_up(urls: Urls | None) -> None:
    (ended,) = elements(instructions(urls).next(record(CallState.HANGUP_BOT), CALL))
    assert ended.tag == "Hangup"
    assert urls is None or urls.issued == []


def test_without_streaming_a_conversation_is_listened_to() -> None:
    told = instructions(manner=Manner(language="de-DE"))
    listen, redirect = elements(told.next(record(turnToken="7u2n"), CALL))
    asked = query(listen.attrib["action"])
    assert (listen.tag, listen.attrib["language"]) == ("GetInput", "de-DE")
    assert asked == {"callId": CALL_ID, "input": asked["input"], "turn": "7u2n"}
    assert query(redirect.text) == {"callId": CALL_ID}


def test_each_time_of_listening_has_its_own_name() -> None:
    told = instructions()
    inputs = {query(elements(told.next(record(), CALL))[0].get("action"))["input"] for _ in "123"}
    assert len(inputs) == 3


def test_without_streaming_a_notification_waits_to_be_spoken() -> None:
    wait, redirect = elements(instructions().next(record(mode="notify"), CALL))
    assert (wait.tag, wait.attrib) == ("Wait", {"length": "60"})
    assert query(redirect.text) == {"callId": CALL_ID}


def in_loop(case: Callable[[], None]) -> None:
    async def run() -> None:
        case()

    asyncio.run(run())


def test_what_is_to_be_said_is_said_first() -> None:
    def case() -> None:
        told = instructions(manner=Manner(voice="Polly.Joanna", language="en-GB"))
        prompt = told.prompts.put(CALL, "You & me")
        speak, redirect = elements(told.next(record(), CALL))
        assert speak.text == "You & me"
        assert speak.attrib == {"voice": "Polly.Joanna", "language": "en-GB"}
        assert query(redirect.text) == {"callId": CALL_ID, "spoken": prompt.id}

    in_loop(case)


def test_a_call_is_connected_with_whom_it_is_handed_on_to_though_it_is_over_for_us() -> None:
    told = instructions(Urls())
    transfer_id = told.begin_transfer(CALL, "sip:desk@example.com")
    assert query(told.transfer_url(transfer_id)) == {"transfer": transfer_id}
    (dial,) = elements(told.next(record(CallState.COMPLETED), CALL, transfer_id=transfer_id))
    assert (dial.tag, dial.attrib, dial[0].tag) == ("Dial", {}, "User")
    assert dial[0].text == "sip:desk@example.com"


def test_a_transfer_is_one_calls_own_and_cannot_be_made_up() -> None:
    told = instructions()
    transfer_id = told.begin_transfer(CALL, "+15550003333")
    for call_uuid, asked_for in ((REQUEST, transfer_id), (CALL, "0" * 32), (CALL, "")):
        over = told.next(record(CallState.COMPLETED), call_uuid, transfer_id=asked_for)
        assert [each.tag for each in elements(over)] == ["Hangup"]
    told.drop_transfer(transfer_id)
    live = elements(told.next(record(), CALL, transfer_id=transfer_id))
    assert [each.tag for each in live] == ["GetInput", "Redirect"]


def test_the_oldest_transfer_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions_module, "_TRANSFERS_REMEMBERED", 2)
    told = instructions()
    first, *later = (told.begin_transfer(CALL, f"+1555000333{n}") for n in range(3))
    over = record(CallState.COMPLETED)
    assert b"Dial" not in told.next(over, CALL, transfer_id=first)
    assert all(b"Dial" in told.next(over, CALL, transfer_id=each) for each in later)
