from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from deepgram.listen.v1.types import (
    ListenV1Results,
    ListenV1SpeechStarted,
    ListenV1UtteranceEnd,
)
from starlette.routing import Router

from tests.speech.signals import as_ulaw, frames, silence, tone
from tests.speech.stt.fakes import take
from tests.speech.stt.scripted import Line, ScriptedServer, scripted
from voicecall.clock import NS_PER_MS, ManualClock
from voicecall.control.listen import ControlListener
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import (
    ULAW_8K,
    FinalTranscript,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
)
from voicecall.simulator.models import deepgram
from voicecall.simulator.models.brain import Brain
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.faults import Close, Malformed, Refuse
from voicecall.simulator.models.world import World
from voicecall.speech.stt.deepgram import DeepgramDialect, DeepgramSettings, DeepgramSpeechToText
from voicecall.speech.stt.remote import Limits, RemoteSttStream
from voicecall.speech.stt.sending import Piece
from voicecall.speech.vad import Endpointing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.speech.stt.scripted import Script
    from voicecall.ports import SttEvent, SttStream

pytestmark = pytest.mark.socket

KEY = "dg-very-secret"
RULES = Endpointing(silence_ms=500)
# Moves with the audio, which comes as fast as it can.
CLOCK = ManualClock()


def results(
    text: str,
    start: float,
    duration: float,
    *,
    final: bool = False,
    ends: bool = False,
    confidence: float = 0.5,
    words: bool = True,
) -> str:
    """A message of the vendor's, as its own types know it."""
    spoken = [
        {"word": word, "start": start + 0.1, "end": start + duration - 0.1, "confidence": 1.0}
        for word in text.split()
    ]
    alternative = {
        "transcript": text,
        "confidence": confidence,
        "words": spoken if words else [],
    }
    body: dict[str, Any] = {
        "type": "Results",
        "channel_index": [0, 1],
        "start": start,
        "duration": duration,
        "is_final": final,
        "speech_final": ends,
        "channel": {"alternatives": [alternative]},
        "metadata": {
            "request_id": "1",
            "model_uuid": "2",
            "model_info": {"name": "a", "version": "b", "arch": "c"},
        },
    }
    ListenV1Results.model_validate(body, strict=True)
    return json.dumps(body)


def began(at_s: float) -> str:
    body = {"type": "SpeechStarted", "channel": [0, 1], "timestamp": at_s}
    ListenV1SpeechStarted.model_validate(body, strict=True)
    return json.dumps(body)


