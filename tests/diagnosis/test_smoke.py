"""One real call, placed once and followed to its end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosting import CALLEE, TOKEN, run, serving, until
from voicecall.client import Client
from voicecall.clock import SystemClock
from voicecall.diagnosis import smoke
from voicecall.diagnosis.smoke import Order, Outcome
from voicecall.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.hosting import Served
    from voicecall.call.record import Mode
    from voicecall.errors import VoicecallError

pytestmark = pytest.mark.socket

MESSAGE = "It works."


@asynccontextmanager
async def calling(**sections: Any) -> AsyncIterator[tuple[Client, Served]]:
    async with (
        serving(**sections) as served,
        Client(served.server.control_url, TOKEN, timeout_s=10) as client,
    ):
        yield client, served


async def placed(client: Client, deadline_s: float = 15, told: list[str] | None = None) -> Outcome:
    order = Order(CALLEE, MESSAGE, deadline_s)
    kinds: list[str] = [] if told is None else told
    return await smoke.call(
        client, order, SystemClock().wall_ms, lambda kind, _: kinds.append(kind)
    )


def test_a_call_that_works_is_reported_with_its_times() -> None:
    async def case() -> None:
        async with calling() as (client, _):
            told: list[str] = []
            outcome = await placed(client, told=told)
            assert outcome.ok
            report = outcome.to_json()
            assert report["heard"] == MESSAGE
            assert all(report[name] for name in ("rang", "answered", "played", "hungUp"))
            took = report["latencyMs"]
            assert all(took[name] >= 0 for name in ("dialToAnswer", "speech", "call"))
            assert told[-1] == "call.ended"
            assert CALLEE not in str(report)

    run(case())


def test_nobody_who_answers_is_no_success() -> None:
    async def case() -> None:
        async with calling(by_hand=False, mock={"phone": "busy"}) as (client, _):
            outcome = await placed(client)
            assert not outcome.ok
            assert (outcome.end_reason, outcome.answered_at) == ("busy", None)

    run(case())


def test_a_dial_that_fails_is_told_and_not_repeated() -> None:
    async def case() -> None:
        async with calling() as (client, served):
            order = Order("not a number", MESSAGE, 10)
            outcome = await smoke.call(client, order, SystemClock().wall_ms)
            assert not outcome.ok
            assert outcome.error
            assert await served.server.calls.recent() == []

    run(case())


def test_a_call_that_does_not_end_is_hung_up() -> None:
    async def case() -> None:
        async with calling() as (client, served):
            served.hand.let_ring = True
            outcome = await placed(client, deadline_s=0.3)
            assert "hung up" in str(outcome.error)
            assert served.server.calls.live_count == 0

    run(case())


def test_who_stops_waiting_hangs_up() -> None:
    async def case() -> None:
        async with calling() as (client, served):
            served.hand.let_ring = True
            ringing = asyncio.Event()
            order = Order(CALLEE, MESSAGE, 15)

            def tell(kind: str, _: object) -> None:
                if kind == "call.ringing":
                    ringing.set()

            waiting = asyncio.create_task(smoke.call(client, order, SystemClock().wall_ms, tell))
            await ringing.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await until(lambda: served.server.calls.live_count == 0)

    run(case())


class Scripted:
    """Places calls that go as a test says; `Caller`."""

    def __init__(self, *changes: dict[str, Any]) -> None:
        self.changes = changes
        self.record: dict[str, Any] | None = None
        self.error: VoicecallError | None = None
        self.lost: VoicecallError | None = None
        self.dials = 0
        self.ended: list[str] = []
        self.dialling = asyncio.Event()
        self.taken = asyncio.Event()
        self.taken.set()

    async def initiate(self, message: str, to: str | None = None, mode: Mode | None = None) -> str:
        assert (message, to, mode) == (MESSAGE, CALLEE, "notify")
        self.dials += 1
        self.dialling.set()
        await self.taken.wait()
        if self.error is not None:
            raise self.error
        return "c-1"

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        yield self._told()

    async def status(self, call_id: str, /) -> dict[str, Any] | None:
        assert call_id == "c-1"
        return self.record

    async def end(self, call_id: str, /) -> object:
        self.ended.append(call_id)
        raise RemoteError("it is over already")

    async def _told(self) -> AsyncIterator[dict[str, Any]]:
        for change in self.changes:
            yield change
        if self.lost is not None:
            raise self.lost
        await asyncio.Event().wait()


def change(kind: str, at: int, **more: Any) -> dict[str, Any]:
    return {"type": f"call.{kind}", "callId": "c-1", "timestamp": at, **more}


CALL = (
    change("ringing", 1100),
    change("answered", 1500),
    {**change("ended", 1600, reason="error"), "callId": "somebody else's"},
    change("speaking", 1700),
    change("spoken", 2700, heard="It "),
    change("speaking", 2800),
    change("spoken", 3700, heard="works."),
    change("ended", 4000, reason="hangup-bot"),
)
RECORD = {
    "answeredAt": 1500,
    "endedAt": 4000,
    "endReason": "hangup-bot",
    "transcript": [
        {"speaker": "bot", "text": MESSAGE},
        {"speaker": "user", "text": "Who is this?"},
    ],
}


async def followed(caller: Scripted, deadline_s: float = 10) -> Outcome:
    return await smoke.call(caller, Order(CALLEE, MESSAGE, deadline_s), lambda: 1000)


def test_times_are_between_what_was_reported() -> None:
    async def case() -> None:
        caller = Scripted(*CALL)
        caller.record = RECORD
        outcome = await followed(caller)
        assert outcome.ok
        assert outcome.heard == [MESSAGE]
        assert outcome.to_json()["latencyMs"] == {
            "dialToRing": 100,
            "dialToAnswer": 500,
            "answerToSpeech": 200,
            "speech": 2000,
            "endOfSpeechToHangUp": 300,
            "call": 2500,
        }
        assert caller.ended == []

    run(case())


def test_what_was_missed_of_a_call_is_read_from_its_record() -> None:
    async def case() -> None:
        caller = Scripted(CALL[0], {"type": "gap"})
        caller.record = RECORD
        outcome = await followed(caller)
        assert outcome.ok
        assert (outcome.answered_at, outcome.end_reason) == (1500, "hangup-bot")

    run(case())


def test_a_dial_whose_answer_is_lost_is_not_repeated() -> None:
    async def case() -> None:
        caller = Scripted(*CALL)
        caller.error = RemoteError("no answer came", retryable=True)
        outcome = await followed(caller)
        assert (caller.dials, outcome.ok, outcome.error) == (1, False, "no answer came")

    run(case())


def test_a_call_that_is_lost_sight_of_is_hung_up() -> None:
    async def case() -> None:
        caller = Scripted(*CALL[:2])
        caller.lost = RemoteError("the server was stopped")
        outcome = await followed(caller)
        assert outcome.error == "it was lost sight of: the server was stopped"
        assert (caller.dials, caller.ended) == (1, ["c-1"])

    run(case())


def test_who_stops_waiting_while_it_is_dialled_hangs_up_once_there_is_a_call() -> None:
    async def case() -> None:
        caller = Scripted()
        caller.taken.clear()
        waiting = asyncio.create_task(followed(caller))
        await caller.dialling.wait()
        waiting.cancel()
        asyncio.get_running_loop().call_soon(caller.taken.set)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (caller.dials, caller.ended) == (1, ["c-1"])

    run(case())


def test_a_call_in_which_nothing_is_heard_is_no_success() -> None:
    async def case() -> None:
        caller = Scripted(*CALL[:2], CALL[-1])
        outcome = await followed(caller)
        assert (outcome.ok, outcome.to_json()["played"]) == (False, False)
        caller = Scripted(*CALL[:2], change("error", 1600, message="no voice"), *CALL[3:])
        assert (await followed(caller)).error == "no voice"

    run(case())
