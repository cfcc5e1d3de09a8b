"""From the decision to fall silent to the clear message, on a whole server with many calls.

The callers are in a process of their own, on real sockets. A tone of theirs is what interrupts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from voicecall.call.events import CallAnswered
from voicecall.clock import NS_PER_MS, SystemClock
from voicecall.config.schema import Config
from voicecall.errors import VoicecallError
from voicecall.server import Server
from voicecall.session.session import Session
from voicecall.simulator import Callee

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voicecall.ports import DialRequest
    from voicecall.simulator.callee import Emit

_CALLEE = "+15550001234"
_TEXT = "This is said over and over again and is interrupted all the time. " * 12


async def measure(calls: int, seconds: float) -> dict[str, float]:
    """Interrupt `calls` calls every two seconds or so.

    Returns:
        Counts, and milliseconds from the decision until the message was handed to the socket
        (`written`), and until the callers' process had read it (`read`).
    """
    config = Config.model_validate(
        {
            "serve": {"port": 0},
            "streaming": {"port": 0, "maxConnections": 2 * calls},
            "maxConcurrentCalls": calls + 1,
            "stt": {"provider": "scripted"},
            "tts": {"provider": "scripted"},
        }
    )
    decided = _Decisions()
    callers = await _Callers.start(calls, seconds)
    try:
        async with Server(config, callee=callers) as server:
            speaking = [asyncio.create_task(_speak(server, decided, seconds)) for _ in range(calls)]
            cleared = await callers.done()
            for task in speaking:
                task.cancel()
            await asyncio.wait(speaking)
    finally:
        decided.stop()
        await callers.kill()
    return decided.compare(cleared)


async def _speak(server: Server, decided: _Decisions, seconds: float) -> None:
    record = await server.manager.initiate("Hello.", to=_CALLEE, mode="conversation")
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        try:
            await server.manager.speak(record.call_id, _TEXT)
        except VoicecallError:
            # Not answered yet, or over.
            await asyncio.sleep(0.2)


class _Decisions:
    """When each call decided to fall silent, and when it had."""

    def __init__(self) -> None:
        self._by_call: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._hold = Session._hold  # noqa: SLF001  (the moment that is measured)
        hold, by_call = self._hold, self._by_call

        def noted(session: Session) -> None:
            decided_ns = time.monotonic_ns()
            hold(session)
            by_call[session.call_id].append((decided_ns, time.monotonic_ns()))

        setattr(Session, "_hold", noted)  # noqa: B010  (a method of somebody else's class)

    def stop(self) -> None:
        """Measure no more."""
        del Session._hold  # noqa: SLF001  (the inherited one is back)

    def compare(self, cleared: dict[str, list[int]]) -> dict[str, float]:
        """What was decided with what was cleared."""
        written, read = [], []
        for call_id, decisions in self._by_call.items():
            for decided_ns, written_ns in decisions:
                later = [at for at in cleared.get(call_id, ()) if at >= decided_ns]
                if later:
                    written.append((written_ns - decided_ns) / NS_PER_MS)
                    read.append((min(later) - decided_ns) / NS_PER_MS)
        return {
            "decisions": sum(map(len, self._by_call.values())),
            "clears": len(read),
            **_percentiles("written", written),
            **_percentiles("read", read),
        }


def _percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p99, worst = np.percentile(values, [50, 99, 100])
    return {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99, f"{name}_worst_ms": worst}


class _Callers(Callee):
    """Answers every call in one process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._clock = SystemClock()
        super().__init__("off", None, self._clock)
        self._process = process

    @classmethod
    async def start(cls, calls: int, seconds: float) -> _Callers:
        """Start the process."""
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.barge_in.callers", str(calls), str(seconds)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 24,
            )
        )

    async def ring(self, request: DialRequest, provider_call_id: str, emit: Emit) -> None:
        assert self._process.stdin is not None
        line = json.dumps([request.call_id, request.stream_url, provider_call_id])
        self._process.stdin.write(f"{line}\n".encode())
        await emit(
            CallAnswered(
                id=uuid.uuid4().hex,
                dedupe_key=f"{provider_call_id}:answered",
                timestamp=self._clock.wall_ms(),
                call_id=request.call_id,
                provider_call_id=provider_call_id,
            )
        )
        await asyncio.Event().wait()

    async def done(self) -> dict[str, list[int]]:
        """When each call's clears were read, once the callers have hung up."""
        assert self._process.stdout is not None
        cleared: dict[str, list[int]] = json.loads(await self._process.stdout.readline())
        return cleared

    async def kill(self) -> None:
        """End the process."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
