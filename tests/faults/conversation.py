"""Calls that fail in the middle: the harness of tests of what they are held with.

A whole server, a phone over real sockets, and simulated services that the vendors' clients talk to.
Each case is held on a call to somebody and on one from somebody, with every fault at once. Besides
what the case asserts, the call is up at its end, what is stored is what was said, and neither a
task nor a socket is left.
"""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.contract.mock import MockExchange
from tests.hosting import PERSONA, run, settings, until
from voicecall import Server
from voicecall.audio import to_pcm16
from voicecall.call.record import CallState, Direction
from voicecall.cli.demo_timing import LOUD_DBFS, level_dbfs
from voicecall.config.merge import deep_merge
from voicecall.config.schema import WEBHOOK_PATH, Config
from voicecall.llm.persona import load_persona
from voicecall.session.equipment import SessionSettings
from voicecall.simulator import Engines, Phone
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.models.brain import Brain
from voicecall.simulator.models.engines import InstantEngines, ToneVoice
from voicecall.simulator.models.server import ModelServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from voicecall.call.record import CallRecord
    from voicecall.llm.tools import Tool
    from voicecall.simulator.exchange import Line, Pickup
    from voicecall.simulator.exchange.party import PhoneMaker
    from voicecall.simulator.models.faults import Fault
    from voicecall.simulator.stream import LineAudio

US, THEM = "+13125550001", "+13125550002"
GREETING = "Hello."
QUESTION = "When do you open?"
ANSWER = "From ten to six."
LONG = "Would you be so kind as to tell me when you open?"
APOLOGY = SessionSettings().apology
SPEECH_STARTED = "input_audio_buffer.speech_started"

CASE_S = 50.0
# Each has two HTTP servers, which nobody runs by the dozen in one process.
AT_ONCE = 6
# How much longer than configured a busy machine may take; less than what is not configured.
SLACK_S = 8.0
# Everybody hurries, so that the tests need not wait for it.
LETTER_MS = 15
CHARACTER_MS = 30
SYNTHESIS_S = 1.0


# --- the call ----------------------------------------------------------------------------------


class Caller(SimpleParty):
    """Talks when the test says so, and notices when there is something to hear.

    Args:
        ringing: they pick up once it is over.
    """

    def __init__(self, ringing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        self._ringing = ringing
        self.hears = asyncio.Event()

    async def ring(self, call: Line) -> Pickup:
        await self._ringing()
        return await super().ring(call)

    def pick_up(self, make: PhoneMaker) -> Phone:
        self.phone = make(Phone, Engines(ToneVoice(), None))
        self.phone.on_line = self._listen
        return self.phone

    def _listen(self, line: LineAudio) -> None:
        if level_dbfs(to_pcm16(line.heard, "ulaw")) >= LOUD_DBFS:
            self.hears.set()


@dataclass
class Call:
    """A call in the middle of a conversation.

    Attributes:
        models: the services that it is held with.
        server: the server.
        caller: who is on the phone.
        record: the call.
    """

    models: ModelServer
    server: Server
    caller: Caller
    record: CallRecord

    @property
    def live(self) -> bool:
        """Whether both sides can hear each other."""
        phone = self.caller.phone
        return not self.record.state.terminal and phone is not None and not phone.closed.done()

    @property
    def said(self) -> list[str]:
        """What was said since the greeting, by both."""
        return [entry.text for entry in self.record.transcript][1:]

    async def say(self, text: str = "What about today?") -> None:
        """The caller speaks; what is understood is the recogniser's matter."""
        assert self.caller.phone is not None
        await self.caller.phone.say(text)
        self.caller.hears.clear()

    async def heard_within(self, configured_s: float) -> None:
        """Wait until the caller hears something, as long as it may take."""
        async with asyncio.timeout(configured_s + SLACK_S):
            await self.caller.hears.wait()

    async def transcript(self, *said: str) -> None:
        """Wait until exactly this was said since the greeting."""
        with suppress(TimeoutError):
            await until(lambda: self.said == list(said), 20)
        assert self.said == list(said)

    async def asks_again(self) -> None:
        """The next question is understood, answered, and heard; nothing else is said."""
        before = self.said
        await self.say()
        await self.transcript(*before, QUESTION, ANSWER)
        assert self.caller.hears.is_set()


@dataclass
class Site:
    """What a call is held with.

    Attributes:
        brain: who answers.
        tools: what it may use.
        faults: what goes wrong from the beginning, by service, and how often; None for always.
        account: of OpenAI, besides key and server.
        sections: of the configuration.
        rings_until: the phone rings until this service was asked for something.
    """

    brain: Brain = field(default_factory=lambda: Brain(load_persona(PERSONA)))
    tools: Sequence[Tool] = ()
    faults: Mapping[str, tuple[Fault, int | None]] = field(default_factory=dict)
    account: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)
    rings_until: str | None = None

    @asynccontextmanager
    async def call(self, direction: Direction) -> AsyncIterator[Call]:
        """A call that was greeted; it has to be up when the block is left, and ends then."""
        async with ModelServer(engines=InstantEngines((QUESTION,)), brain=self.brain) as models:
            for service, (fault, times) in self.faults.items():
                models.faults.add(service, fault, times=times)
            caller = Caller(lambda: self._ringing(models))
            exchange = MockExchange(lambda _: caller)
            try:
                async with Server(
                    self._config(models), callee=exchange, tools=self.tools
                ) as server:
                    call = await self._greeted(direction, server, exchange, models)
                    yield call
                    await _end(call)
            finally:
                await exchange.close()

    async def _ringing(self, models: ModelServer) -> None:
        if (service := self.rings_until) is not None:
            await until(lambda: models.received(service), 20)

    async def _greeted(
        self, direction: Direction, server: Server, exchange: MockExchange, models: ModelServer
    ) -> Call:
        if direction is Direction.OUTBOUND:
            await server.manager.initiate(GREETING, THEM, "conversation")
        else:
            await exchange.call_in(THEM, US, f"{server.control_url}{WEBHOOK_PATH}")
        await until(server.manager.live, 20)
        (record,) = server.manager.live()
        (line,) = exchange.calls.values()
        await until(lambda: [entry.text for entry in record.transcript] == [GREETING], 20)
        assert isinstance(line.party, Caller)
        assert line.party.hears.is_set()
        return Call(models, server, line.party, record)

    def _config(self, models: ModelServer) -> Config:
        server = {"apiKey": models.world.api_key, "baseUrl": models.base_url}
        sections: dict[str, Any] = {
            "inboundPolicy": "open",
            "inboundGreeting": GREETING,
            "openai": {**server, "api": "responses", **self.account},
            "deepgram": {"apiKey": models.world.api_key},
            "elevenlabs": {"apiKey": models.world.api_key},
            "responseModel": "openai/gpt-6-luna",
            "stt": {
                "provider": "openai",
                "silenceDurationMs": 300,
                "deepgram": {"baseUrl": models.origin},
            },
            # What was said before is to be made again.
            "tts": {
                "provider": "scripted",
                "cacheMegabytes": 0,
                "elevenlabs": {"baseUrl": models.origin},
            },
            "bargeIn": {"enabled": False},
        }
        return Config.model_validate(settings(**deep_merge(sections, self.sections)))


