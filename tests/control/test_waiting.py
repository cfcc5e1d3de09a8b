"""A client that goes away does not leave its question behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.control.fakes import BEARER, FakeCalls, record, run, services, serving
from voicecall.control.waiting import asks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.socket

ASK = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "voicecall.continue",
    "params": {"callId": "c-1", "message": "Well?"},
}


class SilentCaller(FakeCalls):
    """Answers only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.add(record())
        self.asked_now = asyncio.Event()
        self.given_up = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def ask(self, call_id: str, message: str) -> str:
        self.asked_now.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.given_up.set()
            raise
        return await super().ask(call_id, message)


async def bounded(event: asyncio.Event) -> None:
    async with asyncio.timeout(20):
        await event.wait()


def test_a_question_is_given_up_when_its_client_goes_away() -> None:
    async def case() -> None:
        calls = SilentCaller()
        async with serving(services(calls)) as served:
            asking = asyncio.create_task(served.http.post("/rpc", json=ASK, headers=BEARER))
            await bounded(calls.asked_now)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await bounded(calls.given_up)

    run(case)


def test_a_client_that_waits_is_answered() -> None:
    async def case() -> None:
        calls = SilentCaller()
        async with serving(services(calls)) as served:
            asking = asyncio.create_task(served.http.post("/rpc", json=ASK, headers=BEARER))
            await bounded(calls.asked_now)
            calls.may_answer.set()
            answer = (await asking).json()
            assert answer["result"] == {"success": True, "transcript": "you said Well?"}
            assert not calls.given_up.is_set()

    run(case)


def test_a_client_that_sent_a_batch_need_not_wait_for_the_rest() -> None:
    async def case() -> None:
        calls = SilentCaller()
        async with serving(services(calls)) as served:
            batch = [ASK, {**ASK, "method": "voicecall.end", "params": {"callId": "c-1"}}]
            sending = asyncio.create_task(served.http.post("/rpc", json=batch, headers=BEARER))
            await bounded(calls.asked_now)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            # Another request shows that the server has gone on since.
            assert (await served.http.get("/healthz")).status_code == 200
            calls.may_answer.set()
            async with asyncio.timeout(20):
                while ("end", "c-1") not in calls.asked:  # noqa: ASYNC110  (behind a socket)
                    await asyncio.sleep(0.01)
            assert not calls.given_up.is_set()

    run(case)


@pytest.mark.parametrize(
    ("message", "waits"),
    [
        (b'{"method": "voicecall.continue"}', True),
        (b'{"method": "voicecall.continue.start"}', False),
        (b'{"method": "voicecall.speak", "params": {"message": "voicecall.continue"}}', False),
        (b'[{"method": "voicecall.continue"}]', False),
        (b'"voicecall.continue"', False),
        (b"voicecall.continue", False),
    ],
)
def test_only_a_single_question_waits_for_the_caller(message: bytes, waits: bool) -> None:
    assert asks(message) is waits


def test_a_body_in_pieces_is_no_disconnection() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        body = httpx.Request("POST", "http://x", json=ASK).content
        yield body[:20]
        yield body[20:]

    async def case() -> None:
        calls = SilentCaller()
        calls.may_answer.set()
        async with serving(services(calls)) as served:
            answer = await served.http.post("/rpc", content=pieces(), headers=BEARER)
            assert answer.json()["result"]["success"] is True

    run(case)
