from __future__ import annotations

import asyncio
import base64
import logging
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from openai.types.realtime import RealtimeClientEventParam, RealtimeServerEvent
from pydantic import TypeAdapter

from tests.speech.tts.wsserver import Peer, Peers, serving
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import ULAW_8K
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.faults import Close, Refuse, Stall
from voicecall.simulator.models.server import ModelServer
from voicecall.speech.realtime.sockets import Account
from voicecall.speech.tts.openai_realtime import (
    OpenAIRealtimeTextToSpeech,
    ReadingSettings,
    similarity,
)
from voicecall.speech.tts.pool import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.socket

KEY = "sk-very-secret"
SETTINGS = ReadingSettings("a-model", "marin")
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
CLIENT_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEventParam)


class Model:
    """The other end of one socket, whose events are the vendor's."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def say(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": "event_1", **fields}
        SERVER_EVENT.validate_python(event)
        await self.peer.say(**event)

    async def hears(self) -> dict[str, Any]:
        event = await self.peer.hears()
        CLIENT_EVENT.validate_python(event, extra="forbid")
        return event

    async def configured(self) -> dict[str, Any]:
        """Let the client configure its session; what it wants."""
        await self.say("session.created", session={"type": "realtime"})
        update = await self.hears()
        assert update["type"] == "session.update"
        await self.say("session.updated", session={"type": "realtime"})
        session: dict[str, Any] = update["session"]
        return session

    async def asked(self) -> tuple[str, str, dict[str, Any]]:
        """The next sentence's text and key, and all that was said with it."""
        event = await self.hears()
        assert event["type"] == "response.create"
        response = event["response"]
        assert response["conversation"] == "none"
        text = response["input"][0]["content"][0]["text"]
        return text, response["metadata"]["sentence"], event

    async def begins(self, response_id: str, key: str | None) -> None:
        metadata = None if key is None else {"sentence": key}
        response = {"id": response_id, "status": "in_progress", "metadata": metadata}
        await self.say("response.created", response=response)

    async def audio(self, response_id: str, audio: bytes) -> None:
        delta = base64.b64encode(audio).decode()
        await self.say("response.output_audio.delta", delta=delta, **_place(response_id))

    async def transcript(self, response_id: str, said: str) -> None:
        kind = "response.output_audio_transcript.done"
        await self.say(kind, transcript=said, **_place(response_id))

    async def ends(self, response_id: str, status: str = "completed", **details: Any) -> None:
        response = {"id": response_id, "status": status, "status_details": details or None}
        await self.say("response.done", response=response)

    async def error(self, kind: str, code: str, event_id: str | None = None) -> None:
        error = {"type": kind, "code": code, "message": f"{KEY}!", "event_id": event_id}
        await self.say("error", error=error)


def _place(response_id: str) -> dict[str, Any]:
    return {
        "response_id": response_id,
        "item_id": "item_1",
        "output_index": 0,
        "content_index": 0,
    }


@asynccontextmanager
async def voice_at(
    url: str, settings: ReadingSettings = SETTINGS, key: str = KEY, **limits: int
) -> AsyncGenerator[OpenAIRealtimeTextToSpeech]:
    voice = OpenAIRealtimeTextToSpeech(Account(key, url), settings, limits=Limits(**limits))
    try:
        async with asyncio.timeout(20):
            yield voice
    finally:
        await voice.close()


@asynccontextmanager
async def voice_of(
    settings: ReadingSettings = SETTINGS, **limits: int
) -> AsyncGenerator[tuple[Peers, OpenAIRealtimeTextToSpeech]]:
    async with (
        serving() as peers,
        voice_at(f"http://{peers.origin}/v1", settings, KEY, **limits) as voice,
    ):
        yield peers, voice


def heard(voice: OpenAIRealtimeTextToSpeech, text: str = "Hello.") -> asyncio.Task[bytes]:
    async def listen() -> bytes:
        return b"".join([piece async for piece in voice.synthesize(text)])

    return asyncio.ensure_future(listen())


async def model_of(peers: Peers) -> Model:
    model = Model(await peers.next())
    await model.configured()
    return model


def test_a_session_is_made_one_that_reads() -> None:
    async def case() -> None:
        settings = ReadingSettings("a-model", "marin", "Speak warmly.", speed=3.0)
        async with voice_of(settings) as (peers, voice):
            assert voice.output == ULAW_8K
            preparing = asyncio.ensure_future(voice.prepare())
            model = Model(await peers.next())
            assert model.peer.path == "/v1/realtime?model=a-model"
            assert model.peer.headers["authorization"] == f"Bearer {KEY}"
            session = await model.configured()
            await preparing
            assert session["audio"] == {
                "input": {"turn_detection": None},
                "output": {"format": {"type": "audio/pcmu"}, "voice": "marin", "speed": 1.5},
            }
            assert "word for word" in session["instructions"]
            assert session["instructions"].endswith("Speak warmly.")

    asyncio.run(case())


