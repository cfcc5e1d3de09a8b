from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from tests.simulator.mediaserver import MediaServer, media_server, tone
from voicecall.errors import CarrierError
from voicecall.simulator.exchange.faults import Fault, Faults
from voicecall.simulator.exchange.line import Line
from voicecall.simulator.exchange.media import connect_media
from voicecall.simulator.exchange.party import SimpleParty
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.twilio import TwilioWire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from voicecall.simulator.stream import Closing

pytestmark = pytest.mark.socket

PATIENCE_S = 10


class Scene:
    def __init__(self, server: MediaServer, party: SimpleParty) -> None:
        self.server = server
        self.faults = Faults()
        self.line = Line("CA1", direction="outbound", from_number="+1", to_number="+2")
        self.line.party = self.party = party

    def connect(self, headers: Mapping[str, str] | None = None) -> asyncio.Task[Closing]:
        wire = TwilioWire(StreamIdentity("CA1", "AC1"))
        return asyncio.create_task(
            connect_media(self.line, self.server.url, wire, faults=self.faults, headers=headers)
        )

    def streams(self) -> list[str]:
        return [message["streamSid"] for message in self.server.of("start")]


@asynccontextmanager
async def scene(
    party: SimpleParty | None = None, refuse_with: HTTPStatus | None = None
) -> AsyncIterator[Scene]:
    async with media_server(refuse_with) as server, asyncio.timeout(PATIENCE_S):
        a_scene = Scene(server, party or SimpleParty())
        try:
            yield a_scene
        finally:
            await a_scene.line.close()


def test_the_party_talks_over_the_stream_until_the_server_ends_it() -> None:
    async def case() -> None:
        async with scene() as s:
            media = s.connect({"X-Signature": "proof"})
            await s.server.wait_for("media", 2)
            assert s.line.phone is s.party.phone is not None
            request = s.server.connections[0].request
            assert request is not None
            assert request.headers["X-Signature"] == "proof"
            await s.server.connections[0].close(1000, "done")
            closing = await media
            assert (closing.code, closing.reason, closing.by_server) == (1000, "done", True)
            assert not s.line.ended.is_set()

    asyncio.run(case())


def test_a_party_that_hangs_up_ends_the_stream_in_order() -> None:
    async def case() -> None:
        async with scene(SimpleParty(stays=0.05)) as s:
            closing = await s.connect()
            await s.server.ended.wait()
            assert not closing.by_server
            assert len(s.server.of("stop")) == 1
            assert s.line.reason == "party"

    asyncio.run(case())


def test_the_end_of_the_call_ends_the_stream_in_order() -> None:
    async def case() -> None:
        async with scene() as s:
            media = s.connect()
            await s.server.wait_for("start")
            s.line.hang_up("api")
            await media
            await s.server.ended.wait()
            assert len(s.server.of("stop")) == 1

    asyncio.run(case())


def test_whoever_stops_waiting_ends_the_stream_in_order() -> None:
    async def case() -> None:
        async with scene() as s:
            media = s.connect()
            await s.server.wait_for("start")
            media.cancel()
            with pytest.raises(asyncio.CancelledError):
                await media
            await s.server.ended.wait()
            assert len(s.server.of("stop")) == 1
            assert not s.line.ended.is_set()

    asyncio.run(case())


def test_a_further_stream_of_the_call_uses_the_same_phone() -> None:
    async def case() -> None:
        async with scene() as s:
            media = s.connect({"X-Signature": "first"})
            await s.server.wait_for("start")
            phone = s.line.phone
            await s.server.connections[0].close()
            await media
            again = s.connect()
            await s.server.wait_for("start", 2)
            assert s.line.phone is phone
            assert s.line.sockets == 2
            assert len(set(s.streams())) == 2
            request = s.server.connections[1].request
            assert request is not None
            assert "X-Signature" not in request.headers
            s.line.hang_up("api")
            await again

    asyncio.run(case())


def test_a_server_that_refuses_is_an_error() -> None:
    async def case() -> None:
        async with scene(refuse_with=HTTPStatus.FORBIDDEN) as s:
            with pytest.raises(CarrierError) as caught:
                await s.connect()
            assert caught.value.status == 403
            assert s.line.sockets == 0

    asyncio.run(case())


def test_a_socket_that_drops_comes_back_as_another_stream() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("socket", Fault("drop", times=2, delay_s=0.05))
            media = s.connect()
            await s.server.wait_for("start", 3)
            await s.server.wait_for("media", len(s.server.of("media")) + 5)
            assert len(set(s.streams())) == 3
            assert s.server.of("stop") == []
            assert not media.done()
            s.line.hang_up("api")
            await media

    asyncio.run(case())


def test_a_socket_that_drops_for_good_stays_away() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("socket", Fault("drop-for-good", delay_s=0.05))
            closing = await s.connect()
            await s.server.ended.wait()
            assert (closing.code, closing.by_server) == (1006, False)
            assert s.server.of("stop") == []
            assert len(s.streams()) == 1
            assert not s.line.ended.is_set()

    asyncio.run(case())


def test_a_dropped_socket_that_is_refused_then_stays_away() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("socket", Fault("drop", delay_s=0.05))
            media = s.connect()
            await s.server.wait_for("start")
            s.server.refuse_with = HTTPStatus.FORBIDDEN
            assert (await media).code == 1006
            assert "not replaced" in s.line.log[0]

    asyncio.run(case())


def test_a_second_socket_is_there_before_the_first_has_gone() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("socket", Fault("second", delay_s=0.05))
            media = s.connect()
            await s.server.wait_for("start", 2)
            first, second = s.server.connections
            assert first.close_code is None
            await first.close()
            assert s.line.phone is not None
            await s.line.phone.play(tone(100))
            assert len(set(s.streams())) == 2
            assert s.server.of("stop") == []
            assert not media.done()
            await second.close()
            assert (await media).by_server

    asyncio.run(case())


def test_a_fault_that_is_not_due_before_the_end_does_no_harm() -> None:
    async def case() -> None:
        async with scene(SimpleParty(stays=0.05)) as s:
            s.faults.add("socket", Fault("drop", delay_s=60))
            await s.connect()
            assert len(s.streams()) == 1

    asyncio.run(case())
