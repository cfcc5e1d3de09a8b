"""A call survives what it is held with: recognition, model and tools fail in the middle."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.faults.conversation import (
    ANSWER,
    APOLOGY,
    LONG,
    QUESTION,
    SPEECH_STARTED,
    Site,
    survives,
)
from tests.hosting import PERSONA, until
from voicecall import tool
from voicecall.llm.persona import load_persona
from voicecall.simulator.models.brain import Brain, ToolRule, Use
from voicecall.simulator.models.faults import Close, Fail, Malformed, Refuse, Stall

if TYPE_CHECKING:
    from voicecall.call.record import Direction
    from voicecall.llm.tools import Tool
    from voicecall.simulator.models.faults import Fault

pytest.importorskip("openai")
pytest.importorskip("websockets")

pytestmark = [pytest.mark.socket, pytest.mark.timed]

# --- recognition -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ears:
    """A recogniser, and what is wrong with its first connection."""

    provider: str
    service: str
    fault: Fault


@survives(
    openai_closes=Ears("openai", "transcription", Close(after=SPEECH_STARTED)),
    openai_sends_nonsense=Ears("openai", "transcription", Malformed(after=SPEECH_STARTED)),
    openai_is_busy=Ears("openai", "transcription", Refuse(429)),
    openai_is_broken=Ears("openai", "transcription", Refuse(500)),
    deepgram_closes=Ears("deepgram", "deepgram", Close(after="SpeechStarted")),
    deepgram_sends_nonsense=Ears("deepgram", "deepgram", Malformed(after="SpeechStarted")),
    deepgram_is_broken=Ears("deepgram", "deepgram", Refuse(500)),
)
async def test_recognition_that_fails_is_back_for_the_rest_of_what_the_caller_says(
    direction: Direction, fault: Ears
) -> None:
    ears = {"stt": {"provider": fault.provider}}
    site = Site(faults={fault.service: (fault.fault, 1)}, sections=ears)
    async with site.call(direction) as call:
        await call.say(LONG)
        # Nothing of it is heard twice.
        await call.transcript(QUESTION, ANSWER)
        await call.asks_again()


@survives(openai=Ears("openai", "transcription", Refuse(503)))
async def test_a_call_goes_on_speaking_while_nobody_listens(
    direction: Direction, fault: Ears
) -> None:
    async with Site(faults={fault.service: (fault.fault, None)}).call(direction) as call:
        await call.say()
        await call.server.manager.speak(call.record.call_id, "Are you there?")
        await call.transcript("Are you there?")
        call.models.faults.clear()
        # What nobody listened to is too old to be answered.
        await until(lambda: len(call.models.received("transcription")) > 1)
        await call.asks_again()


@survives(fails=Fail(), refused=Refuse(500))
async def test_words_that_could_not_be_transcribed_are_not_made_up(
    direction: Direction, fault: Fault
) -> None:
    async with Site(faults={"transcript": (fault, 1)}).call(direction) as call:
        await call.say()
        await until(lambda: not call.models.faults.planned("transcript"))
        await call.asks_again()


# --- the model ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mind:
    """How a model fails, and how often: what may pass is tried again at once."""

    fault: Fault
    times: int = 2
    service: str = "responses"


@survives(
    is_busy=Mind(Refuse(429), times=1),
    is_broken=Mind(Refuse(500)),
    breaks_off=Mind(Close(after_chunks=1)),
    sends_nonsense=Mind(Malformed(after_chunks=1)),
    fails=Mind(Fail()),
    chat_is_broken=Mind(Refuse(500), service="chat"),
    chat_sends_nonsense=Mind(Malformed(), service="chat"),
)
async def test_a_model_that_fails_is_apologised_for_and_asked_again(
    direction: Direction, fault: Mind
) -> None:
    async with Site(account={"api": fault.service}).call(direction) as call:
        call.models.faults.add(fault.service, fault.fault, times=fault.times)
        await call.say()
        await call.transcript(QUESTION, APOLOGY)
        call.models.faults.clear()
        await call.asks_again()


@survives(is_broken=Refuse(500), breaks_off=Close(after_chunks=1), fails=Fail())
async def test_a_model_that_fails_once_is_asked_again_before_anybody_notices(
    direction: Direction, fault: Fault
) -> None:
    async with Site().call(direction) as call:
        call.models.faults.add("responses", fault)
        await call.asks_again()


@survives(breaks_off=Close(after="response.output_text.delta"))
async def test_what_was_heard_of_an_answer_that_breaks_off_is_remembered(
    direction: Direction, fault: Fault
) -> None:
    async with Site().call(direction) as call:
        call.models.faults.add("responses", fault)
        await call.say()
        await until(lambda: APOLOGY in call.said, 20)
        question, begun, apology = call.said
        assert (question, apology) == (QUESTION, APOLOGY)
        assert begun
        assert ANSWER.startswith(begun)
        assert begun != ANSWER
        await call.asks_again()


@survives(silent=Stall(), slow_to_begin=Stall(for_ms=60_000))
async def test_a_model_that_does_not_answer_in_time_is_apologised_for_once(
    direction: Direction, fault: Fault
) -> None:
    timeout_ms = 600
    sections = {"responseTimeoutMs": timeout_ms, "tools": {"timeoutMs": 500}}
    async with Site(sections=sections).call(direction) as call:
        call.models.faults.add("responses", fault)
        await call.say()
        await call.heard_within(timeout_ms / 1000)
        await call.transcript(QUESTION, APOLOGY)
        await call.asks_again()


# --- tools -------------------------------------------------------------------------------------


FILLER = "One moment."


@tool
async def look_up() -> str:
    """Look something up."""
    await asyncio.Event().wait()
    return ""


@tool
async def break_down() -> str:
    """Look something up, in vain."""
    raise OSError("the diary burned")


@survives(never_returns=(look_up, f"{FILLER} "), breaks=(break_down, ""))
async def test_a_tool_that_fails_is_covered_given_up_and_told_to_the_model(
    direction: Direction, fault: tuple[Tool, str]
) -> None:
    used, covered = fault
    rules = [ToolRule("open", (Use(used.spec.name),), then="I cannot say.")]
    brain = Brain(load_persona(PERSONA), rules)
    limits = {"timeoutMs": 1200, "fillerAfterMs": 200, "filler": FILLER}
    async with Site(brain, [used], sections={"tools": limits}).call(direction) as call:
        answer = f"{covered}I cannot say."
        await call.say()
        await call.heard_within(0.2)
        await call.transcript(QUESTION, answer)
        outputs = [
            item["output"]
            for item in call.models.received("responses")[-1].body["input"]
            if item.get("type") == "function_call_output"
        ]
        assert len(outputs) == 1
        assert outputs[0].startswith("Error")
        await call.say()
        await call.transcript(QUESTION, answer, QUESTION, answer)