def test_sentences_of_different_calls_share_a_socket_and_are_not_mixed_up() -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            listeners = {text: heard(voice, text) for text in ("One.", "Two.")}
            model = await model_of(peers)
            keys = {}
            for _ in listeners:
                text, key, _event = await model.asked()
                keys[text] = key
            await model.begins("resp_2", keys["Two."])
            await model.begins("resp_1", keys["One."])
            await model.audio("resp_2", b"2")
            await model.audio("resp_1", b"1")
            await model.audio("resp_1", b"1")
            await model.ends("resp_1")
            await model.ends("resp_2")
            assert await listeners["One."] == b"11"
            assert await listeners["Two."] == b"2"

    asyncio.run(case())


def test_audio_that_belongs_to_no_sentence_is_heard_by_nobody_and_stopped() -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            task = heard(voice)
            model = await model_of(peers)
            _, key, _ = await model.asked()
            await model.begins("resp_x", None)
            await model.audio("resp_x", b"somebody else's")
            cancel = await model.hears()
            assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "resp_x")
            await model.begins("resp_1", key)
            await model.audio("resp_1", b"ours")
            await model.ends("resp_1")
            assert await task == b"ours"

    asyncio.run(case())


@pytest.mark.parametrize("begun", [False, True])
def test_whoever_stops_listening_cancels_the_response(begun: bool) -> None:
    async def case() -> None:
        async with voice_of(sentences=1, sockets=1) as (peers, voice):
            pieces = voice.synthesize("Hello.")
            first = asyncio.ensure_future(anext(pieces))
            model = await model_of(peers)
            _, key, _ = await model.asked()
            if begun:
                await model.begins("resp_1", key)
                await model.audio("resp_1", b"1")
                assert await first == b"1"
                await pieces.aclose()
            else:
                first.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await first
                # Before, it has no name to be cancelled by.
                await model.begins("resp_1", key)
            cancel = await model.hears()
            assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "resp_1")
            other = heard(voice, "Another.")
            await model.ends("resp_1", "cancelled", type="cancelled", reason="client_cancelled")
            # The socket goes on, and so does its only place.
            text, key, _ = await model.asked()
            assert text == "Another."
            await model.error("invalid_request_error", "response_cancel_not_active")
            await model.begins("resp_2", key)
            await model.ends("resp_2")
            assert await other == b""

    asyncio.run(case())


def test_a_sentence_that_is_reworded_is_counted_and_told_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            model = None
            for said, reworded in (
                ("the next appointment is at 10:30!", 0),
                ("Sure! You can come by tomorrow.", 1),
            ):
                task = heard(voice, "The next appointment is at ten thirty.")
                model = model or await model_of(peers)
                _, key, _ = await model.asked()
                await model.begins(f"resp_{reworded}", key)
                await model.transcript(f"resp_{reworded}", said)
                await model.ends(f"resp_{reworded}")
                await task
                assert voice.reworded == reworded

    with caplog.at_level(logging.WARNING, "voicecall.speech"):
        asyncio.run(case())
    (record,) = [record for record in caplog.records if "reworded" in record.getMessage()]
    assert "appointment" not in record.getMessage()
    assert record.__dict__["pii_said"] == "Sure! You can come by tomorrow."


def test_likeness_is_of_words_and_forgives_numbers() -> None:
    assert similarity("Hello, Ms. O'Brien!", "hello ms o'brien") == 1
    assert similarity("It is 10:30.", "It is 10 30") == 1
    assert similarity("Your code is ready.", "I cannot help with that.") < 0.5
    assert similarity("", "") == 1


@pytest.mark.parametrize(
    ("details", "told", "retryable"),
    [
        ({"type": "failed", "error": {"type": "server_error", "code": "boom"}}, "boom", True),
        ({"type": "failed", "error": {"code": "insufficient_quota"}}, "insufficient_quota", False),
        ({"type": "incomplete", "reason": "content_filter"}, "content_filter", False),
        ({"type": "incomplete", "reason": "max_output_tokens"}, "max_output_tokens", True),
    ],
)
def test_a_response_that_is_not_completed_fails(
    details: dict[str, Any], told: str, retryable: bool
) -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            task = heard(voice)
            model = await model_of(peers)
            _, key, _ = await model.asked()
            await model.begins("resp_1", key)
            await model.ends("resp_1", details["type"], **details)
            with pytest.raises(SpeechError, match=told) as caught:
                await task
            assert caught.value.retryable is retryable

    asyncio.run(case())


