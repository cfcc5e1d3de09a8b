from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.speech.tts.httpserver import Exchange, never, serving
from voicecall.errors import SpeechError
from voicecall.ports import ULAW_8K
from voicecall.speech.tts.body import Patience
from voicecall.speech.tts.elevenlabs import (
    ElevenLabsAccount,
    ElevenLabsSettings,
    ElevenLabsTextToSpeech,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

pytestmark = pytest.mark.socket

KEY = "xi-very-secret"
SETTINGS = ElevenLabsSettings("a voice", "a-model")


@asynccontextmanager
async def voice_of(
    answer: Callable[[Exchange], Awaitable[None]],
    settings: ElevenLabsSettings = SETTINGS,
    **patience: int,
) -> AsyncGenerator[ElevenLabsTextToSpeech]:
    async with serving(answer) as origin, asyncio.timeout(20):
        account = ElevenLabsAccount(KEY, origin)
        voice = ElevenLabsTextToSpeech(account, settings, patience=Patience(**patience))
        try:
            yield voice
        finally:
            await voice.close()


async def all_of(voice: ElevenLabsTextToSpeech, text: str = "Hello.") -> bytes:
    return b"".join([piece async for piece in voice.synthesize(text)])


def test_pieces_come_as_the_network_brings_them() -> None:
    async def case() -> None:
        taken = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await exchange.head(kind="audio/basic")
            await exchange.chunk(b"abc")
            # Nothing more is sent before this was heard.
            await taken.wait()
            await exchange.chunk(b"d")
            await exchange.end()

        async with voice_of(answer) as voice:
            await voice.prepare()
            assert voice.output == ULAW_8K
            pieces = voice.synthesize("Hello.")
            assert await anext(pieces) == b"abc"
            taken.set()
            assert [piece async for piece in pieces] == [b"d"]

    asyncio.run(case())


def test_what_is_not_wanted_is_not_asked_for() -> None:
    async def case() -> None:
        asked: list[dict[str, Any]] = []

        async def answer(exchange: Exchange) -> None:
            assert exchange.path == "/v1/text-to-speech/a%20voice/stream?output_format=ulaw_8000"
            assert exchange.headers["xi-api-key"] == KEY
            asked.append(exchange.body)
            await exchange.head()
            await exchange.end()

        plain = {"model_id": "a-model", "text": "Hi."}
        async with voice_of(answer) as voice:
            assert await all_of(voice, "Hi.") == b""
            assert await all_of(voice, " \n") == b""
        settings = ElevenLabsSettings("a voice", "a-model", "de", {"stability": 0.5})
        async with voice_of(answer, settings) as voice:
            await all_of(voice, "Hi.")
        more = {"language_code": "de", "voice_settings": {"stability": 0.5}}
        assert asked == [plain, {**plain, **more}]

    asyncio.run(case())


@pytest.mark.parametrize(
    "base_url", ["http://somewhere/eu", "http://somewhere/eu/", "http://somewhere/eu/v1"]
)
def test_a_base_url_may_name_the_version_or_not(base_url: str) -> None:
    url = ElevenLabsAccount(KEY, base_url).url("v", "stream", schemes={"http": "ws"})
    assert url == "ws://somewhere/eu/v1/text-to-speech/v/stream"
    assert ElevenLabsAccount(KEY).url("v", "x") == (
        "https://api.elevenlabs.io/v1/text-to-speech/v/x"
    )
    assert KEY not in repr(ElevenLabsAccount(KEY))


@pytest.mark.parametrize(
    ("status", "detail", "retryable", "hint"),
    [
        (401, {"status": "invalid_api_key", "message": KEY}, False, "check elevenlabs.apiKey"),
        (401, {"status": "quota_exceeded"}, False, "no characters left"),
        (404, {"code": "voice_not_found", "type": "not_found"}, False, "voiceId"),
        (422, [{"loc": ["body"], "msg": KEY, "type": "x"}], False, "settings"),
        (429, {"status": "too_many_concurrent_requests"}, True, "at once"),
        (500, "Internal Server Error", True, "HTTP 500"),
    ],
)
def test_a_refusal_says_what_to_do_and_not_the_key(
    status: int, detail: Any, retryable: bool, hint: str
) -> None:
    async def case() -> None:
        async def answer(exchange: Exchange) -> None:
            await exchange.refuse(status, {"detail": detail})

        async with voice_of(answer) as voice:
            with pytest.raises(SpeechError, match=hint) as caught:
                await all_of(voice)
            assert caught.value.status == status
            assert caught.value.retryable is retryable
            assert KEY not in str(caught.value)

    asyncio.run(case())


def test_a_refusal_without_end_is_not_read_to_its_end() -> None:
    async def case() -> None:
        async def answer(exchange: Exchange) -> None:
            await exchange.head(503, "text/html")
            while not exchange.gone.is_set():
                try:
                    await exchange.chunk(b"x" * 65_536)
                except OSError:
                    return
                await asyncio.sleep(0)

        async with voice_of(answer) as voice:
            with pytest.raises(SpeechError, match="HTTP 503"):
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
        account = ElevenLabsAccount(KEY, "http://127.0.0.1:1")
        async with aclosing(ElevenLabsTextToSpeech(account, SETTINGS).synthesize("Hi.")) as pieces:
            with pytest.raises(SpeechError, match="could not be reached"):
                await anext(pieces)

    asyncio.run(case())


def test_whoever_stops_listening_closes_the_connection() -> None:
    async def case() -> None:
        came, left = asyncio.Event(), asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            if "slow" not in exchange.body["text"]:
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
        async with voice_of(never) as voice:
            await voice.close()
            with pytest.raises(SpeechError, match="was closed"):
                await all_of(voice)

    asyncio.run(case())
