from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types import (
    ListenV1Error,
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
    ListenV1UtteranceEnd,
)
from starlette.routing import Router
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.simulator.models.speaking_client import silence, spoken, tone
from voicecall.clock import ManualClock
from voicecall.control.listen import ControlListener
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K
from voicecall.simulator.models import deepgram
from voicecall.simulator.models.brain import Brain
from voicecall.simulator.models.engines import InstantEngines, LocalEngines
from voicecall.simulator.models.faults import Close, Fail, Malformed, Refuse, Stall
from voicecall.simulator.models.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from websockets.asyncio.client import ClientConnection

    from voicecall.ports import AudioFormat
    from voicecall.simulator.models.engines import ModelEngines
    from voicecall.simulator.models.faults import Fault

pytestmark = pytest.mark.socket

KEY = "dg-simulated"
# The vendor's package uses what the current websockets has deprecated.
DATED = pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")
TYPES: dict[str, Any] = {
    "Results": ListenV1Results,
    "SpeechStarted": ListenV1SpeechStarted,
    "UtteranceEnd": ListenV1UtteranceEnd,
    "Metadata": ListenV1Metadata,
    "Error": ListenV1Error,
}
QUERY = "model=nova-3&encoding=mulaw&sample_rate=8000"
FULL = f"{QUERY}&interim_results=true&endpointing=300&utterance_end_ms=1000&vad_events=true"
UTTERANCE = silence(300, ULAW_8K) + tone(500, ULAW_8K) + silence(1400, ULAW_8K)


class Served:
    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self.port = port

    def url(self, query: str = FULL) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/listen?{query}"

    @asynccontextmanager
    async def connected(
        self, query: str = FULL, authorization: str = f"Token {KEY}"
    ) -> AsyncGenerator[ClientConnection]:
        headers = {"Authorization": authorization}
        async with connect(self.url(query), additional_headers=headers, close_timeout=1) as socket:
            yield socket


@asynccontextmanager
async def serving(
    *faults: Fault, engines: ModelEngines | None = None, idle_s: float = deepgram.IDLE_S
) -> AsyncGenerator[Served]:
    world = World(
        engines or InstantEngines(["One two three four five."]), Brain(), ManualClock(), KEY
    )
    if faults:
        world.faults.add(deepgram.SERVICE, *faults)
    listener = ControlListener(Router(deepgram.routes(world, idle_s=idle_s)), "127.0.0.1", 0)
    await listener.start()
    try:
        async with asyncio.timeout(40):
            yield Served(world, listener.port)
    finally:
        await listener.stop(0.2)


def parsed(message: str | bytes) -> Any:
    """A message, checked by the vendor's own types."""
    body = json.loads(message)
    return TYPES[body["type"]].model_validate(body, strict=True)


async def until(socket: ClientConnection, kind: str) -> list[Any]:
    messages: list[Any] = []
    async with asyncio.timeout(20):
        while not messages or messages[-1].type != kind:
            messages.append(parsed(await socket.recv()))
    return messages


async def all_of(socket: ClientConnection) -> list[Any]:
    messages: list[Any] = []
    async with asyncio.timeout(20):
        try:
            while True:
                messages.append(parsed(await socket.recv()))
        except ConnectionClosed as closed:
            messages.append(closed.rcvd.code if closed.rcvd else None)
    return messages


def test_an_utterance_is_told_from_its_beginning_to_its_end() -> None:
    async def case() -> None:
        async with serving() as served, served.connected() as socket:
            for start in range(0, len(UTTERANCE), 320):
                await socket.send(UTTERANCE[start : start + 320])
            begin, *told, end = await until(socket, "UtteranceEnd")
            assert begin.type == "SpeechStarted"
            assert begin.timestamp == pytest.approx(0.3, abs=0.05)
            texts = [(each.channel.alternatives[0].transcript, each.is_final) for each in told]
            assert texts == [
                ("One two three four five.", False),
                ("One two three four", True),
                ("five.", True),
            ]
            assert [each.speech_final for each in told] == [False, False, True]
            assert told[-1].start + told[-1].duration == pytest.approx(0.8, abs=0.05)
            assert end.last_word_end == pytest.approx(0.8, abs=0.05)
            words = told[-2].channel.alternatives[0].words
            assert [word.word for word in words] == ["one", "two", "three", "four"]
            await socket.send('{"type": "CloseStream"}')
            metadata, code = await all_of(socket)
            assert metadata.duration == pytest.approx(2.2)
            assert code == 1000

    asyncio.run(case())