def utterance_end(at_s: float) -> str:
    body = {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": at_s}
    ListenV1UtteranceEnd.model_validate(body, strict=True)
    return json.dumps(body)


class Heard:
    """A dialect that has been sent a minute of audio, whose start was spoken at 100 s."""

    NOW_NS = 160_100 * NS_PER_MS

    def __init__(self) -> None:
        self.dialect = DeepgramDialect(RULES)
        self.dialect.audio(Piece(b"\xff" * 480_000, 160_000 * NS_PER_MS))

    def __call__(self, *messages: str) -> list[SttEvent]:
        events: list[SttEvent] = []
        for message in messages:
            events += self.dialect.receive(json.loads(message), self.NOW_NS)
        return events


def at(second: float) -> int:
    return round((100 + second) * 1000) * NS_PER_MS


# --- what is recognised -------------------------------------------------------------------------


def test_pieces_that_are_final_are_put_together_until_the_speech_is() -> None:
    assert Heard()(
        began(1.0),
        results("four one", 1.0, 1.0),
        results("four one five", 1.0, 2.0, final=True, confidence=0.8),
        results("five", 3.0, 0.5),
        results("five five five", 3.0, 2.0, final=True, ends=True, confidence=0.6),
    ) == [
        SpeechStarted(at(1.0)),
        PartialTranscript("four one"),
        PartialTranscript("four one five"),
        PartialTranscript("four one five five"),
        SpeechStopped(at(4.9)),
        FinalTranscript("four one five five five five", 0.7),
    ]


def test_the_end_of_an_utterance_ends_a_turn_that_the_results_did_not_end() -> None:
    heard = Heard()
    assert heard(results("hello", 1.0, 1.0, final=True), utterance_end(1.9)) == [
        SpeechStarted(at(1.1)),
        PartialTranscript("hello"),
        SpeechStopped(at(1.9)),
        FinalTranscript("hello", 0.5),
    ]
    assert heard(utterance_end(1.9)) == []


def test_the_end_of_an_utterance_that_has_ended_does_not_end_the_next() -> None:
    assert Heard()(
        results("hello", 1.0, 1.0, final=True, ends=True),
        began(2.5),
        results("you", 2.5, 0.5),
        utterance_end(1.9),
        results("you there", 2.5, 1.0, final=True, ends=True),
    )[2:] == [
        FinalTranscript("hello", 0.5),
        SpeechStarted(at(2.5)),
        PartialTranscript("you"),
        SpeechStopped(at(3.4)),
        FinalTranscript("you there", 0.5),
    ]


def test_a_guess_that_was_taken_for_the_end_is_not_told_again() -> None:
    heard = Heard()
    told = heard(
        results("see you", 1.0, 1.0),
        utterance_end(1.9),
        results("see you", 1.0, 1.0, final=True, ends=True),
    )
    assert told[-1] == FinalTranscript("see you", None)
    assert sum(isinstance(event, FinalTranscript) for event in told) == 1
    # What comes later is new.
    assert heard(results("bye", 2.0, 1.0, final=True, ends=True))[-1] == FinalTranscript("bye", 0.5)


def test_speech_is_begun_by_words_where_nothing_else_told_so() -> None:
    assert Heard()(results("hello", 1.0, 1.0), results("hello", 1.0, 1.2)) == [
        SpeechStarted(at(1.1)),
        PartialTranscript("hello"),
        PartialTranscript("hello"),
    ]
    assert Heard()(results("hello", 1.0, 1.0, words=False))[0] == SpeechStarted(at(1.0))


def test_silence_says_nothing() -> None:
    heard = Heard()
    assert heard(results("", 0.0, 5.0, final=True), results("", 5.0, 1.0)) == []
    assert heard(results("", 6.0, 1.0, final=True, ends=True), utterance_end(-1)) == []
    assert heard.dialect.deadline_ns is None


def test_a_sound_that_was_no_word_ends_with_nothing_said() -> None:
    heard = Heard()
    assert heard(began(1.0), results("", 0.0, 2.0, final=True, ends=True)) == [
        SpeechStarted(at(1.0)),
        SpeechStopped(at(1.0)),
        FinalTranscript(""),
    ]


def test_a_sound_that_nothing_follows_is_over_after_three_seconds() -> None:
    heard = Heard()
    assert heard(began(1.0)) == [SpeechStarted(at(1.0))]
    deadline_ns = heard.dialect.deadline_ns
    assert deadline_ns == Heard.NOW_NS + 3_000 * NS_PER_MS
    assert list(heard.dialect.tick(deadline_ns - 1)) == []
    assert list(heard.dialect.tick(deadline_ns)) == [
        SpeechStopped(at(1.0)),
        FinalTranscript(""),
    ]
    assert heard.dialect.deadline_ns is None


def test_words_put_the_end_off() -> None:
    heard = Heard()
    heard(began(1.0))
    heard.NOW_NS += 2_000 * NS_PER_MS
    heard(results("I", 1.0, 1.0))
    assert heard.dialect.deadline_ns == heard.NOW_NS + 3_000 * NS_PER_MS
    assert list(heard.dialect.tick(heard.dialect.deadline_ns))[1] == FinalTranscript("I")


def test_a_start_that_is_reported_after_its_turn_has_ended_is_none() -> None:
    assert Heard()(results("yes", 1.0, 1.0, final=True, ends=True), began(1.2))[3:] == []


def test_an_error_and_what_says_nothing_to_us_end_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = {"type": "Error", "variant": "SchemaError", "description": "secret words"}
    with caplog.at_level(logging.DEBUG, "voicecall"):
        assert Heard()(json.dumps(error), '{"type": "Metadata"}', '{"type": "Tomorrow"}') == []
    assert [record.__dict__["status"] for record in caplog.records] == ["SchemaError"]
    assert "secret" not in caplog.text


# --- the connection -----------------------------------------------------------------------------


@asynccontextmanager
async def call(
    *scripts: Script, limits: Limits | None = None
) -> AsyncGenerator[tuple[ScriptedServer, SttStream]]:
    async with asyncio.timeout(20), scripted(*scripts) as server:
        settings = DeepgramSettings("nova-3", language="en-GB", keywords=("Acme & Co", "Zed"))
        engine = DeepgramSpeechToText(
            KEY,
            settings,
            clock=CLOCK,
            rules=RULES,
            base_url=f"http://127.0.0.1:{server.port}",
            limits=limits,
        )
        assert engine.input == ULAW_8K
        stream = await engine.open()
        try:
            yield server, stream
        finally:
            await stream.close()
            await engine.close()


def push(stream: SttStream, pcm: bytes) -> None:
    for frame in frames(pcm):
        CLOCK.advance_ms(20)
        stream.push(as_ulaw(frame))


async def audio(line: Line, octets: int) -> bytes:
    heard = b""
    while len(heard) < octets:
        message = await line.take()
        assert isinstance(message, bytes)
        heard += message
    return heard


def test_the_socket_is_opened_with_everything_in_its_address() -> None:
    speech = tone(400)

    async def script(line: Line) -> None:
        assert await audio(line, 3200) == as_ulaw(speech)
        await line.say("not even json")
        await line.say(results("hello", 0.0, 0.4, final=True, ends=True))

    async def case() -> None:
        async with call(script) as (server, stream):
            push(stream, speech)
            told = await take(stream, 3)
            assert told[-1] == FinalTranscript("hello", 0.5)
            (line,) = server.lines
            assert line.headers["authorization"] == f"Token {KEY}"
            address = urlsplit(line.path)
            assert address.path == "/v1/listen"
            assert sorted(parse_qsl(address.query)) == [
                ("channels", "1"),
                ("encoding", "mulaw"),
                ("endpointing", "500"),
                ("interim_results", "true"),
                ("keyterm", "Acme & Co"),
                ("keyterm", "Zed"),
                ("language", "en-GB"),
                ("model", "nova-3"),
                ("sample_rate", "8000"),
                ("smart_format", "true"),
                ("utterance_end_ms", "1000"),
                ("vad_events", "true"),
            ]
        assert line.received[-1] == '{"type":"CloseStream"}'
        assert line.closed_with == 1000

    asyncio.run(case())


@pytest.mark.parametrize(
    ("base_url", "begins"),
    [
        (None, "wss://api.deepgram.com/v1/listen?"),
        ("https://dg.example/", "wss://dg.example/v1/listen?"),
        ("ws://127.0.0.1:1/v1", "ws://127.0.0.1:1/v1/listen?"),
        ("http://127.0.0.1:1/behind", "ws://127.0.0.1:1/behind/v1/listen?"),
    ],
)
def test_the_address_is_made_of_any_base_url(base_url: str | None, begins: str) -> None:
    engine = DeepgramSpeechToText(KEY, DeepgramSettings("nova-3"), clock=CLOCK, base_url=base_url)
    assert engine._address.url.startswith(begins)
    assert "utterance_end_ms=1000" in engine._address.url


def test_a_connection_is_kept_alive_while_the_phone_rings() -> None:
    async def script(line: Line) -> None:
        for _ in range(2):
            assert await line.take() == '{"type":"KeepAlive"}'
        await line.say(results("hello", 0.0, 0.4, final=True, ends=True))

    async def case() -> None:
        async with call(script, limits=Limits(rest_ms=5)) as (_, stream):
            assert (await take(stream, 3))[-1] == FinalTranscript("hello", 0.5)

    asyncio.run(case())


def test_a_connection_lost_in_the_middle_of_a_word_is_replaced() -> None:
    async def broken_off(line: Line) -> None:
        await audio(line, 640)
        await line.say(results("I would li", 0.0, 0.1))
        await line.close(1011, "NET-0000")

    async def whole(line: Line) -> None:
        await line.say(results("like to", 0.0, 0.4, final=True, ends=True))

    async def case() -> None:
        async with call(broken_off, whole) as (server, stream):
            push(stream, tone(80))
            told = await take(stream, 7)
            assert [type(event) for event in told[:3]] == [
                SpeechStarted,
                PartialTranscript,
                SpeechStopped,
            ]
            assert told[3] == FinalTranscript("I would li")
            assert told[6] == FinalTranscript("like to", 0.5)
            assert server.attempts == 2

    asyncio.run(case())


@pytest.mark.parametrize(("status", "code"), [(401, "INVALID_AUTH"), (403, "FORBIDDEN")])
def test_a_refusal_names_the_vendors_code_and_never_the_key(status: int, code: str) -> None:
    refusal = status, {"err_code": code, "err_msg": f"{KEY} is wrong", "request_id": "1"}

    async def case() -> None:
        async with call(refusal) as (server, stream):
            with pytest.raises(SpeechError) as caught:
                await take(stream, 1)
            assert str(caught.value).startswith("Deepgram refused")
            assert code in str(caught.value)
            assert KEY not in str(caught.value)
            assert caught.value.status == status
            assert server.attempts == 1

    asyncio.run(case())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)

    async def case() -> None:
        engine = DeepgramSpeechToText(KEY, DeepgramSettings("nova-3"), clock=CLOCK)
        with pytest.raises(DependencyMissing, match=r"voicecall\[deepgram\]"):
            await engine.open()
        await engine.close()

    asyncio.run(case())


