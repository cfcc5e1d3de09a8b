from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from voicecall.call.record import Speaker
from voicecall.errors import SpeechError
from voicecall.ports import ULAW_8K, Turn
from voicecall.simulator.models.brain import Brain
from voicecall.simulator.models.engines import InstantEngines, ToneVoice
from voicecall.simulator.models.items import Items
from voicecall.simulator.models.replying import Assignment, Reply
from voicecall.simulator.models.vendor_types import made

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pydantic import BaseModel

    from voicecall.ports import TextToSpeech

pytestmark = pytest.mark.unit


class Hoarse(ToneVoice):
    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        if text:
            raise SpeechError("hoarse")
        yield b""


class Recorder:
    """Stands for a connection, and keeps what is sent."""

    def __init__(self, voice: TextToSpeech | None = None) -> None:
        engines: Any = InstantEngines() if voice is None else SimpleNamespace(voice=voice)
        self.world = SimpleNamespace(engines=engines, brain=Brain())
        self.sent: list[Any] = []

    def send(self, kind: type[BaseModel], **fields: Any) -> None:
        self.sent.append(made(kind, event_id="event", **fields))


def assignment(instructions: str = "", *turns: Turn) -> Assignment:
    said = turns or (Turn(Speaker.USER, "What are your opening hours?"),)
    return Assignment(said, instructions, frozenset(), ULAW_8K, None, "conv")


def reply(recorder: Recorder, given: Assignment) -> Reply:
    connection: Any = recorder
    return Reply(connection, Items(), given)


@pytest.mark.parametrize(
    ("instructions", "text"),
    [
        ("Read the text aloud, word for word.", "What are your opening hours?"),
        ('Say exactly: "Good morning."', "Good morning."),
        ("Answer kindly.", None),
    ],
)
def test_what_is_to_be_read_out_is_told_by_the_instructions(
    instructions: str, text: str | None
) -> None:
    assert assignment(instructions).verbatim == text


def test_a_reply_that_is_cancelled_before_it_begins_still_begins_and_ends() -> None:
    async def case() -> None:
        recorder = Recorder()
        made_reply = reply(recorder, assignment())
        made_reply.cancel("client_cancelled")
        await made_reply.run()
        kinds = [event.type for event in recorder.sent]
        assert kinds == ["response.created", "rate_limits.updated", "response.done"]
        assert recorder.sent[-1].response.status == "cancelled"

    asyncio.run(case())


def test_a_reply_whose_voice_fails_ends_as_failed() -> None:
    async def case() -> None:
        recorder = Recorder(Hoarse())
        await reply(recorder, assignment()).run()
        done = recorder.sent[-1].response
        assert done.status == "failed"
        assert done.status_details.error.code == "server_error"

    asyncio.run(case())


def test_a_reply_knows_how_long_it_is() -> None:
    async def case() -> None:
        recorder = Recorder()
        made_reply = reply(recorder, assignment('Say exactly: "Good morning."'))
        await made_reply.run()
        assert made_reply.audio_ms == pytest.approx(13 * 60, abs=200)
        assert recorder.sent[-1].response.usage.output_tokens > 0

    asyncio.run(case())
