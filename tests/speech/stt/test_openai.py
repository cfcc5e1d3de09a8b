from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.speech.realtime.wire import event
from tests.speech.signals import as_ulaw, frames, silence, tone
from tests.speech.stt.fakes import take
from tests.speech.stt.scripted import (
    Line,
    ScriptedServer,
    audio_of,
    audio_until_commit,
    checked,
    committed,
    completed,
    configured,
    delta,
    error_event,
    failed,
    scripted,
    started,
    stopped,
)
from voicecall.clock import NS_PER_MS, ManualClock
from voicecall.errors import ConfigError, DependencyMissing, SpeechError
from voicecall.ports import (
    ULAW_8K,
    FinalTranscript,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
)
from voicecall.simulator.models.engines import InstantEngines, LocalEngines
from voicecall.simulator.models.faults import Close
from voicecall.simulator.models.server import ModelServer
from voicecall.speech.realtime.sockets import Account
from voicecall.speech.stt.commits import CommittedSttStream
from voicecall.speech.stt.openai import (
    OpenAISpeechToText,
    TranscriptionDialect,
    TranscriptionSettings,
)
from voicecall.speech.stt.remote import Limits, RemoteSttStream
from voicecall.speech.stt.sending import Piece
from voicecall.speech.vad import Endpointing, EnergyVad

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tests.speech.stt.scripted import Script
    from voicecall.ports import SttEvent, SttStream

pytestmark = pytest.mark.socket

KEY = "sk-very-secret"
BY_SERVER = TranscriptionSettings("gpt-transcribe", language="en")
BY_US = TranscriptionSettings("gpt-live-transcribe")
RULES = Endpointing(min_speech_ms=60, silence_ms=300)
# Moves with the audio, which comes as fast as it can.
CLOCK = ManualClock()
SPOKEN = as_ulaw(silence(200) + tone(400) + silence(400))


def engine_for(
    port: int,
    settings: TranscriptionSettings = BY_SERVER,
    limits: Limits | None = None,
    connect_timeout_ms: int = 5_000,
) -> OpenAISpeechToText:
    return OpenAISpeechToText(
        Account(KEY, f"http://127.0.0.1:{port}/v1", connect_timeout_ms),
        settings,
        clock=CLOCK,
        rules=RULES,
        detector=EnergyVad,
        limits=limits,
    )


@asynccontextmanager
async def call(
    *scripts: Script,
    settings: TranscriptionSettings = BY_SERVER,
    limits: Limits | None = None,
) -> AsyncGenerator[tuple[ScriptedServer, SttStream]]:
    async with asyncio.timeout(20), scripted(*scripts) as server:
        engine = engine_for(server.port, settings, limits)
        stream = await engine.open()
        try:
            yield server, stream
        finally:
            await stream.close()
            await engine.close()


def push(stream: SttStream, ulaw: bytes) -> None:
    for start in range(0, len(ulaw), 160):
        CLOCK.advance_ms(20)
        stream.push(ulaw[start : start + 160])


# --- the session --------------------------------------------------------------------------------


def test_the_session_is_opened_and_configured_before_any_audio() -> None:
    sessions: list[dict[str, Any]] = []
    heard = bytearray()

    async def script(line: Line) -> None:
        sessions.append(await configured(line))
        heard.extend(await audio_of(line, len(SPOKEN)))
        await line.say(completed("a", "done"))

    async def case() -> None:
        async with call(script) as (server, stream):
            # Long before the socket is open.
            push(stream, SPOKEN)
            assert await take(stream, 1) == [FinalTranscript("done")]
            (line,) = server.lines
            assert line.path == "/v1/realtime?intent=transcription"
            assert line.headers["authorization"] == f"Bearer {KEY}"
            assert "openai-beta" not in line.headers
        assert line.closed_with == 1000

    asyncio.run(case())
    assert heard == SPOKEN
    assert sessions == [
        {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "noise_reduction": {"type": "near_field"},
                    "transcription": {"model": "gpt-transcribe", "language": "en"},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "prefix_padding_ms": 300,
                        "silence_duration_ms": 300,
                    },
                }
            },
        }
    ]


