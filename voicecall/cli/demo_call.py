"""The demonstration's call: server, caller, and everything that is measured about them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import orjson

from voicecall.cli.demo_line import Watcher, demo_line, free_port
from voicecall.cli.demo_models import demo_models
from voicecall.cli.demo_report import DemoReport, judge
from voicecall.cli.demo_timing import LineTiming
from voicecall.clock import SystemClock
from voicecall.config.schema import IN_MEMORY
from voicecall.errors import ServeError, SpeechError
from voicecall.llm.persona import builtin_persona
from voicecall.ports import PCM16_8K
from voicecall.server import Server
from voicecall.simulator.transcribe import transcribe
from voicecall.simulator.wav import read_channels
from voicecall.speech.stt.local import LocalSpeechToText

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from voicecall.call.record import CallRecord
    from voicecall.cli.demo_line import CarrierName, DemoLine
    from voicecall.cli.demo_models import ModeName, SpeechName
    from voicecall.clock import Clock
    from voicecall.simulator.phone import Phone
    from voicecall.simulator.script import Step
    from voicecall.simulator.stream import LineAudio

CALLEE = "+15550001234"
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


@dataclass(frozen=True, slots=True)
class Parts:
    """What the demonstration is put together from.

    Attributes:
        carrier: whose protocols are spoken on the line.
        speech: whose protocols are spoken to the models.
        mode: how the models are put together.
    """

    carrier: CarrierName = "mock"
    speech: SpeechName = "local"
    mode: ModeName = "pipeline"


class DemoCall:
    """One demonstration.

    Args:
        output: folder for the recording and the transcript.
        view: shows it.
        parts: what it is put together from.

    Raises:
        ServeError: nothing can be written to `output`.
    """

    def __init__(self, output: Path, view: DemoView, parts: Parts | None = None) -> None:
        self._view = view
        self._parts = parts or Parts()
        self._clock = SystemClock()
        self._timing = LineTiming()
        self._phone: Phone | None = None
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
        watcher = Watcher(self._on_phone, self._view.step)
        parts, clock = self._parts, self._clock
        try:
            async with (
                demo_models(parts.speech, parts.mode, clock) as models,
                demo_line(parts.carrier, {**_settings(), **models}, watcher, clock) as line,
            ):
                record = await self._serve(line)
        finally:
            self._view.end()
        return await self._report(record, line)

    async def _serve(self, line: DemoLine) -> CallRecord:
        try:
            async with Server(line.config, callee=line.callee, clock=self._clock) as server:
                async with asyncio.timeout(DEADLINE_S):
                    return await self._hold(server)
        except TimeoutError as error:
            raise ServeError(f"the call did not end within {DEADLINE_S:.0f} s") from error

    async def _hold(self, server: Server) -> CallRecord:
        changes = server.manager.subscribe()
        try:
            record = await server.manager.initiate(
                builtin_persona().greeting, to=CALLEE, mode="conversation"
            )
            async for change in changes:
                self._view.change(change)
                if change["type"] == "call.ended":
                    break
        finally:
            await changes.aclose()
        return record

    def _on_phone(self, phone: Phone) -> None:
        self._phone = phone
        phone.record(self._recording)
        phone.on_line = self._on_line

    def _on_line(self, line: LineAudio) -> None:
        self._timing.feed(line)
        self._view.line(self._timing)

    async def _report(self, record: CallRecord, line: DemoLine) -> DemoReport:
        phone, talker = self._phone, line.talker
        if phone is None or talker is None:
            raise SpeechError("the simulated phone was never picked up")
        heard_caller, heard_bot = await _heard_in(self._recording, self._clock)
        report = judge(
            record=record,
            said=list(phone.said),
            heard_bot=heard_bot,
            heard_caller=heard_caller,
            stats=phone.stats,
            timing=self._timing,
            talker=talker,
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


def _settings() -> dict[str, Any]:
    """On ports that nobody else uses, and forgotten afterwards."""
    return {
        "serve": {"port": 0},
        "streaming": {"enabled": True, "port": free_port()},
        "store": IN_MEMORY,
    }
