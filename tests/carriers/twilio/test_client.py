from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from tests.carriers.twilio.api import (
    ACCOUNT,
    CALL,
    PLACED,
    TOKEN,
    Api,
    answer,
    api,
    refusal,
    run,
)
from voicecall.call.record import CallState
from voicecall.carriers._prompts import Prompts
from voicecall.carriers.twilio.client import Dialing, TwilioCarrier
from voicecall.carriers.twilio.instructions import Instructions
from voicecall.carriers.twilio.rest import Account, Timeouts
from voicecall.clock import ManualClock
from voicecall.errors import CarrierError, InvalidRequest
from voicecall.ports import CarrierStatus, DialRequest

if TYPE_CHECKING:
    from voicecall.ports import Carrier

pytestmark = pytest.mark.socket

HOOK = "https://calls.example.com/voice/webhook"
UPDATED = answer(200, PLACED | {"status": "in-progress"})


def request(**changes: Any) -> DialRequest:
    fields: dict[str, Any] = {
        "call_id": "call-1",
        "to": "+15550000002",
        "from_number": "+15550000001",
        "mode": "conversation",
        "stream_url": "wss://calls.example.com/voice/stream/f00d",
        "ring_timeout_ms": 30_000,
    }
    return DialRequest(**fields | changes)


class Twilio:
    """A carrier and the API it talks to."""

    def __init__(self, double: Api, dialing: Dialing | None) -> None:
        self.api = double
        self.prompts = Prompts()
        self.carrier = TwilioCarrier(
            Account(ACCOUNT, TOKEN, api_base_url=double.url),
            Instructions(HOOK, urls=None, prompts=self.prompts),
            clock=ManualClock(),
            dialing=dialing,
            timeouts=Timeouts(dial_s=5, request_s=5),
        )

    def twiml(self, number: int = -1) -> list[ET.Element]:
        """The document that was sent with a request."""
        (document,) = self.api.sent[number].form["Twiml"]
        return list(ET.fromstring(document))  # noqa: S314  (what we have written ourselves)

    async def sent(self, count: int) -> None:
        while len(self.api.sent) < count:
            self.api.arrived.clear()
            await self.api.arrived.wait()


class Using:
    """`async with Using(answers) as twilio`."""

    def __init__(self, *answers: bytes | None, dialing: Dialing | None = None) -> None:
        self._api = api(*answers)
        self._dialing = dialing

    async def __aenter__(self) -> Twilio:
        self._twilio = Twilio(await self._api.__aenter__(), self._dialing)
        return self._twilio

    async def __aexit__(self, *error: object) -> None:
        await self._twilio.carrier.close()
        await self._api.__aexit__(None, None, None)


async def dialled(dialing: Dialing | None = None, **changes: Any) -> dict[str, list[str]]:
    async with Using(answer(201, PLACED), dialing=dialing) as twilio:
        assert await twilio.carrier.dial(request(**changes)) == CALL
    (sent,) = twilio.api.sent
    return sent.form


def test_a_dial_asks_for_reports_and_for_instructions_when_answered() -> None:
    async def case() -> None:
        assert await dialled() == {
            "To": ["+15550000002"],
            "From": ["+15550000001"],
            "Url": [f"{HOOK}?callId=call-1"],
            "Method": ["POST"],
            "StatusCallback": [f"{HOOK}?callId=call-1&kind=status"],
            "StatusCallbackMethod": ["POST"],
            "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
            "Timeout": ["30"],
        }

    run(case)


@pytest.mark.parametrize(("ring_ms", "seconds"), [(0, "1"), (1_001, "2"), (3_600_000, "600")])
def test_ringing_is_limited_in_whole_seconds_that_twilio_takes(ring_ms: int, seconds: str) -> None:
    async def case() -> None:
        assert (await dialled(ring_timeout_ms=ring_ms))["Timeout"] == [seconds]

    run(case)


def test_keys_on_answer_and_the_longest_duration_go_with_the_dial() -> None:
    async def case() -> None:
        form = await dialled(Dialing(max_duration_s=330), dtmf_sequence="W1w2#")
        assert form["SendDigits"] == ["W1w2#"]
        assert form["TimeLimit"] == ["330"]

    run(case)


def test_machines_are_detected_beside_the_call() -> None:
    async def case() -> None:
        form = await dialled(Dialing(detect_machines=True))
        assert form["MachineDetection"] == ["Enable"]
        assert form["AsyncAmd"] == ["true"]
        assert form["AsyncAmdStatusCallback"] == [f"{HOOK}?callId=call-1&kind=machine"]

    run(case)