async def _end(call: Call) -> None:
    """Hang up; what is stored is what was said."""
    assert call.live
    manager, record = call.server.manager, call.record
    said = [entry.text for entry in record.transcript]
    await manager.end(record.call_id)
    await until(lambda: record.state.terminal and not manager.live_count)
    (stored,) = await manager.recent()
    assert [entry.text for entry in stored.transcript] == said
    assert stored.call_id == record.call_id
    assert stored.end_reason is CallState.HANGUP_BOT


# --- all of them at once -----------------------------------------------------------------------

Way: TypeAlias = "tuple[Direction, str]"
Case: TypeAlias = "Callable[[Direction, Any], Coroutine[Any, Any, None]]"


def survives(**faults: object) -> Callable[[Case], Callable[[Direction, str], None]]:
    """A test that holds a case in both directions with each of `faults`, reported one by one."""

    def decorate(case: Case) -> Callable[[Direction, str], None]:
        ways = [(direction, name) for direction in Direction for name in faults]
        outcomes: dict[Way, BaseException | None] = {}

        @pytest.mark.parametrize(("direction", "fault"), ways)
        @wraps(case)
        def test(direction: Direction, fault: str) -> None:
            way = direction, fault
            if way not in outcomes:
                # Who failed gets another try alone.
                wanted = [way] if outcomes else ways
                outcomes.update(held({each: case(each[0], faults[each[1]]) for each in wanted}))
            if (error := outcomes[way]) is not None:
                del outcomes[way]
                raise error

        return test

    return decorate


def held(cases: Mapping[Way, Coroutine[Any, Any, None]]) -> Mapping[Way, BaseException | None]:
    """What came of cases that were held at the same time; nothing may be left of them."""

    turns = asyncio.Semaphore(AT_ONCE)

    async def bounded(case: Coroutine[Any, Any, None]) -> None:
        async with turns, asyncio.timeout(CASE_S):
            await case

    async def hold() -> tuple[list[BaseException | None], set[Any]]:
        results = await asyncio.gather(*map(bounded, cases.values()), return_exceptions=True)
        with suppress(TimeoutError):
            await until(lambda: len(asyncio.all_tasks()) == 1)
        return results, asyncio.all_tasks() - {asyncio.current_task()}

    sockets = open_sockets()
    with pytest.MonkeyPatch.context() as hurry:
        hurry.setattr("voicecall.speech.tts.scripted._LETTER_MS", LETTER_MS)
        hurry.setattr("voicecall.speech.tts.scripted._GAP_MS", LETTER_MS)
        hurry.setattr("voicecall.simulator.models.engines._MS_PER_CHARACTER", CHARACTER_MS)
        hurry.setattr("voicecall.session.speak._SYNTHESIS_TIMEOUT_S", SYNTHESIS_S)
        results, tasks = run(hold(), CASE_S * -(-len(cases) // AT_ONCE) + 10)
    gc.collect()
    more = open_sockets() - sockets
    if (tasks or more > 0) and not any(results):
        # Whose they are is not known: all are suspect.
        problem = AssertionError(f"tasks left: {tasks}; sockets left: {more}")
        return dict.fromkeys(cases, problem)
    return dict(zip(cases, results, strict=True))


def open_sockets() -> int:
    """How many sockets to others this process has open."""
    table = Path("/proc/self/net/tcp").read_text("ascii").splitlines()[1:]
    inodes = {f"socket:[{line.split()[9]}]" for line in table}
    opened = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            opened.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sum(each in inodes for each in opened)
