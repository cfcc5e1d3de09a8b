"""A spoken question gets a spoken, understandable answer: real speech, real sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from voicecall.audio import Transcoder
from voicecall.clock import SystemClock
from voicecall.llm.persona import builtin_persona
from voicecall.llm.scripted import ScriptedResponder
from voicecall.ports import PCM16_8K, ULAW_8K, Briefing, FinalTranscript, ReplyAudio, ReplyDone
from voicecall.simulator.engines import speak_ulaw
from voicecall.simulator.models.engines import LocalEngines
from voicecall.simulator.models.server import ModelServer
from voicecall.speech.realtime.live import LiveSettings, OpenAILive
from voicecall.speech.realtime.local import LocalSpeechToSpeech
from voicecall.speech.realtime.openai import OpenAIRealtime, RealtimeSettings
from voicecall.speech.realtime.sockets import Account
from voicecall.speech.stt.local import LocalSpeechToText

if TYPE_CHECKING:
    from voicecall.ports import SpeechToSpeech, SpeechToSpeechStream

pytestmark = pytest.mark.e2e

_ANSWER_MS = 2_000


async def ask(stream: SpeechToSpeechStream, question: bytes, frame_s: float) -> tuple[str, bytes]:
    """Ask, one frame each `frame_s`; what was understood, and the answer's audio."""
    understood, answer = "", b""

    async def listen() -> None:
        nonlocal understood, answer
        async for event in stream:
            if isinstance(event, FinalTranscript):
                understood, answer = event.text, b""
            elif isinstance(event, ReplyAudio) and understood:
                answer += event.audio
            enough = ULAW_8K.duration_ms(len(answer)) >= _ANSWER_MS
            if understood and (enough or isinstance(event, ReplyDone)):
                return

    listening = asyncio.create_task(listen())
    audio = question + b"\xff" * 8000
    for start in range(0, len(audio), 160):
        stream.push(audio[start : start + 160])
        await asyncio.sleep(frame_s)
    await asyncio.wait_for(listening, 30)
    return understood, answer


async def conversation(
    engine: SpeechToSpeech, engines: LocalEngines, *, frame_s: float = 0.004
) -> tuple[str, str]:
    """What the engine understood, and what somebody understands of its answer."""
    question = await speak_ulaw(engines.voice, "What are your opening hours?")
    await engine.prepare()
    stream = await engine.open(Briefing("You answer the phone."))
    try:
        understood, answer = await ask(stream, question, frame_s)
    finally:
        await stream.close()
        await engine.close()
    pcm = Transcoder(ULAW_8K, PCM16_8K).convert(answer, last=True)
    return understood.lower(), (await engines.transcribe(pcm)).lower()


def test_a_spoken_question_gets_a_spoken_answer_from_the_vendors_engines() -> None:
    async def case() -> None:
        clock = SystemClock()
        engines = LocalEngines(clock)
        await engines.prepare()
        async with ModelServer(engines=engines) as server:
            account = Account(server.world.api_key, server.base_url)
            settings = RealtimeSettings("gpt-realtime-2.1", "marin", "gpt-transcribe")
            for engine in (
                OpenAIRealtime(account, settings, clock=clock),
                OpenAILive(account, LiveSettings("gpt-live-1", "marin"), clock=clock),
            ):
                understood, answer = await conversation(engine, engines)
                assert "opening hours" in understood
                assert "open" in answer
        await engines.close()

    asyncio.run(case())


def test_a_spoken_question_gets_a_spoken_answer_from_the_engine_on_this_machine() -> None:
    async def case() -> None:
        clock = SystemClock()
        engines = LocalEngines(clock)
        ears = LocalSpeechToText(clock=clock)
        responder = ScriptedResponder(builtin_persona())
        engine = LocalSpeechToSpeech(ears, responder, engines.voice, convert=Transcoder)
        # This recogniser goes by the clock, as on a real line.
        understood, answer = await conversation(engine, engines, frame_s=0.02)
        await engines.close()
        await ears.close()
        assert "opening hours" in understood
        assert "open" in answer

    asyncio.run(case())
