"""The vendor's own client, every message of the server checked against the vendor's own types."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI
from openai.types.live.server_event import ServerEvent as LiveServerEvent
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from tests.speech.signals import silence, tone
from voicecall.audio import Transcoder
from voicecall.ports import PCM16_8K, ULAW_8K
from voicecall.simulator.models.engines import InstantEngines, ToneVoice
from voicecall.simulator.models.server import ModelServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from voicecall.ports import TextToSpeech
    from voicecall.simulator.models.brain import Brain

PCMU = {"type": "audio/pcmu"}
CONVERSE: dict[str, Any] = {
    "type": "realtime",
    "audio": {
        "input": {"format": PCMU, "transcription": {"model": "gpt-transcribe"}},
        "output": {"format": PCMU},
    },
}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class Endless(ToneVoice):
    """Goes on speaking until it is stopped."""

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        while True:
            async for piece in super().synthesize(text):
                yield piece
                await asyncio.sleep(0.005)


class EndlessEngines(InstantEngines):
    """Instant ears, and a mouth that does not stop."""

    @property
    def voice(self) -> TextToSpeech:
        return Endless()


def spoken(speech_ms: int = 600, silence_ms: int = 800) -> bytes:
    """Somebody says something, in mu-law."""
    return Transcoder(PCM16_8K, ULAW_8K).convert(tone(speech_ms) + silence(silence_ms), last=True)


class Client:
    """One socket of the vendor's client.

    Args:
        connection: the vendor's.
        kind: of server events.
        append: the type of the event that carries audio.
    """

    def __init__(self, connection: Any, kind: Any, append: str) -> None:
        self._connection = connection
        self._kind = kind
        self._append = append

    async def send(self, kind: str, **fields: Any) -> None:
        await self._connection.send({"type": kind, **fields})

    async def send_raw(self, text: str) -> None:
        await self._connection.send_raw(text)

    async def speak(self, audio: bytes) -> None:
        for start in range(0, len(audio), 1600):
            piece = base64.b64encode(audio[start : start + 1600]).decode()
            await self.send(self._append, audio=piece)

    async def event(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            event: dict[str, Any] = json.loads(await self._connection.recv_bytes())
        _adapter(self._kind).validate_python(event, strict=False)
        return event

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Events up to the first of this type."""
        events = [await self.event()]
        while events[-1]["type"] != kind:
            events.append(await self.event())
        return events

    async def gets(self, kind: str) -> dict[str, Any]:
        """The next event of this type."""
        return (await self.until(kind))[-1]

    async def configure(self, session: dict[str, Any] | None = None) -> dict[str, Any]:
        await self.gets("session.created")
        await self.send("session.update", session=session or CONVERSE)
        updated: dict[str, Any] = (await self.gets("session.updated"))["session"]
        return updated

    async def say(self, text: str) -> list[dict[str, Any]]:
        """Have a text of ours answered; the events of the response."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.send("conversation.item.create", item=item)
        await self.until("conversation.item.done")
        await self.send("response.create")
        return await self.until("response.done")

    async def refused(self, kind: str, **fields: Any) -> dict[str, Any]:
        """What the server says to something that it refuses."""
        await self.send(kind, event_id="mine", **fields)
        error: dict[str, Any] = (await self.gets("error"))["error"]
        assert error.get("event_id", error.get("client_event_id")) == "mine"
        return error


@asynccontextmanager
async def serving(
    *transcripts: str, brain: Brain | None = None, endless: bool = False
) -> AsyncGenerator[tuple[ModelServer, AsyncOpenAI]]:
    make = EndlessEngines if endless else InstantEngines
    engines = make(transcripts or ("Hello.",))
    async with ModelServer(engines=engines, brain=brain) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key=server.world.api_key, max_retries=0)
        try:
            yield server, client
        finally:
            await client.close()


@asynccontextmanager
async def conversing(
    *transcripts: str, brain: Brain | None = None, endless: bool = False
) -> AsyncGenerator[Client]:
    async with (
        serving(*transcripts, brain=brain, endless=endless) as (_, client),
        client.realtime.connect(model="gpt-realtime-2.1") as connection,
    ):
        yield Client(connection, RealtimeServerEvent, "input_audio_buffer.append")


@asynccontextmanager
async def living(*transcripts: str, brain: Brain | None = None) -> AsyncGenerator[Client]:
    async with (
        serving(*transcripts, brain=brain) as (_, client),
        client.live.connect() as connection,
    ):
        yield Client(connection, LiveServerEvent, "session.input_audio.append")


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """The types of events, runs of the same one as one."""
    found: list[str] = []
    for event in events:
        if not found or found[-1] != event["type"]:
            found.append(event["type"])
    return found


def audio_of(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        base64.b64decode(event["delta"])
        for event in events
        if event["type"].endswith("output_audio.delta")
    )
