"""Somebody who calls a whole server that uses the mock carrier."""

from __future__ import annotations

import pytest

from tests.hosting import free_port, run, serving, texts
from voicecall.errors import CallHasEnded, CarrierError
from voicecall.simulator import Engines, Script, call_in
from voicecall.simulator.script import AwaitHangUp, HangUp, Listen, Say
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

pytestmark = pytest.mark.socket

VOICE = Engines(ScriptedTextToSpeech(), None)
BRIEF = Script(steps=(Listen(quiet_ms=300), Say(text="Hello"), Listen(quiet_ms=300), HangUp()))
OPEN = {"inboundPolicy": "open", "inboundGreeting": "Good morning."}
CALLER, CALLEE = "+15550007777", "+15550008888"


def test_who_calls_is_greeted_understood_and_answered() -> None:
    async def case() -> None:
        stt = {"scripted": {"transcripts": ["When are you open?"]}}
        async with serving(by_hand=False, stt=stt, **OPEN) as served:
            phone = await call_in(
                f"{served.server.control_url}/voice/webhook",
                BRIEF,
                from_number=CALLER,
                to_number=CALLEE,
                engines=VOICE,
            )
            (record,) = await served.server.calls.recent()
            ended = await served.ended(record.call_id)
            assert (ended["direction"], ended["endReason"]) == ("inbound", "hangup-user")
            assert (ended["from"], ended["to"]) == (CALLER, CALLEE)
            assert texts(ended) == [
                ("bot", "Good morning."),
                ("user", "When are you open?"),
                ("bot", "From ten to six."),
            ]
            assert [each.text for each in phone.said] == ["Hello"]

    run(case())


def test_whoever_is_hung_up_on_is_told() -> None:
    async def case() -> None:
        script = Script(steps=(Listen(quiet_ms=300), AwaitHangUp(), Say(text="Hello?")))
        async with serving(by_hand=False, maxDurationSeconds=1, **OPEN) as served:
            with pytest.raises(CallHasEnded):
                await call_in(f"{served.server.control_url}/voice/webhook", script, engines=VOICE)
            (record,) = await served.server.calls.recent()
            assert record.end_reason == "timeout"

    run(case())


def test_a_server_that_lets_nobody_in_is_named_as_the_reason() -> None:
    async def case() -> None:
        async with serving(by_hand=False) as served:
            url = f"{served.server.control_url}/voice/webhook"
            with pytest.raises(CarrierError, match="inboundPolicy"):
                await call_in(url, BRIEF, engines=VOICE)
            assert served.server.calls.live() == []

    run(case())


def test_a_webhook_that_is_not_there_is_named_as_the_reason() -> None:
    async def case() -> None:
        async with serving(by_hand=False, **OPEN) as served:
            with pytest.raises(CarrierError, match="404"):
                await call_in(f"{served.server.control_url}/elsewhere", BRIEF, engines=VOICE)
        with pytest.raises(CarrierError, match="reached"):
            await call_in(f"http://127.0.0.1:{free_port()}/voice/webhook", BRIEF, engines=VOICE)

    run(case())
