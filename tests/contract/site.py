"""A whole server and the carrier it calls through, joined by real HTTP and sockets.

A contract is a case that holds for every carrier. It is held on all of them at once, each with a
server of its own, and reported for each by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import httpx
import pytest

from tests.contract.mock import MockExchange
from tests.contract.modem import ModemEars, ModemVoice
from tests.contract.people import Clerk
from tests.hosting import TOKEN, run, until
from voicecall.config.schema import WEBHOOK_PATH, Config
from voicecall.server import Server
from voicecall.simulator.exchange.plivo import PlivoExchange
from voicecall.simulator.exchange.telnyx import TelnyxExchange, TelnyxHabits
from voicecall.simulator.exchange.twilio import TwilioExchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence

    from tests.contract.people import Person
    from voicecall.call.record import CallRecord, Mode
    from voicecall.calls import OnCall
    from voicecall.ports import ReplyPart
    from voicecall.simulator.exchange import Line

US, THEM = "+13125550001", "+13125550002"

CarrierName: TypeAlias = Literal["mock", "twilio", "telnyx", "plivo"]
AnyExchange: TypeAlias = MockExchange | TwilioExchange | TelnyxExchange | PlivoExchange

_CASE_S = 20.0
TRIED = BaseException("reported already")
# Below those that systems give to connections.
_LISTENING = range(10_000, 32_000)


@dataclass(frozen=True)
class Way:
    """How a call is held.

    Attributes:
        carrier: through whom.
        streams: whether its media are streamed to us; otherwise the carrier speaks and listens.
    """

    carrier: CarrierName
    streams: bool

    def __str__(self) -> str:
        return f"{self.carrier}, {'streamed' if self.streams else 'spoken'}"


REAL: Sequence[CarrierName] = ("twilio", "telnyx", "plivo")
STREAMED = tuple(Way(carrier, streams=True) for carrier in ("mock", *REAL))
SPOKEN = tuple(Way(carrier, streams=False) for carrier in REAL)
EVERY_WAY = (*STREAMED, *SPOKEN)


@dataclass
class Site:
    """A server that calls through a simulated carrier, which reaches one person.

    Attributes:
        way: how its calls are held.
        server: the server, running.
        exchange: the carrier.
        person: who is reached, and who calls.
        http: a client of the server's control plane.
    """

    way: Way
    server: Server
    exchange: AnyExchange
    person: Person
    http: httpx.AsyncClient
    placed: int = 0

    @property
    def webhook_url(self) -> str:
        return f"{self.server.control_url}{WEBHOOK_PATH}"

    @property
    def line(self) -> Line:
        """The only call, as the carrier sees it."""
        (line,) = self.exchange.calls.values()
        return line

    async def call(self, message: str, mode: Mode = "conversation") -> CallRecord:
        """Have the server place a call."""
        self.placed += 1
        return await self.server.manager.initiate(message, THEM, mode)

    async def be_called(self) -> Line:
        """Have the person call the server."""
        return await self.exchange.call_in(THEM, US, self.webhook_url)

    async def taken_on(self) -> CallRecord:
        """The record of the only live call, once there is one."""
        await until(self.server.manager.live)
        (record,) = self.server.manager.live()
        return record

    async def over(self, record: CallRecord) -> None:
        """Wait until the call is over for everybody, and nothing is kept for it."""
        await until(lambda: record.state.terminal, 15)
        await until(self.line.ended.is_set)
        await until(lambda: not self.server.manager.live_count)

    async def transcript(self, record: CallRecord, *said: str) -> None:
        """Wait until exactly this was said, by whomever, in this order."""
        try:
            await until(lambda: words(record) == list(said), 12)
        except TimeoutError:
            assert words(record) == list(said), record

    async def rpc(self, method: str, **params: str) -> dict[str, Any]:
        """The result of a JSON-RPC call that works."""
        body = {"jsonrpc": "2.0", "id": 1, "method": f"voicecall.{method}", "params": params}
        answer = (await self.http.post("/rpc", json=body)).json()
        assert "error" not in answer, answer
        return dict(answer["result"])


def words(record: CallRecord) -> list[str]:
    """What was said on the call, by both sides."""
    return [entry.text for entry in record.transcript]


Settings: TypeAlias = "Mapping[str, Any]"


@asynccontextmanager
async def site(
    way: Way,
    person: Person,
    *,
    answers: Mapping[str, tuple[ReplyPart, ...]] | None = None,
    account: Settings | None = None,
    on_call: OnCall | None = None,
    **settings: Any,
) -> AsyncIterator[Site]:
    """A server and its carrier, as long as the context lasts; nothing may be left of them then.

    Args:
        way: through which carrier, and with media or without.
        person: who is reached, and who calls.
        answers: what the server's responder says, by the caller's words or keys.
        account: further settings of the carrier's account.
        on_call: holds the calls instead of the responder.
        settings: further ones of the server; camelCase keys.
    """
    exchange = _exchange(way.carrier, person)
    await exchange.start()
    try:
        callee = exchange if isinstance(exchange, MockExchange) else None
        server = Server(
            _config(way, exchange, account or {}, settings),
            callee=callee,
            responder=Clerk(answers or {}),
            tts=ModemVoice() if way.streams else None,
            stt=ModemEars() if way.streams else None,
            on_call=on_call,
        )
        async with server:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with httpx.AsyncClient(base_url=server.control_url, headers=headers) as http:
                made = Site(way, server, exchange, person, http)
                yield made
        assert server.manager.live_count == 0
        # Whatever the server had going when it stopped, it has hung up.
        await until(lambda: all(line.ended.is_set() for line in exchange.calls.values()))
        outbound = [line for line in exchange.calls.values() if line.direction == "outbound"]
        assert exchange.dials == len(outbound) == made.placed
    finally:
        await exchange.close()


def _exchange(carrier: CarrierName, person: Person) -> AnyExchange:
    match carrier:
        case "mock":
            return MockExchange(lambda _: person)
        case "twilio":
            return TwilioExchange(lambda _: person)
        case "telnyx":
            habits = TelnyxHabits(second_s=0.1, thinking_s=0.02)
            return TelnyxExchange(lambda _: person, habits=habits)
        case "plivo":
            return PlivoExchange(lambda _: person)


def _free_port() -> int:
    """A port that is free, and that no connection of another site takes before it is used."""
    while True:
        port = random.choice(_LISTENING)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _config(way: Way, exchange: AnyExchange, account: Settings, settings: Settings) -> Config:
    control, media = _free_port(), _free_port()
    base = {
        "provider": way.carrier,
        "fromNumber": US,
        "publicUrl": f"http://127.0.0.1:{control}",
        "serve": {"port": control},
        "streaming": {
            "enabled": way.streams,
            "port": media,
            "publicUrl": f"http://127.0.0.1:{media}",
        },
        "outbound": {"notifyHangupDelaySec": 0.2},
        "rpc": {"token": TOKEN},
        way.carrier: {**exchange.account, **account},
    }
    return Config.model_validate({**base, **settings})


# --- contracts -------------------------------------------------------------------------------

Case: TypeAlias = "Callable[[Way], Coroutine[Any, Any, None]]"


def contract(ways: Sequence[Way] = EVERY_WAY) -> Callable[[Case], Callable[[Way], None]]:
    """A test that holds `case` in all `ways` at once, and is reported for each.

    Besides what the case asserts, nothing may be logged as an error, and no task may be left.
    """

    def decorate(case: Case) -> Callable[[Way], None]:
        outcomes: dict[Way, BaseException | None] = {}

        @pytest.mark.parametrize("way", ways, ids=str)
        @wraps(case)
        def test(way: Way) -> None:
            if not outcomes:
                outcomes.update(run(_hold(case, ways), within_s=_CASE_S + 20))
            # One that is tried again is held again, by itself.
            elif outcomes[way] is TRIED:
                outcomes.update(run(_hold(case, [way]), within_s=_CASE_S + 20))
            error, outcomes[way] = outcomes[way], TRIED
            if error is not None:
                raise error

        return test

    return decorate


async def _hold(case: Case, ways: Sequence[Way]) -> Mapping[Way, BaseException | None]:
    async def bounded(way: Way) -> None:
        async with asyncio.timeout(_CASE_S):
            await case(way)

    with _errors_logged() as errors:
        results = await asyncio.gather(*map(bounded, ways), return_exceptions=True)
        left = await _tasks_left()
    if (errors or left) and not any(results):
        # Whose they are is not known: all are suspect.
        problem = AssertionError(f"logged as errors: {errors}; tasks left: {left}")
        return dict.fromkeys(ways, problem)
    return dict(zip(ways, results, strict=True))


async def _tasks_left() -> list[str]:
    """What is still going on, a while after all servers and carriers were closed."""
    ours = {asyncio.current_task()}
    with suppress(TimeoutError):
        await until(lambda: asyncio.all_tasks() == ours)
    return [str(task) for task in asyncio.all_tasks() - ours]


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    errors: list[str] = []

    class Errors(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.append(f"{record.name}: {record.getMessage()} {record.exc_text or ''}")

    handler = Errors(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("voicecall", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield errors
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
