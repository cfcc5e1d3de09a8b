"""Two calls on a whole server: one misbehaves, the other is listened to by its own process."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from benchmarks.isolation.misdeeds import MISBEHAVE
from voicecall.call.events import CallAnswered
from voicecall.clock import SystemClock
from voicecall.config.schema import Config
from voicecall.server import Server
from voicecall.simulator import Callee

if TYPE_CHECKING:
    from benchmarks.isolation.misdeeds import Misdeed
    from voicecall.ports import DialRequest
    from voicecall.simulator.callee import Emit

CALLEE = "+15550001234"
SENTENCE = "This is one of many sentences that are said without a pause while others misbehave. "
SENTENCES = 2
BEFORE_S = 0.7
DURING_S = 4.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the other call heard, for a player with 60 ms of buffer.

    Attributes:
        messages: of audio; `late` of them came when the player had run dry.
        p50_ms, p99_ms, worst_ms: lateness; negative is early.
        last_ms: lateness of the last message: whether the audio is on time again.
        gaps_ms: how long nothing was heard, each time the player ran dry.
        octets: of audio.
        reported: what the server's log said of it, each once.
        blocked: how often the loop that sends audio was counted as blocked.
    """

    messages: int
    octets: int
    late: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    last_ms: float
    gaps_ms: list[int]
    reported: list[str]
    blocked: int


class Caller:
    """A caller's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            return (await self._process.stdout.readline()).decode().strip()

    def press(self, digit: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{digit}\n".encode())

    async def hang_up(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.close()
        heard: dict[str, Any] = json.loads(await self.line())
        await self._process.wait()
        return heard

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Callers(Callee):
    """Answers every call with a process; the programs are taken in order."""

    def __init__(self, *programs: str) -> None:
        self._clock = SystemClock()
        super().__init__("off", None, self._clock)
        self._programs = list(programs)
        self.connected: asyncio.Queue[Caller] = asyncio.Queue()

    async def ring(self, request: DialRequest, provider_call_id: str, emit: Emit) -> None:
        caller = await self._start(
            self._programs.pop(0), request.stream_url or "", provider_call_id
        )
        answered = CallAnswered(
            id=uuid.uuid4().hex,
            dedupe_key=f"{provider_call_id}:answered",
            timestamp=self._clock.wall_ms(),
            call_id=request.call_id,
            provider_call_id=provider_call_id,
        )
        try:
            await emit(answered)
            assert await caller.line() == "connected"
            self.connected.put_nowait(caller)
            await asyncio.Event().wait()
        finally:
            await caller.kill()

    async def _start(self, program: str, url: str, call_sid: str) -> Caller:
        return Caller(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"benchmarks.isolation.{program}",
                url,
                call_sid,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )


class Reported(logging.Handler):
    """Keeps what is said about isolation."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(vars(record))

    def __enter__(self) -> Self:
        logging.getLogger("voicecall.isolation").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("voicecall.isolation").removeHandler(self)

    def lines(self) -> list[str]:
        found: dict[str, str] = {}
        for record in self.records:
            where = record.get("blocked_in", "").partition(" < ")[0]
            if not where or where.startswith("asyncio"):
                where = f"others: {record.get('other_threads', '')}"
            loop = record.get("loop", "")
            told = f"{loop} blocked {record.get('blocked_ms', 0):.0f} ms in {where}"
            found[loop + record["msg"]] = told if loop else record["msg"]
        return list(found.values())


async def measure(misdeed: Misdeed, during_s: float = DURING_S) -> Outcome:
    """Let the second of two calls misbehave and say what the first one heard.

    Args:
        misdeed: what to do.
        during_s: how long to listen from then on.
    """
    config = Config.model_validate(
        {
            "serve": {"port": 0},
            "streaming": {"port": 0},
            "stt": {"provider": "scripted"},
            "tts": {"provider": "scripted"},
            "responseTimeoutMs": 10_000,
        }
    )
    callers = Callers("caller", "flooder" if misdeed.trigger == "flood" else "caller")
    with Reported() as reported:
        async with Server(config, callee=callers, **misdeed.engines()) as server:
            if misdeed.observe is not None:
                server.observe(misdeed.observe)
            await server.manager.initiate(SENTENCE * SENTENCES, to=CALLEE, mode="conversation")
            async with asyncio.timeout(20):
                good = await callers.connected.get()
                second = await server.manager.initiate("", to=CALLEE, mode="conversation")
                bad = await callers.connected.get()
            await asyncio.sleep(BEFORE_S)
            speaking = asyncio.create_task(_misbehave(misdeed, server, second.call_id, bad))
            await asyncio.sleep(during_s)
            heard = await good.hang_up()
            blocked = _count(server, 'voicecall_loop_blocked_seconds_count{loop="media"}')
            speaking.cancel()
            await asyncio.wait({speaking})
    return Outcome(**heard, reported=reported.lines(), blocked=blocked)


async def _misbehave(misdeed: Misdeed, server: Server, call_id: str, caller: Caller) -> None:
    match misdeed.trigger:
        case "key" | "flood":
            caller.press("1")
        case "say":
            await server.manager.speak(call_id, MISBEHAVE)
        case "loop":
            misdeed.on_loop()
        case "listen":
            pass


def _count(server: Server, name: str) -> int:
    text = server.metrics.render()[0].decode()
    found = [line for line in text.splitlines() if line.startswith(name)]
    return int(float(found[0].rpartition(" ")[2])) if found else 0