def test_what_was_not_asked_for_is_not_told() -> None:
    async def case() -> None:
        async with serving() as served, served.connected(f"{QUERY}&endpointing=300") as socket:
            await socket.send(UTTERANCE)
            await socket.send('{"type": "CloseStream"}')
            *told, metadata, _ = await all_of(socket)
            assert [(each.type, each.is_final) for each in told] == [("Results", True)] * 2
            assert metadata.type == "Metadata"

    asyncio.run(case())


@DATED
def test_the_vendors_own_client_understands_it() -> None:
    async def case() -> None:
        async with serving() as served:
            address = f"ws://127.0.0.1:{served.port}"
            environment = DeepgramClientEnvironment(
                base=address, production=address, agent=address, agent_rest=address
            )
            client = AsyncDeepgramClient(api_key=KEY, environment=environment)
            async with client.listen.v1.connect(
                model="nova-3",
                encoding="mulaw",
                sample_rate=8000,
                endpointing=300,
                vad_events=True,
                interim_results=True,
                keyterm=["Acme", "Zed"],
            ) as socket:
                await socket.send_keep_alive()
                await socket.send_media(UTTERANCE)
                await socket.send_close_stream()
                kinds = [type(message) async for message in socket]
            assert kinds == [
                ListenV1SpeechStarted,
                ListenV1Results,
                ListenV1Results,
                ListenV1Results,
                ListenV1Metadata,
            ]
            kept = [request.body.get("type") for request in served.world.received("deepgram")]
            assert kept == [None, "KeepAlive", "CloseStream"]

    asyncio.run(case())


@DATED
def test_the_vendors_own_client_is_refused_with_a_wrong_key() -> None:
    async def case() -> None:
        async with serving() as served:
            address = f"ws://127.0.0.1:{served.port}"
            environment = DeepgramClientEnvironment(
                base=address, production=address, agent=address, agent_rest=address
            )
            client = AsyncDeepgramClient(api_key="wrong", environment=environment)
            with pytest.raises((ApiError, InvalidStatus)):
                async with client.listen.v1.connect(model="nova-3", encoding="mulaw"):
                    pass

    asyncio.run(case())


def test_what_is_being_said_can_be_finalized_and_the_next_is_dated_rightly() -> None:
    async def case() -> None:
        async with serving() as served, served.connected() as socket:
            await socket.send(silence(300, ULAW_8K) + tone(500, ULAW_8K))
            await socket.send('{"type": "Finalize"}')
            first = (await until(socket, "Results"))[-1]
            while not first.speech_final:
                first = (await until(socket, "Results"))[-1]
            assert first.start + first.duration == pytest.approx(0.8, abs=0.05)
            await socket.send(silence(1000, ULAW_8K) + tone(500, ULAW_8K))
            begin = (await until(socket, "SpeechStarted"))[-1]
            assert begin.timestamp == pytest.approx(1.8, abs=0.05)

    asyncio.run(case())


def test_a_spoken_sentence_is_understood_in_every_coding() -> None:
    pytest.importorskip("hibari")
    pytest.importorskip("moonshine_voice")
    codings = {"mulaw": ULAW_8K, "alaw": ALAW_8K, "linear16": PCM16_8K}

    async def case() -> None:
        engines = LocalEngines(ManualClock())
        try:
            async with serving(engines=engines) as served:
                for encoding, audio in codings.items():
                    query = f"encoding={encoding}&sample_rate=8000&endpointing=500"
                    assert "book an appointment" in await understood(served, query, audio, engines)
        finally:
            await engines.close()

    asyncio.run(case())


