"""A whole server in the test's process, and a phone that the test holds in its hand."""

from __future__ import annotations

import asyncio
import socket
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import uvloop

from voicecall.audio import Transcoder, to_pcm16
from voicecall.call.events import CallAnswered
from voicecall.clock import SystemClock
from voicecall.config.schema import Config
from voicecall.ports import ULAW_8K
from voicecall.server import Server
from voicecall.simulator import Callee, Engines, Phone
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from voicecall.ports import DialRequest
    from voicecall.simulator.callee import Emit
    from voicecall.simulator.stream import LineAudio

T = TypeVar("T")

CALLEE = "+15550001234"
TOKEN = "open sesame"
PERSONA = Path(__file__).with_name("persona.json5")


def run(case: Coroutine[Any, Any, T], within_s: float = 20) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(within_s):
            return await case

    return uvloop.run(bounded())


async def until(condition: Callable[[], object], within_s: float = 8) -> None:
    """Wait for what another task or a timer brings about."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (any condition; no event stands behind it)
            await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def settings(**sections: Any) -> dict[str, Any]:
    """A server without models, on ports of its own; camelCase keys, sections merged one deep."""
    base: dict[str, Any] = {
        "serve": {"port": 0},
        "streaming": {"port": free_port()},
        "stt": {"provider": "scripted", "silenceDurationMs": 200},
        "tts": {"provider": "scripted"},
        "outbound": {"notifyHangupDelaySec": 0.1},
        "responseModel": f"scripted/{PERSONA}",
        "rpc": {"token": TOKEN},
    }
    for name, value in sections.items():
        known = base.get(name)
        base[name] = {**known, **value} if isinstance(known, dict) else value
    return base


class HeldPhone(Phone):
    """A phone that keeps all it hears."""

    def __init__(self, url: str, call_sid: str) -> None:
        engines = Engines(ScriptedTextToSpeech(), None)
        super().__init__(url, call_sid=call_sid, engines=engines)
        self.heard_pcm = bytearray()

    def on_line_audio(self, line: LineAudio) -> None:
        super().on_line_audio(line)
        self.heard_pcm += to_pcm16(line.heard, "ulaw")


class Hand(Callee):
    """Answers every call with a phone and does nothing with it: that is the test's part."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        super().__init__("off", None, self._clock)
        self.phones: list[HeldPhone] = []
        self.keys: list[str] = []
        self.let_ring = False
        self.hung_up = asyncio.Event()

    @property
    def phone(self) -> HeldPhone:
        return self.phones[-1]

    async def ring(self, request: DialRequest, provider_call_id: str, emit: Emit) -> None:
        if self.let_ring:
            await asyncio.Event().wait()
        await emit(
            CallAnswered(
                id=uuid.uuid4().hex,
                dedupe_key=f"{provider_call_id}:answered",
                timestamp=self._clock.wall_ms(),
                call_id=request.call_id,
                provider_call_id=provider_call_id,
            )
        )
        phone = HeldPhone(request.stream_url or "", provider_call_id)
        try:
            await phone.connect()
            self.phones.append(phone)
            await self.hung_up.wait()
        finally:
            await phone.close()

    async def press(self, provider_call_id: str, digits: str) -> None:
        del provider_call_id
        self.keys.append(digits)


class Served:
    """A running server, a client of its control plane, and the phone that its calls reach."""

    def __init__(self, server: Server, http: httpx.AsyncClient, hand: Hand | None) -> None:
        self.server = server
        self.http = http
        self._hand = hand

    @property
    def hand(self) -> Hand:
        assert self._hand is not None
        return self._hand

    async def rpc(self, method: str, **params: str) -> dict[str, Any]:
        """The whole JSON-RPC answer."""
        body = {"jsonrpc": "2.0", "id": 1, "method": f"voicecall.{method}", "params": params}
        answer = await self.http.post("/rpc", json=body)
        assert answer.status_code == 200
        return dict(answer.json())

    async def ask(self, method: str, **params: str) -> dict[str, Any]:
        """The result of a call that works."""
        answer = await self.rpc(method, **params)
        assert "error" not in answer, answer
        return dict(answer["result"])

    async def fail(self, method: str, **params: str) -> str:
        """The code of a call that is refused."""
        answer = await self.rpc(method, **params)
        return str(answer["error"]["data"]["code"])

    async def initiate(self, message: str, mode: str = "conversation") -> str:
        # Only the older method places a call that begins with nothing to say.
        method = "initiate" if message else "start"
        placed = await self.ask(method, message=message, to=CALLEE, mode=mode)
        assert placed["initiated"] is True
        return str(placed["callId"])

    async def call(self, call_id: str) -> dict[str, Any]:
        return dict((await self.ask("status", callId=call_id))["call"])

    async def ended(self, call_id: str) -> dict[str, Any]:
        """The record of a call once it is over."""

        def over() -> bool:
            record = self.server.manager.find(call_id)
            return record is not None and record.state.terminal

        await until(over)
        return await self.call(call_id)

    async def connected(self, call_id: str) -> HeldPhone:
        """The phone of a call, once the server hears it."""

        def active() -> bool:
            record = self.server.manager.find(call_id)
            return record is not None and record.state.value in {"active", "speaking", "listening"}

        await until(active)
        await until(lambda: self.hand.phones)
        return self.hand.phone

    async def webhook(self, **event: Any) -> int:
        answer = await self.http.post("/voice/webhook", json={"event": event})
        return answer.status_code

    async def listening(self, call_id: str, said: int = 1) -> None:
        """Wait until the bot has said `said` things to their ends and is silent."""

        def silent() -> bool:
            record = self.server.manager.find(call_id)
            if record is None or record.state.value != "listening":
                return False
            return sum(entry.speaker.value == "bot" for entry in record.transcript) >= said

        await until(silent)


@asynccontextmanager
async def serving(*, by_hand: bool = True, **sections: Any) -> AsyncIterator[Served]:
    config = Config.model_validate(settings(**sections))
    hand = Hand() if by_hand else None
    async with Server(config, callee=hand) as server:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=server.control_url, headers=headers) as http:
            yield Served(server, http, hand)


async def as_heard(*sentences: str) -> bytes:
    """Sentences in the scripted voice, as PCM16 at the far end of the line."""
    voice = ScriptedTextToSpeech()
    line = bytearray()
    for sentence in sentences:
        transcoder = Transcoder(voice.output, ULAW_8K)
        async for piece in voice.synthesize(sentence):
            line += transcoder.convert(piece)
        line += transcoder.convert(b"", last=True)
    return to_pcm16(bytes(line), "ulaw")


def texts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(entry["speaker"], entry["text"]) for entry in record["transcript"]]