def test_a_server_that_cannot_be_reached_is_tried_until_the_patience_ends() -> None:
    async def case() -> None:
        engine = DeepgramSpeechToText(
            KEY,
            DeepgramSettings("nova-3"),
            clock=CLOCK,
            base_url="ws://127.0.0.1:9",
            limits=Limits(attempts=2),
        )
        stream = await engine.open()
        with pytest.raises(SpeechError, match="the connection to Deepgram failed"):
            await take(stream, 1)
        await stream.close()
        await engine.close()

    asyncio.run(case())


# --- the simulated server -----------------------------------------------------------------------


def test_the_simulated_server_understands_a_call_whatever_goes_wrong() -> None:
    async def case() -> None:
        said = "one two three four five six"
        world = World(InstantEngines([said]), Brain(), CLOCK, KEY)
        world.faults.add(deepgram.SERVICE, Refuse(429))
        world.faults.add(deepgram.SERVICE, Close(after="SpeechStarted", code=1011))
        world.faults.add(deepgram.SERVICE, Malformed(after="SpeechStarted"))
        listener = ControlListener(Router(deepgram.routes(world)), "127.0.0.1", 0)
        await listener.start()
        engine = DeepgramSpeechToText(
            KEY,
            DeepgramSettings("nova-3", keywords=("six",)),
            clock=CLOCK,
            rules=RULES,
            base_url=f"ws://127.0.0.1:{listener.port}",
        )
        stream = await engine.open()
        async with asyncio.timeout(20):
            push(stream, silence(300) + tone(500))
            first, second = await take(stream, 2)
            assert isinstance(first, SpeechStarted)
            assert isinstance(second, SpeechStopped)
            assert isinstance(stream, RemoteSttStream)
            while stream.connections < 2:
                # Until the next connection is there, what is said grows old.
                push(stream, silence(40))
                await asyncio.sleep(0.005)
            push(stream, silence(200) + tone(500) + silence(700))
            told: list[SttEvent] = []
            while not told or not isinstance(told[-1], FinalTranscript):
                told += await take(stream, 1)
        assert isinstance(told[0], SpeechStarted)
        assert isinstance(told[-2], SpeechStopped)
        assert isinstance(told[-1], FinalTranscript)
        assert told[-1].text == said
        assert told[-1].confidence == pytest.approx(0.98)
        assert 400 <= (told[-2].at_ns - told[0].at_ns) / NS_PER_MS <= 600
        await stream.close()
        await engine.close()
        await listener.stop(0.2)

    asyncio.run(case())
