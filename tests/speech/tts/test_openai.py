from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.speech.tts.httpserver import Exchange, never, serving
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import AudioFormat
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.faults import Close, Refuse, Stall
from voicecall.simulator.models.server import ModelServer
from voicecall.speech.realtime.sockets import Account
from voicecall.speech.tts.body import Patience
from voicecall.speech.tts.openai import OpenAITextToSpeech, SpeechSettings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

pytestmark = pytest.mark.socket

KEY = "sk-very-secret"
SETTINGS = SpeechSettings("a-model", "a-voice")


@asynccontextmanager
async def voice_at(
    url: str, settings: SpeechSettings = SETTINGS, key: str = KEY, **patience: int
) -> AsyncGenerator[OpenAITextToSpeech]:
    voice = OpenAITextToSpeech(Account(key, url), settings, patience=Patience(**patience))
    try:
        async with asyncio.timeout(20):
            await voice.prepare()
            yield voice
    finally:
        await voice.close()


@asynccontextmanager
async def voice_of(
    answer: Callable[[Exchange], Awaitable[None]],
    settings: SpeechSettings = SETTINGS,
    **patience: int,
) -> AsyncGenerator[OpenAITextToSpeech]:
    async with (
        serving(answer) as origin,
        voice_at(f"{origin}/v1", settings, KEY, **patience) as voice,
    ):
        yield voice


async def all_of(voice: OpenAITextToSpeech, text: str = "Hello.") -> bytes:
    return b"".join([piece async for piece in voice.synthesize(text)])


def test_pieces_come_as_the_network_brings_them_odd_ones_included() -> None:
    async def case() -> None:
        taken = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await exchange.head()
            await exchange.chunk(b"abc")
            # Nothing more is sent before this was heard.
            await taken.wait()
            await exchange.chunk(b"d")
            await exchange.end()

        async with voice_of(answer) as voice:
            assert voice.output == AudioFormat("pcm16", 24000)
            pieces = voice.synthesize("Hello.")
            assert await anext(pieces) == b"abc"
            taken.set()
            assert [piece async for piece in pieces] == [b"d"]

    asyncio.run(case())


def test_what_is_not_wanted_is_not_asked_for() -> None:
    async def case() -> None:
        asked: list[dict[str, Any]] = []

        async def answer(exchange: Exchange) -> None:
            assert exchange.path == "/v1/audio/speech"
            assert exchange.headers["authorization"] == f"Bearer {KEY}"
            asked.append(exchange.body)
            await exchange.head()
            await exchange.end()

        plain = {"model": "a-model", "voice": "a-voice", "response_format": "pcm", "input": "Hi."}
        async with voice_of(answer) as voice:
            assert await all_of(voice, "Hi.") == b""
        settings = SpeechSettings("a-model", "a-voice", "Speak warmly.", 1.25)
        async with voice_of(answer, settings) as voice:
            await all_of(voice, "Hi.")
        assert asked == [plain, {**plain, "instructions": "Speak warmly.", "speed": 1.25}]

    asyncio.run(case())


def test_nothing_to_say_asks_nobody() -> None:
    async def case() -> None:
        async with voice_at("http://127.0.0.1:1/v1") as voice:
            assert await all_of(voice, " \n") == b""

    asyncio.run(case())


@pytest.mark.parametrize(
    ("status", "code", "retryable", "hint"),
    [
        (401, "invalid_api_key", False, "check the API key"),
        (404, "model_not_found", False, "tts.openai.model"),
        (429, "rate_limit_exceeded", True, "rate limit"),
        (429, "insufficient_quota", False, "no credit"),
        (500, None, True, "HTTP 500"),
    ],
)
def test_a_refusal_says_what_to_do_and_not_the_key(
    status: int, code: str | None, retryable: bool, hint: str
) -> None:
    async def case() -> None:
        async def answer(exchange: Exchange) -> None:
            error = {"message": f"{KEY} is wrong", "type": "x y z", "param": None, "code": code}
            await exchange.refuse(status, {"error": error}, retry_after="60")

        async with voice_of(answer) as voice:
            with pytest.raises(SpeechError, match=hint) as caught:
                await all_of(voice)
            assert caught.value.status == status
            assert caught.value.retryable is retryable
            assert KEY not in str(caught.value)
            assert code is None or code in str(caught.value)

    asyncio.run(case())


