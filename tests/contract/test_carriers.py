"""Where carriers differ: what each can do besides, and what it says it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.people import Person
from tests.contract.site import EVERY_WAY, REAL, SPOKEN, STREAMED, THEM, Way, contract, site, words
from tests.hosting import until
from voicecall.config.schema import Config
from voicecall.errors import CarrierError, InvalidRequest, ServeError
from voicecall.server import Server

pytestmark = pytest.mark.socket

BY_REST = tuple(way for way in EVERY_WAY if way.carrier in REAL)
WITH_SIP = tuple(way for way in SPOKEN if way.carrier == "plivo")
WITHOUT_SIP = tuple(way for way in EVERY_WAY if way.carrier != "plivo")
MOST_KEYS = {"twilio": 32, "telnyx": 64}
SHORT_SEQUENCES = tuple(way for way in EVERY_WAY if way.carrier in MOST_KEYS)


@contract(BY_REST)
async def test_an_answering_machine_is_a_hint_on_the_record(way: Way) -> None:
    person = Person(answer="machine")
    async with site(way, person, account={"detectMachines": True}) as it:
        changes = it.server.manager.subscribe()
        record = await it.call("Good day.")
        async for change in changes:
            if change["type"] == "call.error":
                assert "answering machine" in change["message"]
                assert change["retryable"] is True
                break
        assert "answering machine" in record.metadata["lastError"]
        # What to do about it is not for the carrier to say: the message is left.
        await it.transcript(record, "Good day.")
        await until(lambda: person.heard == ["Good day."])
        assert not record.state.terminal


@contract(BY_REST)
async def test_a_person_is_no_machine(way: Way) -> None:
    person = Person("Hello.", "Bye.", stays=0.1)
    answers = {"Hello.": ("Hello yourself.",), "Bye.": ("Bye.",)}
    async with site(way, person, account={"detectMachines": True}, answers=answers) as it:
        record = await it.call("Good day.")
        await it.over(record)
        assert "lastError" not in record.metadata
        assert len(words(record)) == 5


def test_the_mock_carrier_says_that_it_detects_no_machines() -> None:
    with pytest.raises(ValueError, match=r"mock\.detectMachines"):
        Config.model_validate({"mock": {"detectMachines": True}})


def test_the_mock_carrier_says_that_it_has_no_speech_of_its_own() -> None:
    config = Config.model_validate({"streaming": {"enabled": False}})
    with pytest.raises(ServeError, match=r"streaming\.enabled: the mock carrier"):
        Server(config)


@contract(WITHOUT_SIP)
async def test_an_address_that_the_carrier_cannot_call_is_refused(way: Way) -> None:
    async with site(way, Person()) as it:
        with pytest.raises(InvalidRequest, match=r"E\.164"):
            await it.server.manager.initiate("Hi.", "sip:somebody@example.com", "notify")
        assert not it.exchange.calls


@contract(WITH_SIP)
async def test_an_address_is_called_where_the_carrier_can(way: Way) -> None:
    async with site(way, Person()) as it:
        it.placed += 1
        address = "sip:somebody@phone.plivo.com"
        record = await it.server.manager.initiate("Hi.", address, "notify")
        await it.over(record)
        assert record.to_number == address
        assert it.person.heard == ["Hi."]


@contract(SHORT_SEQUENCES)
async def test_more_keys_than_the_carrier_sends_on_answer_are_refused(way: Way) -> None:
    most = MOST_KEYS[way.carrier]
    async with site(way, Person()) as it:
        with pytest.raises(InvalidRequest, match=f"(?i){way.carrier} sends at most {most} keys"):
            await it.server.manager.initiate("Hi.", THEM, "notify", dtmf_sequence="1" * (most + 1))
        assert not it.exchange.calls
        assert it.server.manager.live_count == 0


@contract(tuple(way for way in STREAMED if way.carrier == "mock"))
async def test_keys_on_a_call_that_the_mock_carrier_did_not_place_are_refused(way: Way) -> None:
    settings: dict[str, Any] = {"inboundPolicy": "open"}
    async with site(way, Person(), **settings) as it:
        await it.be_called()
        record = await it.taken_on()
        await until(lambda: record.answered_at is not None)
        with pytest.raises(CarrierError, match="the mock carrier has no such call"):
            await it.server.manager.send_dtmf(record.call_id, "1")
