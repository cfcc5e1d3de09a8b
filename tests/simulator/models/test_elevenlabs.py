from __future__ import annotations

import asyncio
import base64
import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from elevenlabs.client import AsyncElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.types import (
    AudioOutputMulti,
    FinalOutputMulti,
    VoiceSettings,
    WebsocketTtsClientMessageMulti,
)
from starlette.routing import Router
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from voicecall.audio import Transcoder
from voicecall.clock import ManualClock
from voicecall.control.listen import ControlListener
from voicecall.errors import SpeechError
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K
from voicecall.simulator.models.brain import Brain
from voicecall.simulator.models.elevenlabs import MAX_CONTEXTS, routes
from voicecall.simulator.models.engines import InstantEngines, LocalEngines
from voicecall.simulator.models.faults import Close, Fail, Malformed, Refuse, Stall
from voicecall.simulator.models.world import World
from voicecall.speech.tts.elevenlabs import (
    ElevenLabsAccount,
    ElevenLabsSettings,
    ElevenLabsTextToSpeech,
)
from voicecall.speech.tts.elevenlabs_socket import ElevenLabsSocketTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from voicecall.ports import TextToSpeech
    from voicecall.simulator.models.engines import ModelEngines

pytestmark = pytest.mark.socket

KEY = "xi-simulated"
PATIENCE_S = 10
MU_LAW = {"output_format": "ulaw_8000"}


class Server:
    """The simulated vendor on a port of its own."""

    def __init__(self, world: World, port: int, client: httpx.AsyncClient) -> None:
        self.world = world
        self.origin = f"http://127.0.0.1:{port}"
        self._client = client

    def sdk(self, key: str = KEY) -> AsyncElevenLabs:
        return AsyncElevenLabs(api_key=key, base_url=self.origin, httpx_client=self._client)

    def connect(self, *, key: str = KEY, voice: str = "any", **query: str) -> Any:
        url = self.origin.replace("http", "ws")
        path = f"/v1/text-to-speech/{voice}/multi-stream-input"
        asked = httpx.QueryParams({**MU_LAW, **query})
        return connect(f"{url}{path}?{asked}", additional_headers={"xi-api-key": key}, proxy=None)


@asynccontextmanager
async def serving(engines: ModelEngines | None = None) -> AsyncGenerator[Server]:
    world = World(engines or InstantEngines(), Brain(), ManualClock(), KEY)
    listener = ControlListener(Router(routes(world)), "127.0.0.1", 0)
    async with AsyncExitStack() as ending:
        await listener.start()
        ending.push_async_callback(listener.stop, 0.2)
        await ending.enter_async_context(asyncio.timeout(2 * PATIENCE_S))
        client = await ending.enter_async_context(httpx.AsyncClient(timeout=PATIENCE_S))
        yield Server(world, listener.port, client)


async def say(connection: ClientConnection, **message: Any) -> None:
    """A message that the vendor's own type knows every field of."""
    parsed = WebsocketTtsClientMessageMulti.model_validate(message)
    assert not parsed.model_extra
    await connection.send(json.dumps(message))


async def hears(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        message: dict[str, Any] = json.loads(await connection.recv())
    kind = FinalOutputMulti if message.get("isFinal") else AudioOutputMulti
    if "error" not in message:
        kind.model_validate(message)
    return message


async def spoken(connection: ClientConnection, context: str) -> bytes:
    """What a context says until its end; others are silent meanwhile."""
    audio = b""
    while True:
        message = await hears(connection)
        assert message["contextId"] == context
        if message["isFinal"]:
            return audio
        audio += base64.b64decode(message["audio"])


async def closed(connection: ClientConnection) -> tuple[str | None, int | None]:
    """The error that the server told, and the code it closed the socket with."""
    name = None
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionClosedError):
            async for message in connection:
                name = json.loads(message).get("error") or name
    return name, connection.close_code


# --- over HTTP ---------------------------------------------------------------------------------


def test_the_vendors_own_client_hears_what_was_said() -> None:
    pytest.importorskip("hibari")
    pytest.importorskip("moonshine_voice")

    async def case() -> None:
        engines = LocalEngines(ManualClock())
        try:
            async with serving(engines) as server:
                speech = server.sdk().text_to_speech.stream(
                    "any",
                    text="The next free appointment is on Tuesday.",
                    model_id="eleven_flash_v2_5",
                    output_format="ulaw_8000",
                    voice_settings=VoiceSettings(stability=0.5, speed=1.0),
                )
                audio = b"".join([piece async for piece in speech])
            pcm = Transcoder(ULAW_8K, PCM16_8K).convert(audio, last=True)
            words = await engines.transcribe(pcm)
            assert "appointment is on tuesday" in words.lower()
        finally:
            await engines.close()

    asyncio.run(case())


@pytest.mark.parametrize(
    ("name", "audio"), [("ulaw_8000", ULAW_8K), ("alaw_8000", ALAW_8K), ("pcm_8000", PCM16_8K)]
)
def test_audio_comes_in_the_format_that_is_asked_for(name: Any, audio: Any) -> None:
    async def case() -> None:
        async with serving() as server:
            speech = server.sdk().text_to_speech.stream("any", text="Hello", output_format=name)
            octets = sum([len(piece) async for piece in speech])
            assert audio.duration_ms(octets) == 400

    asyncio.run(case())