@pytest.mark.parametrize("kind", ["audio/mpeg", "audio/wav; rate=24000", "application/json"])
def test_a_server_that_sends_something_else_than_pcm_is_not_listened_to(kind: str) -> None:
    async def case() -> None:
        async def answer(exchange: Exchange) -> None:
            await exchange.head(kind=kind)
            await exchange.chunk(b"RIFF")
            await exchange.end()

        async with voice_of(answer) as voice:
            with pytest.raises(SpeechError, match="instead of PCM"):
                await all_of(voice)

    asyncio.run(case())


def test_a_server_that_does_not_begin_in_time_is_left() -> None:
    async def case() -> None:
        left = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await never(exchange)
            left.set()

        async with voice_of(answer, begin_ms=100) as voice:
            with pytest.raises(SpeechError, match="did not begin") as caught:
                await all_of(voice)
            assert caught.value.retryable
            await left.wait()

    asyncio.run(case())


def test_a_server_that_stalls_after_the_first_piece_is_left() -> None:
    async def case() -> None:
        left = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await exchange.head()
            await exchange.chunk(b"ab")
            await never(exchange)
            left.set()

        async with voice_of(answer, gap_ms=100) as voice:
            pieces = voice.synthesize("Hello.")
            assert await anext(pieces) == b"ab"
            with pytest.raises(SpeechError, match="fell silent"):
                await anext(pieces)
            await left.wait()

    asyncio.run(case())


def test_a_connection_that_is_cut_in_the_middle_fails() -> None:
    async def case() -> None:
        async def answer(exchange: Exchange) -> None:
            await exchange.head()
            await exchange.chunk(b"ab")
            exchange.cut()

        async with voice_of(answer) as voice:
            pieces = voice.synthesize("Hello.")
            assert await anext(pieces) == b"ab"
            with pytest.raises(SpeechError, match="broke off") as caught:
                await anext(pieces)
            assert caught.value.retryable

    asyncio.run(case())


def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    async def case() -> None:
        async with voice_at("http://127.0.0.1:1/v1") as voice:
            with pytest.raises(SpeechError, match="could not be reached") as caught:
                await all_of(voice)
            assert caught.value.retryable

    asyncio.run(case())


def test_whoever_stops_listening_closes_the_connection() -> None:
    async def case() -> None:
        came, left = asyncio.Event(), asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            if "slow" not in exchange.body["input"]:
                await exchange.head()
                await exchange.chunk(b"ab")
            came.set()
            await never(exchange)
            left.set()

        async with voice_of(answer) as voice:
            async with aclosing(voice.synthesize("Hello.")) as pieces:
                await anext(pieces)
            await left.wait()
            came.clear()
            left.clear()
            task = asyncio.ensure_future(all_of(voice, "Be slow."))
            await came.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await left.wait()

    asyncio.run(case())


def test_a_closed_voice_refuses() -> None:
    async def case() -> None:
        async with voice_at("http://127.0.0.1:1/v1") as voice:
            await voice.close()
            await voice.close()
            with pytest.raises(SpeechError, match="was closed"):
                await all_of(voice)

    asyncio.run(case())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)

    async def case() -> None:
        voice = OpenAITextToSpeech(Account(KEY), SETTINGS)
        with pytest.raises(DependencyMissing, match=r"voicecall\[openai\]"):
            await voice.prepare()
        await voice.close()

    asyncio.run(case())


def test_the_simulated_server_is_heard_and_its_faults_are_told() -> None:
    async def case() -> None:
        async with ModelServer(engines=InstantEngines()) as server:
            key = server.world.api_key
            async with voice_at(server.base_url, key=key, begin_ms=500, gap_ms=500) as voice:
                # A tone of 60 ms for each character, in steps of 200 ms.
                assert len(await all_of(voice, "Hello, you")) == 600 * 48
                server.faults.add("speech", Refuse(429))
                server.faults.add("speech", Stall())
                server.faults.add("speech", Stall(after_chunks=1))
                server.faults.add("speech", Close(after_chunks=1))
                for told in ("HTTP 429", "did not begin", "fell silent", "broke off"):
                    with pytest.raises(SpeechError, match=told):
                        await all_of(voice)
            async with voice_at(server.base_url) as stranger:
                with pytest.raises(SpeechError, match="check the API key"):
                    await all_of(stranger)

    asyncio.run(case())