def configuration(settings: TranscriptionSettings) -> dict[str, Any]:
    message = checked(TranscriptionDialect(settings, RULES).configuration())
    session: dict[str, Any] = message["session"]
    return session


def test_models_are_told_only_what_they_take() -> None:
    def told(model: str) -> dict[str, Any]:
        settings = TranscriptionSettings(model, prompt="A shop.", keywords=["Acme", "Zed"])
        transcription: dict[str, Any] = configuration(settings)["audio"]["input"]["transcription"]
        return transcription

    keywords = ["Acme", "Zed"]
    assert told("gpt-transcribe") == {
        "model": "gpt-transcribe",
        "prompt": "A shop.",
        "keywords": keywords,
    }
    assert told("gpt-live-transcribe-2026-10-01")["keywords"] == keywords
    assert told("gpt-4o-transcribe") == {"model": "gpt-4o-transcribe", "prompt": "A shop."}
    assert told("gpt-realtime-whisper") == {"model": "gpt-realtime-whisper"}


@pytest.mark.parametrize(
    ("model", "wanted", "sent"),
    [
        ("gpt-transcribe", "auto", "server_vad"),
        ("gpt-transcribe", "server", "server_vad"),
        ("gpt-transcribe", "semantic", "semantic_vad"),
        ("gpt-transcribe", "local", None),
        ("gpt-live-transcribe", "auto", None),
        ("gpt-live-transcribe-2027-01-01", "auto", None),
        ("gpt-realtime-whisper", "local", None),
        ("somebody-elses-model", "auto", "server_vad"),
    ],
)
def test_turns_are_left_to_the_server_where_it_can_find_them(
    model: str, wanted: Any, sent: str | None
) -> None:
    settings = TranscriptionSettings(model, turn_detection=wanted)
    detection = configuration(settings)["audio"]["input"]["turn_detection"]
    assert (None if detection is None else detection["type"]) == sent
    assert settings.detects_turns == (sent is not None)


def test_noise_reduction_can_be_off_and_confidence_be_asked_for() -> None:
    settings = TranscriptionSettings("gpt-transcribe", noise_reduction=None, confidence=True)
    session = configuration(settings)
    assert session["audio"]["input"]["noise_reduction"] is None
    assert session["include"] == ["item.input_audio_transcription.logprobs"]


def test_a_model_without_turn_detection_cannot_be_asked_for_it() -> None:
    with pytest.raises(ConfigError, match=r"stt\.openai\.turnDetection.*gpt-live-transcribe"):
        engine_for(1, TranscriptionSettings("gpt-live-transcribe", turn_detection="server"))


# --- what is recognised -------------------------------------------------------------------------


class Heard:
    """A dialect that has been sent ten seconds of audio, the last of it spoken at 20 s."""

    NOW_NS = 20_100 * NS_PER_MS

    def __init__(self, settings: TranscriptionSettings = BY_SERVER) -> None:
        self.dialect = TranscriptionDialect(settings, RULES)
        self.dialect.audio(Piece(b"\xff" * 80_000, 20_000 * NS_PER_MS))

    def __call__(self, *messages: bytes) -> list[SttEvent]:
        events: list[SttEvent] = []
        for message in messages:
            events += self.dialect.receive(json.loads(message), self.NOW_NS)
        return events


def test_starts_and_stops_are_dated_by_when_they_were_spoken() -> None:
    heard = Heard()
    assert heard(started("a", 4_700), stopped("a", 9_300)) == [
        SpeechStarted(15_000 * NS_PER_MS),
        SpeechStopped(19_000 * NS_PER_MS),
    ]
    # The semantic kind waits for no certain silence.
    heard = Heard(TranscriptionSettings("gpt-transcribe", turn_detection="semantic"))
    assert heard(started("a", 5_000), stopped("a", 9_000)) == [
        SpeechStarted(15_000 * NS_PER_MS),
        SpeechStopped(19_000 * NS_PER_MS),
    ]


