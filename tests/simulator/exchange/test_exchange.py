from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.simulator.mediaserver import media_server
from voicecall.errors import CapacityReached
from voicecall.simulator.exchange import exchange as module
from voicecall.simulator.exchange.exchange import Exchange
from voicecall.simulator.exchange.faults import Fault
from voicecall.simulator.exchange.http import HttpRequest, HttpResponse, HttpServer
from voicecall.simulator.exchange.line import Line
from voicecall.simulator.exchange.party import SimpleParty
from voicecall.simulator.exchange.webhooks import Habits
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.twilio import TwilioWire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.simulator.exchange.line import Direction
    from voicecall.simulator.exchange.party import Pickup

pytestmark = pytest.mark.socket

PATIENCE_S = 5
HABITS = Habits(timeout_s=PATIENCE_S, attempts=1, retry_delay_s=0.0, retry_on=lambda _: False)


class VillageExchange(Exchange[Line]):
    """The smallest carrier there is: it rings, and asks its customer whether to go on."""

    def __init__(self, party: SimpleParty | None = None) -> None:
        self.party = party or SimpleParty()
        super().__init__(lambda _: self.party, sign=lambda *_: {"X-Proof": "1"}, habits=HABITS)
        self.webhook_url = ""
        self.stream_url = ""
        self.rung = asyncio.Event()

    @property
    def account(self) -> dict[str, str]:
        return {}

    def own(self, number: str, webhook_url: str) -> None:
        raise AssertionError("nobody looks numbers up here")

    async def handle(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/bug":
            raise KeyError("a bug")
        return await self.attempt("dial", self._dial)

    def failure(self, fault: Fault) -> HttpResponse:
        return HttpResponse(fault.status, f"code {fault.code}".encode())

    async def call_in(self, from_number: str, to_number: str, webhook_url: str) -> Line:
        line = self._line("inbound", from_number, to_number)
        self.webhook_url = webhook_url
        self.begin(line, self._live_through(line))
        return line

    async def _dial(self) -> HttpResponse:
        line = self._line("outbound", "+1", "+2")
        self.begin(line, self._live_through(line))
        return HttpResponse(201, line.provider_call_id.encode())

    def _line(self, direction: Direction, from_number: str, to_number: str) -> Line:
        line = Line(
            f"call-{len(self.calls)}",
            direction=direction,
            from_number=from_number,
            to_number=to_number,
        )
        self.add(line)
        return line

    async def _live_through(self, line: Line) -> None:
        line.status = await line.until_ended(line.party.ring(line)) or "given up"
        self.rung.set()
        if self.webhook_url:
            await self.webhooks.ask(line.provider_call_id, "voice", self.webhook_url, {})
        if self.stream_url:
            wire = TwilioWire(StreamIdentity(line.provider_call_id, "AC1"))
            await line.until_ended(self.connect_media(line, self.stream_url, wire))
        await line.ended.wait()


@asynccontextmanager
async def village(party: SimpleParty | None = None) -> AsyncIterator[VillageExchange]:
    async with asyncio.timeout(PATIENCE_S), VillageExchange(party) as exchange:
        yield exchange


async def dial(exchange: VillageExchange, timeout_s: float = PATIENCE_S) -> httpx.Response:
    async with httpx.AsyncClient(timeout=timeout_s) as client:
        return await client.post(f"{exchange.base_url}/calls")


def test_a_dialled_call_rings_its_party_and_is_counted() -> None:
    async def case() -> None:
        async with village() as exchange:
            assert (await dial(exchange)).text == "call-0"
            line = exchange.calls["call-0"]
            assert line.party is exchange.party
            assert exchange.dials == 1
            assert list(exchange.requests) == [("POST", "/calls", 201)]
            await exchange.rung.wait()
            assert not line.ended.is_set()
        assert line.reason == "carrier"
        assert line.status == "answer"

    asyncio.run(case())


def test_a_call_that_comes_in_is_asked_about_and_not_counted_as_dialled() -> None:
    async def case() -> None:
        asked: asyncio.Queue[HttpRequest] = asyncio.Queue(1)

        async def answer(request: HttpRequest) -> HttpResponse:
            asked.put_nowait(request)
            return HttpResponse()

        async with HttpServer(answer) as customer, village() as exchange:
            await exchange.call_in("+3", "+4", customer.url)
            assert (await asked.get()).headers["x-proof"] == "1"
            assert exchange.party.line is exchange.calls["call-0"]
            assert exchange.dials == 0

    asyncio.run(case())


@pytest.mark.parametrize(
    ("fault", "seen", "dials"),
    [
        (Fault("status", status=503, code=7), (503, "code 7"), 0),
        (Fault("status-after", status=500), (500, "code None"), 1),
        (Fault("hang"), httpx.ReadTimeout, 0),
        (Fault("hang-after"), httpx.ReadTimeout, 1),
        (Fault("reset"), httpx.ReadError, 0),
        (Fault("reset-after"), httpx.ReadError, 1),
        (Fault("slow", delay_s=0.01), (201, "call-0"), 1),
        (Fault("slow", delay_s=1.0), httpx.ReadTimeout, 1),
    ],
    ids=lambda value: f"{value.kind}-{value.delay_s}" if isinstance(value, Fault) else "",
)
def test_a_request_goes_wrong_as_told_and_only_once(
    fault: Fault, seen: tuple[int, str] | type[Exception], dials: int
) -> None:
    async def case() -> None:
        async with village() as exchange:
            exchange.faults.add("dial", fault)
            if isinstance(seen, tuple):
                answer = await dial(exchange)
                assert (answer.status_code, answer.text) == seen
            else:
                with pytest.raises(seen):
                    await dial(exchange, timeout_s=0.3)
            assert exchange.dials == len(exchange.calls) == dials
            assert (await dial(exchange)).status_code == 201
            assert exchange.dials == dials + 1

    asyncio.run(case())


def test_requests_that_are_not_answered_have_no_status() -> None:
    async def case() -> None:
        async with village() as exchange:
            exchange.faults.add("dial", Fault("reset"))
            with pytest.raises(httpx.ReadError):
                await dial(exchange)
            assert list(exchange.requests) == [("POST", "/calls", 0)]

    asyncio.run(case())


def test_a_bug_in_one_request_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        async with village() as exchange, httpx.AsyncClient() as client:
            assert (await client.get(f"{exchange.base_url}/bug")).status_code == 500
            assert (await dial(exchange)).status_code == 201

    with caplog.at_level(logging.ERROR):
        asyncio.run(case())
    assert caplog.messages == ["the simulated carrier failed to answer"]


def test_a_bug_in_one_call_ends_that_call_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SimpleParty):
        async def ring(self, call: Line) -> Pickup:
            if call.provider_call_id == "call-0":
                raise KeyError("a bug")
            return await super().ring(call)

    async def case() -> None:
        async with village(Broken()) as exchange:
            await dial(exchange)
            await dial(exchange)
            await exchange.calls["call-0"].ended.wait()
            assert exchange.calls["call-0"].reason == "carrier"
            assert not exchange.calls["call-1"].ended.is_set()

    with caplog.at_level(logging.ERROR):
        asyncio.run(case())
    assert caplog.messages == ["the simulated carrier failed in a call"]


