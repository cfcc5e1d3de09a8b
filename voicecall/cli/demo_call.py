"""The demonstration's call: server, caller, and everything that is measured about them."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import orjson

from voicecall.cli.demo_report import DemoReport, judge
from voicecall.cli.demo_timing import LineTiming
from voicecall.clock import SystemClock
from voicecall.config.schema import Config, Serve, Streaming, Stt
from voicecall.errors import ServeError, SpeechError
from voicecall.llm.persona import builtin_persona
from voicecall.ports import PCM16_8K
from voicecall.server import Server
from voicecall.simulator.callee import Callee
from voicecall.simulator.transcribe import transcribe
from voicecall.simulator.wav import read_channels
from voicecall.speech.stt.local import LocalSpeechToText

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from voicecall.call.record import CallRecord
    from voicecall.clock import Clock
    from voicecall.simulator.callee import Pickup
    from voicecall.simulator.script import Step
    from voicecall.simulator.stream import LineAudio

CALLEE = "+15550001234"
# The silence that ends the caller's turn; shorter answers sooner, but cuts hesitant speakers off.
ENDPOINTING_MS = 600
DEADLINE_S = 240.0


class DemoView(Protocol):
    """Shows the call while it goes on."""

    def begin(self) -> None:
        """The server starts."""
        ...

    def change(self, change: Mapping[str, Any]) -> None:
        """Something happened to the call."""
        ...

    def step(self, step: Step) -> None:
        """The caller is about to do something."""
        ...

    def line(self, timing: LineTiming) -> None:
        """20 ms have passed on the line."""
        ...

    def end(self) -> None:
        """The call is over."""
        ...


class DemoCall:
    """One demonstration.

    Args:
        output: folder for the recording and the transcript.
        view: shows it.

    Raises:
        ServeError: nothing can be written to `output`.
    """

    def __init__(self, output: Path, view: DemoView) -> None:
        self._view = view
        self._clock = SystemClock()
        self._timing = LineTiming()
        self._pickup: Pickup | None = None
        name = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        self._recording = output / f"{name}.wav"
        self._transcript = output / f"{name}.json"
        try:
            output.mkdir(parents=True, exist_ok=True)
            # Tried now, so that nobody waits a minute to be told.
            self._recording.touch()
            self._recording.unlink()
        except OSError as error:
            raise ServeError(f"--output: cannot write to {output}: {error.strerror}") from error

    async def run(self) -> DemoReport:
        """Hold the call.

        Raises:
            DependencyMissing: the local engines are not installed.
            ServeError: the call does not come to an end.
        """
        self._view.begin()
        callee = Callee(
            "auto",
            None,
            self._clock,
            on_pickup=self._on_pickup,
            on_step=self._view.step,
        )
        try:
            async with Server(_config(), callee=callee, clock=self._clock) as server:
                async with asyncio.timeout(DEADLINE_S):
                    record = await self._hold(server)
        except TimeoutError as error:
            raise ServeError(f"the call did not end within {DEADLINE_S:.0f} s") from error
        finally:
            self._view.end()
        return await self._report(record)

    async def _hold(self, server: Server) -> CallRecord:
        changes = server.calls.subscribe()
        try:
            record = await server.calls.initiate(
                builtin_persona().greeting, to=CALLEE, mode="conversation"
            )
            async for change in changes:
                self._view.change(change)
                if change["type"] == "call.ended":
                    break
        finally:
            await changes.aclose()
        return record

    def _on_pickup(self, pickup: Pickup) -> None:
        self._pickup = pickup
        pickup.phone.record(self._recording)
        pickup.phone.on_line = self._on_line

    def _on_line(self, line: LineAudio) -> None:
        self._timing.feed(line)
        self._view.line(self._timing)

    async def _report(self, record: CallRecord) -> DemoReport:
        if self._pickup is None:
            raise SpeechError("the simulated phone was never picked up")
        phone = self._pickup.phone
        heard_caller, heard_bot = await _heard_in(self._recording, self._clock)
        report = judge(
            record=record,
            said=list(phone.said),
            heard_bot=heard_bot,
            heard_caller=heard_caller,
            stats=phone.stats,
            timing=self._timing,
            pickup=self._pickup,
            recording=self._recording,
            transcript=self._transcript,
        )
        self._transcript.write_bytes(
            orjson.dumps(
                {"call": record.to_json(), "report": report.to_json()},
                option=orjson.OPT_INDENT_2,
            )
        )
        return report


async def _heard_in(recording: Path, clock: Clock) -> list[list[str]]:
    """What a recogniser of its own understands in the recording: the caller, the bot."""
    engine = LocalSpeechToText(clock=clock)
    try:
        sides = await asyncio.to_thread(read_channels, recording, PCM16_8K.rate_hz)
        return [await transcribe(engine, side) for side in sides]
    finally:
        await engine.close()


def _config() -> Config:
    """Everything local, on ports that nobody else uses."""
    return Config(
        serve=Serve(port=0),
        streaming=Streaming(enabled=True, port=_free_port()),
        stt=Stt(silence_duration_ms=ENDPOINTING_MS),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