def test_nothing_is_dated_in_the_future() -> None:
    assert Heard()(stopped("a", 99_000)) == [SpeechStopped(Heard.NOW_NS)]


def test_deltas_add_up_and_the_complete_transcript_replaces_them() -> None:
    assert Heard()(
        delta("a", "I would"),
        delta("a", " like"),
        committed("a", None),
        completed("a", " I'd like it. "),
        committed("b", "a"),
        delta("b", "Yes"),
        completed("b", "Yes."),
    ) == [
        PartialTranscript("I would"),
        PartialTranscript("I would like"),
        FinalTranscript("I'd like it."),
        PartialTranscript("Yes"),
        FinalTranscript("Yes."),
    ]


def test_transcripts_that_are_complete_in_another_order_are_told_in_the_order_spoken() -> None:
    heard = Heard()
    assert heard(committed("a", None), committed("b", "a"), completed("b", "B")) == []
    assert heard.dialect.deadline_ns is not None
    assert heard(delta("b", "late")) == []
    assert heard(completed("a", "A")) == [FinalTranscript("A"), FinalTranscript("B")]
    assert heard.dialect.deadline_ns is None


def test_a_transcript_that_never_comes_holds_the_next_up_for_three_seconds() -> None:
    heard = Heard()
    heard(committed("a", None), committed("b", "a"), completed("b", "B"))
    deadline_ns = heard.dialect.deadline_ns
    assert deadline_ns == Heard.NOW_NS + 3_000 * NS_PER_MS
    assert list(heard.dialect.tick(deadline_ns - 1)) == []
    assert list(heard.dialect.tick(deadline_ns)) == [FinalTranscript("B")]


def test_what_could_not_be_transcribed_is_an_empty_transcript(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "voicecall"):
        assert Heard()(committed("a", None), failed("a")) == [FinalTranscript("")]
    assert caplog.records[0].__dict__["status"] == "audio_unintelligible"


def test_how_certain_the_model_is_becomes_the_confidence() -> None:
    tokens = [
        {"token": "a", "bytes": [97], "logprob": math.log(0.9)},
        {"token": "b", "bytes": [98], "logprob": math.log(0.4)},
    ]
    (final,) = Heard()(completed("a", "ab", logprobs=tokens))
    assert isinstance(final, FinalTranscript)
    assert final.confidence == pytest.approx(0.6)
    assert Heard()(completed("a", "ab", logprobs=[])) == [FinalTranscript("ab", None)]


def test_an_error_about_one_message_ends_nothing_and_its_text_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "voicecall"):
        assert Heard()(error_event("input_audio_buffer_commit_empty"), error_event(None)) == []
    assert [record.__dict__["status"] for record in caplog.records] == [
        "input_audio_buffer_commit_empty",
        "invalid_request_error",
    ]
    assert "secret" not in caplog.text


def test_events_that_say_nothing_to_us_are_passed_over() -> None:
    assert Heard()(b'{"type": "rate_limits.updated"}', b'{"type": "of.tomorrow"}') == []


def test_a_recognised_call_from_end_to_end() -> None:
    async def script(line: Line) -> None:
        await configured(line)
        await audio_of(line, len(SPOKEN))
        for message in (
            started("a", 0),
            b"{",
            b'{"type": "input_audio_buffer.speech_stopped"}',
            stopped("a", 900),
            committed("a", None),
            error_event("rate_limit_exceeded"),
            delta("a", "Hello"),
            completed("a", "Hello."),
        ):
            # Straight: a malformed one is among them.
            await line.say(message)

    async def case() -> None:
        async with call(script) as (server, stream):
            await server.line(0)
            push(stream, SPOKEN)
            began, ended, *words = await take(stream, 4)
            assert isinstance(began, SpeechStarted)
            assert isinstance(ended, SpeechStopped)
            assert ended.at_ns - began.at_ns == pytest.approx(300 * NS_PER_MS, abs=NS_PER_MS)
            assert words == [PartialTranscript("Hello"), FinalTranscript("Hello.")]

    asyncio.run(case())