async def understood(served: Served, query: str, audio: AudioFormat, engines: LocalEngines) -> str:
    async with served.connected(query) as socket:
        speech = await spoken(engines.voice, "I would like to book an appointment.", audio)
        await socket.send(silence(500, audio) + speech + silence(500, audio))
        await socket.send('{"type": "CloseStream"}')
        *told, _, _ = await all_of(socket)
    return " ".join(each.channel.alternatives[0].transcript for each in told).lower()


@pytest.mark.parametrize(
    "query",
    [
        "model=nova-3",
        f"{QUERY}&utterance_end_ms=1000",
        f"{QUERY}&interim_results=true&utterance_end_ms=500",
        f"{QUERY}&interim_results=perhaps",
        f"{QUERY}&endpointing=soon",
        f"{QUERY}&channels=2",
        f"{QUERY}&unheard_of=1",
        "encoding=mulaw&sample_rate=16000",
        "encoding=opus&sample_rate=8000",
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: str) -> None:
    async def case() -> None:
        async with serving() as served:
            with pytest.raises(InvalidStatus) as caught:
                async with served.connected(query):
                    pass
            assert caught.value.response.status_code == 400
            assert json.loads(caught.value.response.body or b"")["err_code"] == "Bad Request"

    asyncio.run(case())


def test_nobody_is_let_in_without_the_key() -> None:
    async def case() -> None:
        async with serving() as served:
            for authorization in (f"Bearer {KEY}", "Token wrong", ""):
                with pytest.raises(InvalidStatus) as caught:
                    async with served.connected(authorization=authorization):
                        pass
                assert caught.value.response.status_code == 401
                body = json.loads(caught.value.response.body or b"")
                assert body["err_code"] == "INVALID_AUTH"
            assert all("authorization" not in each.headers for each in served.world.requests)

    asyncio.run(case())


def test_a_client_that_sends_nothing_is_cut_off() -> None:
    async def case() -> None:
        async with serving(idle_s=0.02) as served, served.connected() as socket:
            with pytest.raises(ConnectionClosed) as caught:
                await socket.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1011
            assert caught.value.rcvd.reason.startswith("NET-0001")

    asyncio.run(case())


def test_a_message_that_makes_no_sense_is_told_so_and_the_session_goes_on() -> None:
    async def case() -> None:
        async with serving() as served, served.connected() as socket:
            await socket.send("{")
            await socket.send('{"type": "Sing"}')
            for _ in range(2):
                (error,) = await until(socket, "Error")
                assert error.variant == "SchemaError"
            await socket.send(UTTERANCE)
            assert (await until(socket, "Results"))[0].type == "SpeechStarted"

    asyncio.run(case())


def test_planned_faults_happen() -> None:
    async def case() -> None:
        async with serving(Refuse(429)) as served:
            with pytest.raises(InvalidStatus) as caught:
                async with served.connected():
                    pass
            assert caught.value.response.status_code == 429
            served.world.faults.add(deepgram.SERVICE, Close(after="SpeechStarted", code=1012))
            async with served.connected() as socket:
                await socket.send(UTTERANCE)
                begin, code = await all_of(socket)
                assert (begin.type, code) == ("SpeechStarted", 1012)
            served.world.faults.add(deepgram.SERVICE, Malformed(after="SpeechStarted", text="{"))
            async with served.connected() as socket:
                await socket.send(UTTERANCE)
                assert parsed(await socket.recv()).type == "SpeechStarted"
                assert await socket.recv() == "{"
            served.world.faults.add(deepgram.SERVICE, Fail(after="SpeechStarted", code="WRONG"))
            async with served.connected() as socket:
                await socket.send(UTTERANCE)
                assert (await until(socket, "Error"))[-1].variant == "WRONG"
            served.world.faults.add(deepgram.SERVICE, Stall(after="SpeechStarted"))
            async with served.connected() as socket:
                await socket.send(UTTERANCE)
                assert parsed(await socket.recv()).type == "SpeechStarted"
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(socket.recv(), 0.05)

    asyncio.run(case())