def test_keys_on_answer_beside_machine_detection_are_refused_unsent() -> None:
    async def case() -> None:
        async with Using(answer(201, PLACED), dialing=Dialing(detect_machines=True)) as twilio:
            with pytest.raises(InvalidRequest, match="machine"):
                await twilio.carrier.dial(request(dtmf_sequence="1"))
        assert twilio.api.sent == []

    run(case)


def test_more_keys_than_twilio_sends_are_refused_unsent() -> None:
    async def case() -> None:
        async with Using(answer(201, PLACED)) as twilio:
            with pytest.raises(InvalidRequest, match="32 keys"):
                await twilio.carrier.dial(request(dtmf_sequence="1" * 33))
        assert twilio.api.sent == []

    run(case)


def test_a_dial_that_fails_is_asked_for_once() -> None:
    async def case() -> None:
        async with Using(refusal(500, 20500), answer(201, PLACED)) as twilio:
            with pytest.raises(CarrierError) as caught:
                await twilio.carrier.dial(request())
        assert len(twilio.api.sent) == 1
        assert not caught.value.retryable

    run(case)


@pytest.mark.parametrize(
    "said",
    [UPDATED, refusal(404, 20404), answer(404, b""), refusal(400, 21220)],
    ids=["done", "unknown", "unknown without words", "over"],
)
def test_hanging_up_succeeds_also_when_the_call_is_over(said: bytes) -> None:
    async def case() -> None:
        async with Using(said) as twilio:
            prompt = twilio.prompts.put(CALL, "Hello")
            await twilio.carrier.hang_up(CALL)
            assert await prompt.outcome is False
        (sent,) = twilio.api.sent
        assert sent.form == {"Status": ["completed"]}

    run(case)


def test_hanging_up_may_be_tried_again_when_it_failed() -> None:
    async def case() -> None:
        async with Using(refusal(503, 20503), UPDATED) as twilio:
            with pytest.raises(CarrierError) as caught:
                await twilio.carrier.hang_up(CALL)
            assert caught.value.retryable
            await twilio.carrier.hang_up(CALL)

    run(case)


def test_other_refusals_of_a_hang_up_are_errors() -> None:
    async def case() -> None:
        async with Using(refusal(401, 20003)) as twilio:
            with pytest.raises(CarrierError, match="authToken") as caught:
                await twilio.carrier.hang_up(CALL)
            assert not caught.value.retryable

    run(case)


def test_keys_are_played_and_then_the_call_asks_what_to_do() -> None:
    async def case() -> None:
        async with Using(UPDATED) as twilio:
            await twilio.carrier.send_dtmf(CALL, "1W#")
            play, ask = twilio.twiml()
        assert (play.tag, play.attrib) == ("Play", {"digits": "1ww#"})
        assert ask.tag == "Redirect"
        assert (ask.text or "").startswith(f"{HOOK}?once=")

    run(case)


@pytest.mark.parametrize(
    ("to", "noun"), [("+15550003333", "Number"), ("sip:desk@example.com;a=1&b", "Sip")]
)
def test_a_call_is_handed_on_and_ends_when_that_is_over(to: str, noun: str) -> None:
    async def case() -> None:
        async with Using(UPDATED) as twilio:
            saying = asyncio.create_task(twilio.carrier.say(CALL, "One moment."))
            await twilio.sent(1)
            await twilio.carrier.transfer(CALL, to)
            assert await saying is False
            (dial,) = twilio.twiml()
        assert (dial.tag, dial.attrib) == ("Dial", {})
        (party,) = dial
        assert (party.tag, party.text) == (noun, to)

    run(case)


@pytest.mark.parametrize(
    ("said", "retryable"),
    [
        (refusal(400, 21220), False),
        (refusal(503, 20503), False),
        (b"", False),
        (refusal(429, 20429), True),
    ],
)
def test_a_call_is_handed_on_once(said: bytes, *, retryable: bool) -> None:
    async def case() -> None:
        async with Using(said) as twilio:
            with pytest.raises(CarrierError) as caught:
                await twilio.carrier.transfer(CALL, "+15550003333")
            assert caught.value.retryable is retryable
            assert len(twilio.api.sent) == 1

    run(case)