# --- turns found here ---------------------------------------------------------------------------


def test_models_that_find_no_turns_are_asked_for_each_that_we_find() -> None:
    turns: list[bytes] = []

    async def script(line: Line) -> None:
        session = await configured(line)
        assert session["audio"]["input"]["turn_detection"] is None
        for number in range(2):
            turns.append(await audio_until_commit(line))
            await line.say(committed(f"item {number}", None if number == 0 else "item 0"))
            await line.say(completed(f"item {number}", f"Turn {number}."))

    async def case() -> None:
        async with call(script, settings=BY_US) as (server, stream):
            assert isinstance(stream, CommittedSttStream)
            await server.line(0)
            for number in range(2):
                push(stream, SPOKEN)
                began, ended, final = await take(stream, 3)
                assert isinstance(began, SpeechStarted)
                assert isinstance(ended, SpeechStopped)
                assert ended.at_ns - began.at_ns == pytest.approx(400 * NS_PER_MS, abs=NS_PER_MS)
                assert final == FinalTranscript(f"Turn {number}.")

    asyncio.run(case())
    for turn in turns:
        # The speech, with at most 300 ms before it, and the silence that ends it.
        assert 400 + 300 + 200 <= len(turn) / 8 <= 400 + 300 + 380
        assert turn in SPOKEN + SPOKEN


def test_a_turn_of_which_little_is_left_is_filled_up_with_silence() -> None:
    dialect = TranscriptionDialect(BY_US, RULES)
    messages = [json.loads(message) for message in dialect.audio(Piece(b"", 1, ends_turn=True))]
    assert [message["type"] for message in messages] == [
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
    ]
    assert len(messages[0]["audio"]) * 3 / 4 >= 800
    # Enough, together with what went before.
    assert len(dialect.audio(Piece(b"a" * 700, 1))) == 1
    assert len(dialect.audio(Piece(b"a" * 100, 2, ends_turn=True))) == 2
    assert len(dialect.audio(Piece(b"a" * 700, 3))) == 1
    assert len(dialect.audio(Piece(b"a" * 99, 4, ends_turn=True))) == 3


def test_a_detector_that_cannot_be_made_is_told_when_a_call_begins() -> None:
    def no_detector() -> EnergyVad:
        raise ZeroDivisionError

    async def case() -> None:
        engine = OpenAISpeechToText(
            Account(KEY, "http://127.0.0.1:1/v1"),
            BY_US,
            clock=CLOCK,
            detector=no_detector,
        )
        with pytest.raises(SpeechError, match="voice activity detection"):
            await engine.open()
        await engine.close()

    asyncio.run(case())


# --- trouble ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1011, 1001, None])
def test_a_connection_lost_in_the_middle_of_a_word_is_replaced_and_configured(
    code: int | None,
) -> None:
    async def broken_off(line: Line) -> None:
        await configured(line)
        await audio_of(line, 3200)
        await line.say(started("a", 0))
        await line.say(delta("a", "I would li"))
        if code is None:
            await line.take()
            line.cut()
        else:
            await line.close(code)

    async def whole(line: Line) -> None:
        await configured(line)
        await audio_of(line, 3200)
        await line.say(completed("b", "like to book."))

    async def case() -> None:
        async with call(broken_off, whole) as (server, stream):
            push(stream, SPOKEN[:3200])
            assert isinstance((await take(stream, 1))[0], SpeechStarted)
            assert await take(stream, 1) == [PartialTranscript("I would li")]
            push(stream, SPOKEN[:320])
            ended, partial = await take(stream, 2)
            assert isinstance(ended, SpeechStopped)
            assert partial == FinalTranscript("I would li")
            await server.line(1)
            push(stream, SPOKEN)
            assert await take(stream, 1) == [FinalTranscript("like to book.")]
            assert server.attempts == 2

    asyncio.run(case())


