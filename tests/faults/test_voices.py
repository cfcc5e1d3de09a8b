"""A call survives what speaks for it: a voice, or a model that hears and speaks, fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.conversation import (
    ANSWER,
    APOLOGY,
    GREETING,
    LONG,
    QUESTION,
    SPEECH_STARTED,
    SYNTHESIS_S,
    Site,
    survives,
)
from tests.hosting import until
from voicecall.call.record import CallState, Direction
from voicecall.simulator.models.faults import Close, Malformed, Refuse, Stall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.simulator.models.faults import Fault

pytest.importorskip("openai")
pytest.importorskip("websockets")

pytestmark = [pytest.mark.socket, pytest.mark.timed]

# --- the voice ---------------------------------------------------------------------------------


AUDIO = "response.output_audio.delta"


@dataclass(frozen=True)
class Voice:
    """A voice, and what goes wrong with its next request or socket."""

    tts: Mapping[str, Any]
    service: str
    fault: Fault


def openai_voice(fault: Fault) -> Voice:
    return Voice({"provider": "openai", "openai": {"api": "speech"}}, "speech", fault)


def elevenlabs_voice(fault: Fault, transport: str = "http") -> Voice:
    told = {"voiceId": "pMsXgVXv3BLzUgSXRplE", "transport": transport}
    return Voice({"provider": "elevenlabs", "elevenlabs": told}, "elevenlabs", fault)


def openai_socket(fault: Fault) -> Voice:
    return Voice({"provider": "openai", "openai": {"api": "realtime"}}, "realtime", fault)


@survives(
    openai_is_busy=openai_voice(Refuse(429)),
    openai_is_broken=openai_voice(Refuse(500)),
    openai_stalls=openai_voice(Stall(after_chunks=1)),
    openai_breaks_off=openai_voice(Close(after_chunks=1)),
    elevenlabs_is_busy=elevenlabs_voice(Refuse(429)),
    elevenlabs_is_broken=elevenlabs_voice(Refuse(500)),
    elevenlabs_stalls=elevenlabs_voice(Stall(after_chunks=1)),
    elevenlabs_breaks_off=elevenlabs_voice(Close(after_chunks=1)),
)
async def test_a_voice_that_fails_is_followed_by_another_one(
    direction: Direction, fault: Voice
) -> None:
    voices = {**fault.tts, "fallback": ["scripted"]}
    async with Site(sections={"tts": voices}).call(direction) as call:
        call.models.faults.add(fault.service, fault.fault)
        await call.say()
        await call.heard_within(SYNTHESIS_S)
        await call.transcript(QUESTION, ANSWER)
        # The voice that failed is not trusted again in this call.
        asked = len(call.models.received(fault.service))
        assert asked > 1
        await call.asks_again()
        assert len(call.models.received(fault.service)) == asked


@survives(
    openai_is_broken=openai_socket(Refuse(500)),
    openai_stalls=openai_socket(Stall(after=AUDIO)),
    openai_closes=openai_socket(Close(after=AUDIO)),
    openai_sends_nonsense=openai_socket(Malformed(after=AUDIO)),
    elevenlabs_is_broken=elevenlabs_voice(Refuse(500), "socket"),
    elevenlabs_stalls=elevenlabs_voice(Stall(after_chunks=1), "socket"),
    elevenlabs_closes=elevenlabs_voice(Close(after_chunks=1), "socket"),
    elevenlabs_sends_nonsense=elevenlabs_voice(Malformed(after_chunks=1), "socket"),
)
async def test_a_voice_whose_socket_fails_in_the_greeting_leaves_nothing_unsaid(
    direction: Direction, fault: Voice
) -> None:
    voices = {"tts": {**fault.tts, "fallback": ["scripted"]}}
    site = Site(faults={fault.service: (fault.fault, 1)}, sections=voices)
    async with site.call(direction) as call:
        assert call.models.received(fault.service)
        await call.asks_again()


@survives(stalls=Stall(after_chunks=2), breaks_off=Close(after_chunks=2))
async def test_without_another_voice_the_same_apologises_and_only_what_was_heard_counts_as_said(
    direction: Direction, fault: Fault
) -> None:
    voice = {**openai_voice(fault).tts}
    async with Site(sections={"tts": voice}).call(direction) as call:
        call.models.faults.add("speech", fault)
        await call.say()
        await call.heard_within(SYNTHESIS_S)
        await until(lambda: APOLOGY in call.said, 20)
        question, *begun, apology = call.said
        assert (question, apology) == (QUESTION, APOLOGY)
        assert all(ANSWER.startswith(said) and said != ANSWER for said in begun)
        await call.asks_again()


@survives(served=None)
async def test_the_greeting_is_asked_for_while_it_rings_and_only_then(
    direction: Direction, fault: None
) -> None:
    del fault
    voice = {**openai_voice(Refuse(500)).tts, "cacheMegabytes": 8}
    rings_until = "speech" if direction is Direction.OUTBOUND else None
    site = Site(sections={"tts": voice}, rings_until=rings_until)
    async with site.call(direction) as call:
        spoken = [request.body["input"] for request in call.models.received("speech")]
        assert spoken == [GREETING]


# --- speech to speech --------------------------------------------------------------------------


REALTIME = {"realtime": {"enabled": True, "provider": "openai", "model": "gpt-realtime-2.1"}}


@survives(
    is_busy=Refuse(429),
    is_broken=Refuse(500),
    closes=Close(after=SPEECH_STARTED),
    sends_nonsense=Malformed(after=SPEECH_STARTED),
)
async def test_a_speech_to_speech_model_that_fails_is_back_for_the_rest_of_what_the_caller_says(
    direction: Direction, fault: Fault
) -> None:
    site = Site(faults={"realtime": (fault, 1)}, sections=REALTIME)
    async with site.call(direction) as call:
        await call.say(LONG)
        await call.transcript(QUESTION, ANSWER)
        await call.asks_again()


UNDERSTOOD = "conversation.item.input_audio_transcription.completed"


@survives(breaks_off=Close(after=UNDERSTOOD))
async def test_a_speech_to_speech_model_that_breaks_off_in_its_answer_goes_on_with_the_call(
    direction: Direction, fault: Fault
) -> None:
    site = Site(faults={"realtime": (fault, 1)}, sections=REALTIME)
    async with site.call(direction) as call:
        await call.say()
        await until(lambda: call.said[:1] == [QUESTION], 20)
        await until(lambda: len(call.models.received("realtime")) > 1, 20)
        await call.heard_within(0)
        await until(lambda: call.record.state is CallState.LISTENING, 20)
        await call.say()
        await until(lambda: call.said[-2:] == [QUESTION, ANSWER], 20)
