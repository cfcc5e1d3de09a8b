from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest

from tests.call.calls import record
from voicecall.call.record import TERMINAL_STATES, CallState
from voicecall.carriers._prompts import Prompts
from voicecall.carriers.twilio.instructions import MAX_STREAMS, Instructions, Manner

pytestmark = pytest.mark.unit

HOOK = "https://calls.example.com/voice/webhook"


class Urls:
    """Streams to a URL with a counter for a token."""

    def __init__(self) -> None:
        self.issued: list[str] = []

    def issue(self, call_id: str) -> str:
        self.issued.append(call_id)
        return f"wss://calls.example.com/voice/stream/t{len(self.issued)}"

    def revoke(self, call_id: str) -> None:
        raise AssertionError(call_id)


def made(urls: Urls | None = None, **changes: Any) -> Instructions:
    return Instructions(HOOK, urls=urls, prompts=Prompts(), **changes)


def verbs(document: str) -> list[ET.Element]:
    return list(ET.fromstring(document))  # noqa: S314  (what we have written ourselves)


def tags(document: str) -> list[str]:
    return [verb.tag for verb in verbs(document)]


def asked(verb: ET.Element) -> dict[str, str]:
    """What the query of the URL in a `<Redirect>` or `<Gather>` says."""
    url = verb.get("action") or verb.text or ""
    assert url.startswith(HOOK)
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES))
def test_a_call_that_is_over_is_hung_up_or_not_even_picked_up(state: CallState) -> None:
    for urls in (None, Urls()):
        call = record(state)
        assert tags(made(urls).next(call, answered=True)) == ["Hangup"]
        assert tags(made(urls).next(call, answered=False)) == ["Reject"]
        assert urls is None or urls.issued == []


def test_a_call_that_is_not_known_or_was_refused_is_treated_the_same() -> None:
    assert tags(made().next(None, answered=True)) == ["Hangup"]
    assert tags(made(Urls()).next(None, answered=False)) == ["Reject"]


@pytest.mark.parametrize("answered", [False, True])
def test_a_live_call_is_connected_to_a_stream_of_its_own_token(answered: bool) -> None:
    urls = Urls()
    connect, again = verbs(made(urls).next(record(), answered=answered))
    (stream,) = connect
    (parameter,) = stream
    assert stream.get("url") == "wss://calls.example.com/voice/stream/t1"
    assert parameter.attrib == {"name": "token", "value": "t1"}
    assert stream.get("statusCallback") == f"{HOOK}?callId=call-1&kind=stream"
    assert asked(again)["callId"] == "call-1"
    assert asked(again)["stream"] == "1"
    assert urls.issued == ["call-1"]


def test_a_dropped_socket_is_replaced_at_once_and_later_ones_with_care() -> None:
    instructions = made(Urls())
    for had, expected in ((1, ["Connect", "Redirect"]), (2, ["Pause", "Connect", "Redirect"])):
        document = instructions.next(record(), answered=True, streams=had)
        assert tags(document) == expected
        assert asked(verbs(document)[-1])["stream"] == str(had + 1)


def test_a_call_whose_sockets_drop_for_ever_is_hung_up() -> None:
    document = made(Urls()).next(record(), answered=True, streams=MAX_STREAMS)
    assert tags(document) == ["Hangup"]


def test_an_inbound_call_without_stream_is_picked_up_before_anything_is_said() -> None:
    play, ask = verbs(made().next(record(CallState.RINGING), answered=False))
    assert (play.tag, play.get("digits")) == ("Play", "w")
    assert ask.tag == "Redirect"


def test_a_conversation_without_stream_listens_for_the_turn_that_waits() -> None:
    call = record(metadata={"mode": "conversation", "turnToken": "turn-7"})
    gather, ask = verbs(made(manner=Manner(language="de-DE")).next(call, answered=True))
    assert gather.get("language") == "de-DE"
    assert asked(gather)["turn"] == "turn-7"
    assert asked(gather)["callId"] == asked(ask)["callId"] == "call-1"
    call.metadata.pop("turnToken")
    gather, _ = verbs(made().next(call, answered=True))
    assert "turn" not in asked(gather)


def test_a_notification_without_stream_waits_without_listening() -> None:
    call = record(metadata={"mode": "notify"})
    assert tags(made().next(call, answered=True)) == ["Pause", "Redirect"]


def test_no_two_questions_are_the_same_request() -> None:
    instructions = made()
    questions = {
        asked(verb)["once"]
        for _ in range(3)
        for verb in verbs(instructions.next(record(), answered=True))
    }
    assert len(questions) == 6


def test_speech_ends_with_asking() -> None:
    async def case() -> None:
        instructions = made(manner=Manner(voice="Polly.Amy", language="en-GB"))
        prompt = instructions.prompts.put("CA1", "Fish & chips")
        say, ask = verbs(instructions.speech(prompt))
        voice = {"voice": "Polly.Amy", "language": "en-GB"}
        assert (say.text, say.attrib) == ("Fish & chips", voice)
        assert asked(ask) == {"said": prompt.id}
        # A call that asks by itself is told the same, once it can be spoken on.
        same = instructions.next(record(), answered=True, prompt=prompt)
        assert same == instructions.speech(prompt)
        assert "Say" not in tags(instructions.next(record(), answered=False, prompt=prompt))

    asyncio.run(case())


def test_keys_and_silence_end_with_asking() -> None:
    instructions = made()
    assert tags(instructions.keys("12")) == ["Play", "Redirect"]
    assert tags(instructions.silence()) == ["Redirect"]


def test_the_webhook_url_may_become_known_later() -> None:
    instructions = Instructions("", urls=None, prompts=Prompts())
    instructions.webhook_url = HOOK
    assert instructions.callback(callId="1", kind=None) == f"{HOOK}?callId=1"