def refusing(status: int, code: str) -> Script:
    error = {"message": f"Incorrect API key provided: {KEY}", "type": "x", "code": code}
    return status, {"error": error}


@pytest.mark.parametrize(
    ("status", "code"), [(401, "invalid_api_key"), (403, "unsupported_country"), (404, "no_model")]
)
def test_a_refusal_that_cannot_be_healed_names_the_vendors_code_and_never_the_key(
    status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        async with call(refusing(status, code)) as (server, stream):
            with pytest.raises(SpeechError) as caught:
                await take(stream, 1)
            assert str(caught.value).startswith("OpenAI transcription refused")
            assert code in str(caught.value)
            assert caught.value.status == status
            assert KEY not in str(caught.value)
            assert server.attempts == 1

    with caplog.at_level(logging.WARNING):
        asyncio.run(case())
    assert KEY not in caplog.text


def test_a_refusal_that_may_pass_is_tried_again() -> None:
    async def script(line: Line) -> None:
        await configured(line)
        await line.say(completed("a", "there"))

    async def case() -> None:
        async with call(refusing(429, "rate_limit_exceeded"), script) as (server, stream):
            assert await take(stream, 1) == [FinalTranscript("there")]
            assert server.attempts == 2

    asyncio.run(case())


def test_a_model_that_does_not_exist_is_told_at_once() -> None:
    async def script(line: Line) -> None:
        await line.say('{"nonsense": 1}')
        await line.say(error_event("model_not_found"))

    async def case() -> None:
        async with call(script) as (server, stream):
            with pytest.raises(SpeechError, match="refused the session: model_not_found") as caught:
                await take(stream, 1)
            assert not caught.value.retryable
            assert server.attempts == 1

    asyncio.run(case())


def test_a_server_in_trouble_is_tried_again() -> None:
    async def troubled(line: Line) -> None:
        await line.say(error_event(None, "server_error"))

    async def well(line: Line) -> None:
        await configured(line)
        await line.say(completed("a", "there"))

    async def case() -> None:
        async with call(troubled, well) as (_, stream):
            assert await take(stream, 1) == [FinalTranscript("there")]

    asyncio.run(case())


def test_a_session_that_is_given_up_before_it_is_ready_leaves_no_socket_open() -> None:
    asked = asyncio.Event()

    async def never_ready(line: Line) -> None:
        await line.say(event("session.created", session={"type": "transcription"}))
        await line.take()
        asked.set()

    async def case() -> None:
        async with asyncio.timeout(20), scripted(never_ready) as server:
            engine = engine_for(server.port)
            await engine.prepare()
            connecting = asyncio.ensure_future(engine._connect())
            await asked.wait()
            connecting.cancel()
            await asyncio.wait({connecting})
            await server.lines[0].ended.wait()
            assert server.lines[0].closed_with == 1000
            await engine.close()

    asyncio.run(case())


def test_a_handshake_that_stalls_is_given_up() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def case() -> None:
        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        engine = engine_for(
            server.sockets[0].getsockname()[1],
            limits=Limits(attempts=1),
            connect_timeout_ms=50,
        )
        async with asyncio.timeout(20), server:
            # Does not wait for it.
            stream = await engine.open()
            with pytest.raises(SpeechError, match="did not answer in time"):
                await take(stream, 1)
            await stream.close()
            await engine.close()

    asyncio.run(case())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)

    async def case() -> None:
        engine = engine_for(1)
        with pytest.raises(DependencyMissing, match=r"voicecall\[openai\]"):
            await engine.prepare()
        with pytest.raises(DependencyMissing):
            await engine.open()
        await engine.close()

    asyncio.run(case())


