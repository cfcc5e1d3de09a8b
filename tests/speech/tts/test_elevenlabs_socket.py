from __future__ import annotations

import asyncio
import base64
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.speech.tts.wsserver import Peer, Peers, serving
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import ULAW_8K
from voicecall.speech.tts.elevenlabs import ElevenLabsAccount, ElevenLabsSettings
from voicecall.speech.tts.elevenlabs_socket import (
    MAX_CONTEXTS,
    ContextDialect,
    ElevenLabsSocketTextToSpeech,
)
from voicecall.speech.tts.pool import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.socket

KEY = "xi-very-secret"
SETTINGS = ElevenLabsSettings("a voice", "a-model")


@asynccontextmanager
async def voice_of(
    settings: ElevenLabsSettings = SETTINGS, **limits: int
) -> AsyncGenerator[tuple[Peers, ElevenLabsSocketTextToSpeech]]:
    async with serving() as peers, asyncio.timeout(20):
        account = ElevenLabsAccount(KEY, f"http://{peers.origin}")
        limit = Limits(**{"sentences": MAX_CONTEXTS, **limits})
        voice = ElevenLabsSocketTextToSpeech(account, settings, limits=limit)
        try:
            yield peers, voice
        finally:
            await voice.close()


def heard(voice: ElevenLabsSocketTextToSpeech, text: str = "Hello.") -> asyncio.Task[bytes]:
    async def listen() -> bytes:
        return b"".join([piece async for piece in voice.synthesize(text)])

    return asyncio.ensure_future(listen())


async def asked(peer: Peer) -> tuple[str, str]:
    """The next sentence: its context and its text."""
    opening, text, closing = [await peer.hears() for _ in range(3)]
    key = opening["context_id"]
    assert opening["text"] == " "
    assert text == {"context_id": key, "text": text["text"], "flush": True}
    assert closing == {"context_id": key, "close_context": True}
    return key, text["text"]


async def audio(peer: Peer, key: str, octets: bytes) -> None:
    await peer.say(audio=base64.b64encode(octets).decode(), isFinal=None, contextId=key)


async def final(peer: Peer, key: str) -> None:
    await peer.say(audio=None, isFinal=True, contextId=key)


def test_a_sentence_is_a_context_that_is_opened_flushed_and_closed_at_once() -> None:
    async def case() -> None:
        settings = ElevenLabsSettings("a voice", "a-model", "de", {"stability": 0.5})
        async with voice_of(settings) as (peers, voice):
            assert voice.output == ULAW_8K
            await voice.prepare()
            peer = await peers.next()
            url = urlsplit(peer.path)
            assert url.path == "/v1/text-to-speech/a%20voice/multi-stream-input"
            assert parse_qs(url.query) == {
                "model_id": ["a-model"],
                "output_format": ["ulaw_8000"],
                "auto_mode": ["true"],
                "inactivity_timeout": ["180"],
                "language_code": ["de"],
            }
            assert peer.headers["xi-api-key"] == KEY
            task = heard(voice, " Guten Tag. ")
            opening, text, closing = [await peer.hears() for _ in range(3)]
            key = opening["context_id"]
            assert opening == {
                "context_id": key,
                "text": " ",
                "voice_settings": {"stability": 0.5},
            }
            assert text == {"context_id": key, "text": "Guten Tag. ", "flush": True}
            assert closing == {"context_id": key, "close_context": True}
            await audio(peer, key, b"abc")
            await audio(peer, key, b"d")
            await final(peer, key)
            assert await task == b"abcd"

    asyncio.run(case())


def test_sentences_of_different_calls_share_a_socket_and_are_not_mixed_up() -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            listeners = {f"{number}. ": heard(voice, f"{number}.") for number in range(3)}
            peer = await peers.next()
            keys = dict([await asked(peer) for _ in listeners])
            for key, text in reversed(keys.items()):
                await audio(peer, "somebody else's", b"x")
                await audio(peer, key, text.encode())
            for key in keys:
                await final(peer, key)
            for text, listener in listeners.items():
                assert await listener == text.encode()

    asyncio.run(case())


def test_a_sixth_sentence_gets_a_socket_of_its_own() -> None:
    async def case() -> None:
        async with voice_of(sentences=9) as (peers, voice):
            await voice.prepare()
            first = await peers.next()
            listeners = [heard(voice) for _ in range(6)]
            for _ in range(MAX_CONTEXTS):
                key, _ = await asked(first)
                await final(first, key)
            # Which socket it is on depends on when the first places became free.
            second = await peers.next()
            sockets = [asyncio.ensure_future(asked(peer)) for peer in (first, second)]
            done, late = await asyncio.wait(sockets, return_when=asyncio.FIRST_COMPLETED)
            peer = (first, second)[sockets.index(next(iter(done)))]
            await final(peer, next(iter(done)).result()[0])
            await asyncio.gather(*listeners)
            for task in late:
                task.cancel()
            await asyncio.wait(late)

    asyncio.run(case())