@pytest.mark.parametrize(
    ("wrong", "status", "name"),
    [
        ({"key": "wrong"}, 401, "invalid_api_key"),
        ({"voice": "no such voice"}, 404, "voice_not_found"),
        ({"query": {"output_format": "mp3_44100_128"}}, 400, "invalid_output_format"),
        ({"query": {}}, 400, "invalid_output_format"),
        ({"query": {**MU_LAW, "volume": "11"}}, 400, "invalid_query"),
        ({"body": {"text": ""}}, 422, "text"),
        ({"body": {"text": "Hi", "tempo": 2}}, 422, "tempo"),
        ({"body": {"text": "Hi", "voice_settings": {"stability": 2}}}, 422, "stability"),
        ({"body": {"text": "Hi", "voice_settings": {"speed": 0.5}}}, 422, "speed"),
    ],
)
def test_what_the_vendor_would_refuse_is_refused(
    wrong: dict[str, Any], status: int, name: str
) -> None:
    async def case() -> None:
        async with serving() as server, httpx.AsyncClient() as client:
            voice = wrong.get("voice", "any")
            response = await client.post(
                f"{server.origin}/v1/text-to-speech/{voice}/stream",
                params=wrong.get("query", MU_LAW),
                headers={"xi-api-key": wrong.get("key", KEY)},
                json=wrong.get("body", {"text": "Hi"}),
            )
            assert response.status_code == status
            assert name in json.dumps(response.json()["detail"])

    asyncio.run(case())


def test_a_wrong_key_is_an_error_of_the_vendors_client() -> None:
    async def case() -> None:
        async with serving() as server:
            speech = server.sdk("wrong").text_to_speech.stream(
                "any", text="Hello", output_format="ulaw_8000"
            )
            with pytest.raises(ApiError) as refused:
                await anext(speech)
            assert refused.value.status_code == 401
            (request,) = server.world.received("elevenlabs")
            assert request.body["text"] == "Hello"
            assert "xi-api-key" not in request.headers

    asyncio.run(case())


# --- over a socket -----------------------------------------------------------------------------


def test_a_context_speaks_what_is_flushed_and_ends_once_it_is_closed() -> None:
    async def case() -> None:
        async with serving() as server, server.connect() as connection:
            await say(connection, text=" ", context_id="a", voice_settings={"stability": 0.5})
            await say(connection, text="Hel", context_id="a")
            await say(connection, text="lo ", context_id="a", flush=True)
            await say(connection, text="never said", context_id="a")
            await say(connection, context_id="a", close_context=True)
            audio = await spoken(connection, "a")
            assert ULAW_8K.duration_ms(len(audio)) == 400
            # The same name is another context then.
            await say(connection, text="Hello ", context_id="a", flush=True)
            await say(connection, context_id="a", close_context=True)
            assert await spoken(connection, "a") == audio

    asyncio.run(case())


def test_short_text_waits_unless_everything_is_spoken_as_it_comes() -> None:
    async def case() -> None:
        async with serving() as server:
            for query, text in (({}, "x" * 120), ({"auto_mode": "true"}, "Hello")):
                async with server.connect(**query) as connection:
                    await say(connection, text=text[:3], context_id="a")
                    await say(connection, text=text[3:], context_id="a")
                    assert (await hears(connection))["audio"]

    asyncio.run(case())


def test_contexts_speak_independently_of_each_other() -> None:
    async def case() -> None:
        async with serving() as server, server.connect() as connection:
            for context in ("a", "b"):
                await say(connection, text="Hello ", context_id=context, flush=True)
            await say(connection, context_id="b", close_context=True)
            octets = {"a": 0, "b": 0}
            final = False
            while not final or octets["a"] < 3200:
                message = await hears(connection)
                final = final or bool(message["isFinal"])
                octets[message["contextId"]] += len(base64.b64decode(message["audio"] or ""))
            assert octets == {"a": 3200, "b": 3200}

    asyncio.run(case())


def test_one_context_too_many_closes_the_socket() -> None:
    async def case() -> None:
        async with serving() as server, server.connect() as connection:
            for number in range(MAX_CONTEXTS + 1):
                await say(connection, text=" ", context_id=str(number))
            assert await closed(connection) == ("max_active_conversations", 1008)

    asyncio.run(case())


def test_a_closed_context_makes_room_for_another() -> None:
    async def case() -> None:
        async with serving() as server, server.connect() as connection:
            for number in range(3 * MAX_CONTEXTS):
                await say(connection, text=" ", context_id=str(number))
                await say(connection, context_id=str(number), close_context=True)
                assert await spoken(connection, str(number)) == b""

    asyncio.run(case())


def test_closing_the_socket_speaks_everything_first() -> None:
    async def case() -> None:
        async with serving() as server:
            for text in ("Hello ", ""):
                async with server.connect() as connection:
                    await say(connection, text=text, context_id="a")
                    await say(connection, close_socket=True)
                    if text:
                        assert len(await spoken(connection, "a")) == 3200
                    assert await closed(connection) == (None, 1000)

    asyncio.run(case())