# --- the simulated server -----------------------------------------------------------------------


async def say(stream: SttStream, pcm: bytes) -> None:
    """At the pace of a caller in a hurry."""
    for frame in frames(pcm):
        push(stream, as_ulaw(frame))
        await asyncio.sleep(0.001)


def finals(events: Sequence[SttEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, FinalTranscript)]


@pytest.mark.parametrize("settings", [BY_SERVER, BY_US])
def test_the_simulated_server_understands_a_call(settings: TranscriptionSettings) -> None:
    async def case() -> None:
        engines = InstantEngines(["Hello there."])
        async with asyncio.timeout(30), ModelServer(engines=engines) as server:
            engine = OpenAISpeechToText(
                Account(server.world.api_key, server.base_url),
                settings,
                clock=CLOCK,
                rules=RULES,
                detector=EnergyVad,
            )
            assert engine.input == ULAW_8K
            stream = await engine.open()
            events: list[SttEvent] = []
            for _ in range(2):
                await say(stream, silence(400) + tone(400) + silence(500))
                while not events or not isinstance(events[-1], FinalTranscript):
                    events += await take(stream, 1)
                assert isinstance(events[0], SpeechStarted)
                assert isinstance(events[1], SpeechStopped)
                assert finals(events) == ["Hello there."]
                events.clear()
            await stream.close()
            await engine.close()

    asyncio.run(case())


def test_the_simulated_server_closes_mid_way_and_the_call_goes_on() -> None:
    async def case() -> None:
        engines = InstantEngines(["Hello there."])
        async with asyncio.timeout(30), ModelServer(engines=engines) as server:
            server.faults.add(
                "transcription", Close(code=1011, after="input_audio_buffer.speech_started")
            )
            engine = OpenAISpeechToText(
                Account(server.world.api_key, server.base_url),
                BY_SERVER,
                clock=CLOCK,
                rules=RULES,
            )
            stream = await engine.open()
            await say(stream, silence(400) + tone(400))
            began, ended = await take(stream, 2)
            assert isinstance(began, SpeechStarted)
            assert isinstance(ended, SpeechStopped)
            assert isinstance(stream, RemoteSttStream)
            while stream.connections < 2:
                # Until the next connection is there, what is said grows old.
                await say(stream, silence(40))
            await say(stream, silence(400) + tone(400) + silence(600))
            found = await take(stream, 5)
            assert finals(found) == ["Hello there."]
            first, second = (
                request.body["session"]
                for request in server.received("transcription")
                if request.body.get("type") == "session.update"
            )
            assert first == second
            await stream.close()
            await engine.close()

    asyncio.run(case())


def test_a_spoken_sentence_is_understood_with_turns_found_here() -> None:
    pytest.importorskip("hibari")
    pytest.importorskip("moonshine_voice")

    async def case() -> None:
        engines = LocalEngines(CLOCK)
        try:
            async with asyncio.timeout(60), ModelServer(engines=engines) as server:
                spoken = bytearray()
                async for piece in engines.voice.synthesize("What are your opening hours?"):
                    spoken += piece
                engine = OpenAISpeechToText(
                    Account(server.world.api_key, server.base_url),
                    BY_US,
                    clock=CLOCK,
                    rules=RULES,
                    detector=EnergyVad,
                )
                stream = await engine.open()
                # 24 kHz to 8 kHz by leaving out: good enough to be understood.
                narrow = bytes(spoken)
                narrow = b"".join(narrow[start : start + 2] for start in range(0, len(narrow), 6))
                narrow = narrow[: len(narrow) // 2 * 2]
                await say(stream, silence(400) + narrow + silence(600))
                text = ""
                while "opening hours" not in text.lower():
                    (event,) = await take(stream, 1)
                    if isinstance(event, FinalTranscript):
                        text += f" {event.text}"
                await stream.close()
                await engine.close()
        finally:
            await engines.close()

    asyncio.run(case())