def test_an_error_fails_the_sentence_that_it_names_and_no_other() -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            task = heard(voice)
            model = await model_of(peers)
            _, _, event = await model.asked()
            await model.error("server_error", "about_something_else", "event_7")
            await model.error("invalid_request_error", "invalid_value", event["event_id"])
            with pytest.raises(SpeechError, match="invalid_value") as caught:
                await task
            assert not caught.value.retryable
            assert KEY not in str(caught.value)

    asyncio.run(case())


def test_a_session_that_is_refused_says_what_to_do() -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            task = heard(voice)
            model = Model(await peers.next())
            await model.say("session.created", session={"type": "realtime"})
            await model.hears()
            await model.error("invalid_request_error", "invalid_voice")
            with pytest.raises(SpeechError, match=r"invalid_voice.*check the model, the voice"):
                await task
            await model.peer.left()

    asyncio.run(case())


@pytest.mark.parametrize(("status", "retryable"), [(401, False), (429, True), (500, True)])
def test_a_refused_handshake_fails_the_sentence(status: int, retryable: bool) -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            peers.refusal = status, {"error": {"message": KEY, "code": "some_code"}}
            with pytest.raises(SpeechError, match=f"{status} .some_code") as caught:
                await heard(voice)
            assert caught.value.retryable is retryable
            assert KEY not in str(caught.value)

    asyncio.run(case())


@pytest.mark.parametrize("end", ["close", "session_expired"])
def test_a_socket_that_ends_before_the_first_audio_is_replaced_unheard(end: str) -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            task = heard(voice)
            model = await model_of(peers)
            await model.asked()
            if end == "close":
                await model.peer.close(1001)
            else:
                await model.error("invalid_request_error", "session_expired")
            model = await model_of(peers)
            text, key, _ = await model.asked()
            assert text == "Hello."
            await model.begins("resp_1", key)
            await model.audio("resp_1", b"1")
            await model.ends("resp_1")
            assert await task == b"1"

    asyncio.run(case())


def test_a_socket_that_is_closed_in_the_middle_of_a_sentence_fails_it() -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            pieces = voice.synthesize("Hello.")
            first = asyncio.ensure_future(anext(pieces))
            model = await model_of(peers)
            _, key, _ = await model.asked()
            await model.begins("resp_1", key)
            await model.audio("resp_1", b"1")
            assert await first == b"1"
            await model.peer.close(1011)
            with pytest.raises(SpeechError, match="1011"):
                await anext(pieces)

    asyncio.run(case())


def test_nothing_to_say_asks_nobody() -> None:
    async def case() -> None:
        async with voice_at("http://127.0.0.1:1/v1") as voice:
            assert await heard(voice, " \n") == b""

    asyncio.run(case())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)

    async def case() -> None:
        async with voice_at("http://127.0.0.1:1/v1") as voice:
            with pytest.raises(DependencyMissing, match=r"voicecall\[openai\]"):
                await voice.prepare()
            with pytest.raises(DependencyMissing, match=r"voicecall\[openai\]"):
                await heard(voice)

    asyncio.run(case())


def test_the_simulated_server_reads_aloud_and_its_faults_are_told() -> None:
    async def case() -> None:
        async with ModelServer(engines=InstantEngines()) as server:
            key = server.world.api_key
            async with voice_at(server.base_url, key=key, begin_ms=1000, gap_ms=300) as voice:
                await voice.prepare()
                # A tone of 60 ms for each character, in steps of 200 ms.
                texts = ("Hello, you", "Who are you then?", "A third one, just as long.")
                audio = await asyncio.gather(*(heard(voice, text) for text in texts))
                assert [len(piece) for piece in audio] == [4800, 9600, 12800]
                assert voice.reworded == 0
                pieces = voice.synthesize("Nobody hears this to its end.")
                await anext(pieces)
                await pieces.aclose()
                assert len(await heard(voice, "Hello, you")) == 4800
            faults = (
                (Refuse(429), "429"),
                (Stall(after="response.created"), "fell silent"),
                (Stall(after="response.output_audio.delta"), "fell silent"),
                (Close(after="response.output_audio.delta"), "1011"),
            )
            for fault, told in faults:
                server.faults.add("realtime", fault)
                async with voice_at(server.base_url, key=key, begin_ms=1000, gap_ms=300) as voice:
                    with pytest.raises(SpeechError, match=told):
                        await heard(voice)
            async with voice_at(server.base_url) as stranger:
                with pytest.raises(SpeechError, match="check the API key"):
                    await heard(stranger)

    asyncio.run(case())