@pytest.mark.parametrize(
    "message",
    [
        '{"text": ',
        '{"text": 1}',
        '{"text": "x", "volume": 11}',
        '{"text": "x", "context_id": "a", "voice_settings": {}}',
    ],
)
def test_a_message_that_is_not_one_closes_the_socket(message: str) -> None:
    async def case() -> None:
        async with serving() as server, server.connect() as connection:
            await say(connection, text=" ", context_id="a")
            await connection.send(message)
            assert await closed(connection) == ("invalid_message", 1008)

    asyncio.run(case())


def test_a_silent_socket_is_closed() -> None:
    async def case() -> None:
        async with serving() as server, server.connect(inactivity_timeout="1") as connection:
            assert await closed(connection) == ("input_timeout_exceeded", 1008)

    asyncio.run(case())


def test_empty_texts_open_no_contexts() -> None:
    async def case() -> None:
        async with serving() as server, server.connect() as connection:
            for number in range(MAX_CONTEXTS + 1):
                await say(connection, text="", context_id=str(number))
            await say(connection, text="")
            await say(connection, text="Hello ", context_id="a", flush=True)
            assert (await hears(connection))["contextId"] == "a"

    asyncio.run(case())


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"key": "wrong"}, 401),
        ({"voice": "a%20b"}, 404),
        ({"inactivity_timeout": "181"}, 400),
        ({"volume": "11"}, 400),
    ],
)
def test_a_handshake_that_the_vendor_would_refuse_is_refused(
    wrong: dict[str, str], status: int
) -> None:
    async def case() -> None:
        async with serving() as server:
            with pytest.raises(InvalidStatus) as refused:
                await server.connect(**wrong)
            assert refused.value.response.status_code == status

    asyncio.run(case())


def test_planned_faults_happen_to_sockets() -> None:
    async def case() -> None:
        async with serving() as server:
            faults = server.world.faults
            faults.add("elevenlabs", Refuse(429))
            with pytest.raises(InvalidStatus):
                await server.connect()
            for fault, told in (
                (Close(code=1011, after="audio"), (None, 1011)),
                (Fail(code="boom", after="audio"), ("boom", 1011)),
            ):
                faults.add("elevenlabs", fault)
                async with server.connect() as connection:
                    await say(connection, text="Hello ", context_id="a", flush=True)
                    assert await closed(connection) == told
            faults.add("elevenlabs", Malformed(after="audio"))
            async with server.connect() as connection:
                await say(connection, text="Hello ", context_id="a", flush=True)
                await connection.recv()
                with pytest.raises(json.JSONDecodeError):
                    json.loads(await connection.recv())

    asyncio.run(case())


# --- with our own clients ----------------------------------------------------------------------


@asynccontextmanager
async def voice_of(server: Server, kind: str, key: str = KEY) -> AsyncGenerator[TextToSpeech]:
    account = ElevenLabsAccount(key, server.origin)
    settings = ElevenLabsSettings("any", "eleven_flash_v2_5", "en", {"stability": 0.5})
    voice: TextToSpeech
    if kind == "http":
        voice = ElevenLabsTextToSpeech(account, settings)
    else:
        voice = ElevenLabsSocketTextToSpeech(account, settings)
    try:
        yield voice
    finally:
        await voice.close()


async def all_of(voice: TextToSpeech, text: str) -> bytes:
    return b"".join([piece async for piece in voice.synthesize(text)])


@pytest.mark.parametrize("kind", ["http", "socket"])
def test_our_own_voice_speaks_with_it(kind: str) -> None:
    async def case() -> None:
        async with serving() as server, voice_of(server, kind) as voice:
            await voice.prepare()
            texts = ["Hello, you", "Who are you then?"] * 6
            audio = await asyncio.gather(*(all_of(voice, text) for text in texts))
            assert [len(piece) for piece in audio] == [4800, 9600] * 6
            pieces: Any = voice.synthesize("Nobody hears this to its end.")
            await anext(pieces)
            await pieces.aclose()
            assert len(await all_of(voice, "Hello, you")) == 4800

    asyncio.run(case())


@pytest.mark.parametrize("kind", ["http", "socket"])
def test_our_own_voice_tells_what_goes_wrong(kind: str) -> None:
    async def case() -> None:
        async with serving() as server:
            async with voice_of(server, kind, "wrong") as voice:
                with pytest.raises(SpeechError, match=r"check elevenlabs\.apiKey"):
                    await all_of(voice, "Hello")
            for fault in (Refuse(500), Fail(after="audio"), Close(after="audio")):
                server.world.faults.add("elevenlabs", fault)
                async with voice_of(server, kind) as voice:
                    with pytest.raises(SpeechError):
                        await all_of(voice, "Hello, you")
            server.world.faults.add("elevenlabs", Stall(after_chunks=1))
            async with voice_of(server, kind) as voice:
                pieces: Any = voice.synthesize("Hello, you")
                await anext(pieces)
                await pieces.aclose()

    asyncio.run(case())
