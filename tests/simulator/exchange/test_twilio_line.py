"""One call as the simulated Twilio keeps it."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulator.exchange.twilio_customer import FROM, TO, run
from voicecall.clock import ManualClock
from voicecall.simulator.exchange.twilio_line import TwilioLine
from voicecall.simulator.exchange.twilio_requests import Next, Reports

pytestmark = pytest.mark.unit

ACCOUNT = "AC" + "1" * 32


def a_line(direction: str = "outbound", clock: ManualClock | None = None) -> TwilioLine:
    return TwilioLine(
        ACCOUNT,
        direction="inbound" if direction == "inbound" else "outbound",
        from_number=FROM,
        to_number=TO,
        reports=Reports(),
        clock=clock or ManualClock(),
    )


def test_an_id_is_one_of_twilios() -> None:
    async def case() -> None:
        first, second = a_line(), a_line()
        assert first.provider_call_id != second.provider_call_id
        assert first.provider_call_id.startswith("CA")
        assert len(first.provider_call_id) == 34

    run(case)


@pytest.mark.parametrize(
    ("direction", "by", "status"),
    [
        ("outbound", "api", "canceled"),
        ("outbound", "party", "busy"),
        ("outbound", "carrier", "failed"),
        ("inbound", "api", "canceled"),
        ("inbound", "party", "canceled"),
        ("inbound", "carrier", "failed"),
    ],
)
def test_a_call_that_nobody_answered_ends_as_who_gave_it_up(
    direction: str, by: str, status: str
) -> None:
    async def case() -> None:
        line = a_line(direction)
        line.hang_up("api" if by == "api" else "party" if by == "party" else "carrier")
        line.finish()
        assert line.status == status
        assert line.report()["CallDuration"] == "0"

    run(case)


def test_a_call_that_was_answered_is_completed_however_it_ends() -> None:
    async def case() -> None:
        clock = ManualClock()
        line = a_line(clock=clock)
        clock.advance_ms(5000)
        line.pick_up()
        clock.advance_ms(61_400)
        line.pick_up()
        line.hang_up("party")
        line.finish()
        report = line.report()
        assert (report["CallStatus"], report["CallDuration"]) == ("completed", "61")
        # Minutes begun.
        assert report["Duration"] == "2"
        shown = line.resource()
        assert (shown["status"], shown["duration"]) == ("completed", "61")
        assert shown["start_time"] != shown["end_time"]

    run(case)


def test_the_api_counts_initiated_as_queued() -> None:
    async def case() -> None:
        line = a_line()
        assert line.resource()["status"] == "queued"
        line.status = "initiated"
        assert line.resource()["status"] == "queued"
        assert line.fields()["CallStatus"] == "initiated"

    run(case)


def test_one_thing_follows_the_other() -> None:
    async def case() -> None:
        done: list[str] = []

        async def obey(following: Next) -> Next | None:
            done.append(following.url)
            return Next(url="/b") if following.url == "/a" else None

        await a_line().follow(Next(url="/a"), obey)
        assert done == ["/a", "/b"]

    run(case)


def test_an_order_stops_what_is_done_and_the_latest_one_counts() -> None:
    async def case() -> None:
        line, begun = a_line(), asyncio.Event()
        done: list[str] = []

        async def wait() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                # What is stopped may take a moment to stop, and be ordered once more meanwhile.
                line.order(Next(url="/c"))
                await asyncio.sleep(0)

        async def obey(following: Next) -> Next | None:
            done.append(following.url)
            if following.url == "/a":
                await wait()
            return None

        following = asyncio.create_task(line.follow(Next(url="/a"), obey))
        await begun.wait()
        line.order(Next(url="/b"))
        await following
        assert done == ["/a", "/c"]

    run(case)


def test_an_order_that_comes_first_is_done_first() -> None:
    async def case() -> None:
        line = a_line()
        done: list[str] = []

        async def obey(following: Next) -> Next | None:
            done.append(following.url)
            return None

        line.order(Next(url="/b"))
        await line.follow(Next(url="/a"), obey)
        assert done == ["/b"]

    run(case)


def test_a_deadline_of_what_is_done_is_not_taken_for_an_order() -> None:
    async def case() -> None:
        async def obey(following: Next) -> Next | None:
            raise TimeoutError(following.url)

        with pytest.raises(TimeoutError, match="/a"):
            await a_line().follow(Next(url="/a"), obey)

    run(case)