def test_a_call_has_media_until_somebody_hangs_up() -> None:
    async def case() -> None:
        async with media_server() as server, village() as exchange:
            exchange.stream_url = server.url
            await dial(exchange)
            await server.wait_for("media", 2)
            exchange.calls["call-0"].hang_up("api")
            await server.ended.wait()
            assert len(server.of("stop")) == 1

    asyncio.run(case())


def test_to_close_ends_all_calls_and_their_media_in_order() -> None:
    async def case() -> None:
        async with media_server() as server:
            async with village() as exchange:
                exchange.stream_url = server.url
                await dial(exchange)
                await server.wait_for("start")
            await server.ended.wait()
            assert len(server.of("stop")) == 1
            await exchange.close()
            assert exchange._living == set()

    asyncio.run(case())


def test_a_call_that_has_just_been_taken_can_be_ended_at_once() -> None:
    async def case() -> None:
        async with village() as exchange:
            line = await exchange.call_in("+3", "+4", "")
        assert line.reason == "carrier"

    asyncio.run(case())


def test_calls_that_are_over_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CALLS", 2)

    def line(call_id: str) -> Line:
        return Line(call_id, direction="outbound", from_number="+1", to_number="+2")

    async def case() -> None:
        exchange = VillageExchange()
        for call_id in ("a", "b"):
            exchange.add(line(call_id))
        with pytest.raises(CapacityReached):
            exchange.add(line("c"))
        exchange.calls["b"].hang_up("api")
        exchange.add(line("c"))
        assert list(exchange.calls) == ["a", "c"]
        assert exchange.dials == 3
        await exchange.close()

    asyncio.run(case())