def test_an_interrupted_sentence_costs_neither_the_socket_nor_its_place_for_good() -> None:
    async def case() -> None:
        async with voice_of(sentences=1, sockets=1) as (peers, voice):
            pieces = voice.synthesize("A long story.")
            first = asyncio.ensure_future(anext(pieces))
            peer = await peers.next()
            key, _ = await asked(peer)
            await audio(peer, key, b"a")
            assert await first == b"a"
            await pieces.aclose()
            other = heard(voice, "Something else.")
            # The vendor speaks what was flushed to its end; a second context would be one too many.
            await audio(peer, key, b"unwanted")
            await final(peer, key)
            key, text = await asked(peer)
            assert text == "Something else. "
            await audio(peer, key, b"b")
            await final(peer, key)
            assert await other == b"b"

    asyncio.run(case())


@pytest.mark.parametrize(
    ("name", "hint", "retryable"),
    [
        ("quota_exceeded", "no characters left", False),
        ("voice_not_found", "voiceId", False),
        ("some_limit", "some_limit", True),
        (f"says {KEY}", "1008", True),
    ],
)
def test_an_error_of_the_socket_fails_what_is_on_it(name: str, hint: str, retryable: bool) -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            task = heard(voice)
            for _ in range(2 if retryable else 1):
                peer = await peers.next()
                await asked(peer)
                await peer.say(message=f"About {KEY}", error=name, code=1008)
                await peer.close(1008)
            with pytest.raises(SpeechError, match=hint) as caught:
                await task
            assert caught.value.retryable is retryable
            assert KEY not in str(caught.value)

    asyncio.run(case())


def test_an_error_of_one_context_fails_its_sentence_only() -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            tasks = [heard(voice), heard(voice)]
            peer = await peers.next()
            (key, _), (other, _) = await asked(peer), await asked(peer)
            await peer.say(message="no", error="bad_text", contextId=key)
            await audio(peer, other, b"a")
            await final(peer, other)
            failed, said = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(failed, SpeechError)
            assert said == b"a"

    asyncio.run(case())


def test_a_socket_that_closes_before_the_first_audio_is_replaced_unheard() -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            task = heard(voice)
            peer = await peers.next()
            await asked(peer)
            await peer.close(1008)
            peer = await peers.next()
            key, _ = await asked(peer)
            await audio(peer, key, b"a")
            await final(peer, key)
            assert await task == b"a"

    asyncio.run(case())


def test_a_socket_that_closes_in_the_middle_of_a_sentence_fails_it() -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            pieces = voice.synthesize("Hello.")
            first = asyncio.ensure_future(anext(pieces))
            peer = await peers.next()
            key, _ = await asked(peer)
            await audio(peer, key, b"a")
            assert await first == b"a"
            await peer.close(1011)
            with pytest.raises(SpeechError, match="1011") as caught:
                await anext(pieces)
            assert caught.value.retryable

    asyncio.run(case())


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_stalling_voice_is_given_up(pieces: int) -> None:
    async def case() -> None:
        async with voice_of(begin_ms=200, gap_ms=200) as (peers, voice):
            task = heard(voice)
            peer = await peers.next()
            key, _ = await asked(peer)
            for _ in range(pieces):
                await audio(peer, key, b"a")
            with pytest.raises(SpeechError, match="fell silent"):
                await task
            await peer.left()

    asyncio.run(case())


@pytest.mark.parametrize(
    ("status", "hint", "retryable"),
    [(401, "check elevenlabs.apiKey", False), (429, "at once", True), (500, "HTTP 500", True)],
)
def test_a_refused_handshake_says_what_to_do(status: int, hint: str, retryable: bool) -> None:
    async def case() -> None:
        async with voice_of() as (peers, voice):
            peers.refusal = status, {"detail": {"status": "a_name", "message": KEY}}
            await voice.prepare()
            with pytest.raises(SpeechError, match=f"{status} a_name.*") as caught:
                await heard(voice)
            assert hint in str(caught.value)
            assert caught.value.retryable is retryable
            assert KEY not in str(caught.value)

    asyncio.run(case())


def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    async def case() -> None:
        account = ElevenLabsAccount(KEY, "http://127.0.0.1:1")
        voice = ElevenLabsSocketTextToSpeech(account, SETTINGS)
        with pytest.raises(SpeechError, match="connection to ElevenLabs failed"):
            await heard(voice)
        assert await heard(voice, "  ") == b""
        await voice.close()

    asyncio.run(case())


def test_a_silent_socket_is_kept_alive() -> None:
    async def case() -> None:
        async with voice_of(rest_ms=1, tick_ms=10) as (peers, voice):
            await voice.prepare()
            assert await (await peers.next()).hears() == {"text": ""}

    asyncio.run(case())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)

    async def case() -> None:
        voice = ElevenLabsSocketTextToSpeech(ElevenLabsAccount(KEY), SETTINGS)
        with pytest.raises(DependencyMissing, match=r"voicecall\[elevenlabs\]"):
            await voice.prepare()
        await voice.close()

    asyncio.run(case())


@pytest.mark.parametrize("spelling", ["camel", "snake"])
def test_both_spellings_of_messages_are_understood(spelling: str) -> None:
    context, last = {"camel": ("contextId", "isFinal"), "snake": ("context_id", "is_final")}[
        spelling
    ]
    dialect = ContextDialect({})
    dialect.say("k", "Hello.")
    message: dict[str, Any] = {context: "k", "audio": "YQ==", last: True}
    spoken = dialect.receive(str(message).replace("'", '"').replace("True", "true").encode())
    assert [type(event).__name__ for event in spoken] == ["Piece", "End"]