def test_keys_for_a_call_that_is_over_are_refused() -> None:
    async def case() -> None:
        async with Using(refusal(400, 21220)) as twilio:
            with pytest.raises(CarrierError, match="not in progress"):
                await twilio.carrier.send_dtmf(CALL, "1")

    run(case)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (answer(200, PLACED | {"status": "queued"}), CarrierStatus(alive=True)),
        (answer(200, PLACED | {"status": "ringing"}), CarrierStatus(alive=True)),
        (UPDATED, CarrierStatus(alive=True)),
        (
            answer(200, PLACED | {"status": "completed"}),
            CarrierStatus(alive=False, end_reason=CallState.COMPLETED),
        ),
        (
            answer(200, PLACED | {"status": "busy"}),
            CarrierStatus(alive=False, end_reason=CallState.BUSY),
        ),
        (
            answer(200, PLACED | {"status": "canceled", "direction": "inbound"}),
            CarrierStatus(alive=False, end_reason=CallState.HANGUP_USER),
        ),
        (answer(200, PLACED | {"status": "not-invented-yet"}), CarrierStatus(alive=False)),
        (refusal(404, 20404), CarrierStatus(alive=False)),
    ],
)
def test_a_call_is_looked_up(said: bytes, status: CarrierStatus) -> None:
    async def case() -> None:
        async with Using(said) as twilio:
            assert await twilio.carrier.status(CALL) == status

    run(case)


@pytest.mark.parametrize("said", [answer(200, {}), answer(200, b"x"), refusal(500, 20500)])
def test_a_look_up_that_fails_is_an_error_and_not_a_call_that_is_gone(said: bytes) -> None:
    async def case() -> None:
        async with Using(said) as twilio:
            with pytest.raises(CarrierError) as caught:
                await twilio.carrier.status(CALL)
            assert caught.value.retryable

    run(case)


@pytest.mark.parametrize("named", ["", "../Recordings", "CA1/Recordings", "CA1?x", "é", "C" * 65])
def test_an_id_that_is_none_reaches_no_url(named: str) -> None:
    async def case() -> None:
        async with Using(UPDATED) as twilio:
            carrier: Carrier = twilio.carrier
            for work in (carrier.hang_up(named), carrier.status(named)):
                with pytest.raises(CarrierError):
                    await work
        assert twilio.api.sent == []

    run(case)


# --- without media streaming -----------------------------------------------------------------


def test_a_text_is_over_when_twilio_asks_what_comes_after_it() -> None:
    async def case() -> None:
        async with Using(UPDATED) as twilio:
            saying = asyncio.create_task(twilio.carrier.say(CALL, "Fish & chips"))
            await twilio.sent(1)
            say, ask = twilio.twiml()
            assert (say.tag, say.text) == ("Say", "Fish & chips")
            twilio.prompts.said(CALL, (ask.text or "").partition("said=")[2])
            assert await saying is True
            assert len(twilio.prompts) == 0

    run(case)


def test_a_long_text_is_said_piece_by_piece() -> None:
    async def case() -> None:
        async with Using(UPDATED) as twilio:
            saying = asyncio.create_task(twilio.carrier.say(CALL, "word " * 1000))
            for count in (1, 2):
                await twilio.sent(count)
                twilio.prompts.said(CALL, (twilio.twiml()[1].text or "").partition("said=")[2])
            assert await saying is True
        assert all(len(sent.form["Twiml"][0]) <= 4000 for sent in twilio.api.sent)

    run(case)


def test_a_call_that_asks_what_to_do_is_told_in_the_answer() -> None:
    async def case() -> None:
        async with Using(UPDATED) as twilio:
            twilio.prompts.asks(CALL)
            saying = asyncio.create_task(twilio.carrier.say(CALL, "hello"))
            await asyncio.sleep(0)
            prompt = twilio.prompts.next(CALL)
            assert prompt is not None
            twilio.prompts.said(CALL, prompt.id)
            assert await saying is True
            await twilio.carrier.listen(CALL)
        assert twilio.api.sent == []

    run(case)


def test_a_newer_text_cuts_the_one_being_said() -> None:
    async def case() -> None:
        async with Using(UPDATED) as twilio:
            first = asyncio.create_task(twilio.carrier.say(CALL, "one"))
            await twilio.sent(1)
            second = asyncio.create_task(twilio.carrier.say(CALL, "two"))
            assert await first is False
            await twilio.sent(2)
            assert not second.done()
            await twilio.carrier.stop_speaking(CALL)
            assert await second is False
            assert [verb.tag for verb in twilio.twiml()] == ["Redirect"]

    run(case)


def test_a_text_that_is_refused_leaves_nothing_behind() -> None:
    async def case() -> None:
        async with Using(refusal(400, 21220)) as twilio:
            with pytest.raises(CarrierError):
                await twilio.carrier.say(CALL, "hello")
            assert len(twilio.prompts) == 0

    run(case)


def test_closing_cuts_what_is_being_said() -> None:
    async def case() -> None:
        async with Using(UPDATED) as twilio:
            saying = asyncio.create_task(twilio.carrier.say(CALL, "hello"))
            await twilio.sent(1)
            await twilio.carrier.close()
            assert await saying is False
            assert twilio.carrier.name == "twilio"

    run(case)
