"""Where a call at the simulated Plivo stands, what it is told to do, and how it ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest

from voicecall.simulator.exchange import plivo_line
from voicecall.simulator.exchange.plivo_line import Cause, PlivoLine
from voicecall.simulator.exchange.plivo_requests import Callback, Placing
from voicecall.simulator.exchange.plivo_xml import Ask

if TYPE_CHECKING:
    from voicecall.simulator.exchange.line import Ending

pytestmark = pytest.mark.unit

URL = "https://voice.example.org/voice/webhook"
ANSWER, OTHER = Ask("answer", URL), Ask("transfer", f"{URL}/other")
AT_MS = 1_700_000_000_000


def new_line(direction: Literal["inbound", "outbound"] = "outbound", **options: bool) -> PlivoLine:
    placing = Placing("+15550000001", ("+15550000002",), Callback(URL))
    return PlivoLine(placing, direction=direction, to_number="+15550000002", at_ms=AT_MS, **options)


def test_a_call_goes_by_another_id_than_the_request_for_it() -> None:
    line = new_line()
    assert line.request_uuid not in {"", line.provider_call_id}


def test_call_and_request_may_go_by_the_same_id() -> None:
    line = new_line(same_uuid=True)
    assert line.request_uuid == line.provider_call_id


def test_every_webhook_of_an_outbound_call_names_its_request() -> None:
    line = new_line()
    fields = line.fields()
    assert fields["CallUUID"] == fields["ALegUUID"] == line.provider_call_id
    assert fields["RequestUUID"] == fields["ALegRequestUUID"] == line.request_uuid
    assert (fields["From"], fields["To"]) == ("15550000001", "15550000002")
    assert (fields["Direction"], fields["CallStatus"]) == ("outbound", "queued")
    assert fields["SessionStart"] == "2023-11-14 22:13:20.000000"


def test_an_inbound_call_has_no_request() -> None:
    line = new_line("inbound")
    assert line.request_uuid == ""
    assert line.fields().keys().isdisjoint({"RequestUUID", "ALegRequestUUID", "ALegUUID"})
    assert line.status == "ringing"


@pytest.mark.parametrize(
    ("direction", "answered", "by", "told"),
    [
        ("outbound", True, "party", ("completed", "4000", "Callee")),
        ("inbound", True, "party", ("completed", "4000", "Caller")),
        ("outbound", True, "api", ("completed", "4000", "API Request")),
        ("inbound", True, "carrier", ("completed", "5010", "Error")),
        ("outbound", False, "party", ("busy", "3020", "Callee")),
        ("inbound", False, "party", ("cancel", "4000", "Caller")),
        ("outbound", False, "api", ("cancel", "1000", "API Request")),
        ("outbound", False, "carrier", ("failed", "5010", "Error")),
    ],
)
def test_the_end_is_told_as_plivo_does(
    direction: Literal["inbound", "outbound"],
    answered: bool,
    by: Ending,
    told: tuple[str, str, str],
) -> None:
    line = new_line(direction)
    if answered:
        line.answer(AT_MS)
    if by == "api":
        line.end_by_api()
    else:
        line.hang_up(by)
    line.finish(AT_MS)
    farewell = line.farewell()
    assert (
        farewell["CallStatus"],
        farewell["HangupCauseCode"],
        farewell["HangupSource"],
    ) == told


def test_only_the_first_end_of_a_call_counts() -> None:
    line = new_line()
    line.end(plivo_line.BUSY)
    line.end(plivo_line.NORMAL)
    line.finish(AT_MS)
    assert line.status == "busy"
    assert line.farewell()["HangupCauseName"] == "Busy Line"


def test_a_call_is_counted_from_its_answer() -> None:
    line = new_line()
    line.answer(AT_MS + 2000)
    line.end(plivo_line.END_OF_XML)
    line.finish(AT_MS + 63_001)
    farewell = line.farewell()
    assert (farewell["Duration"], farewell["BillDuration"]) == ("62", "120")
    assert farewell["AnswerTime"] == "2023-11-14 22:13:22"
    assert farewell["EndTime"] == "2023-11-14 22:14:23"
    record = line.record("MA")
    assert (record["call_duration"], record["hangup_cause_code"]) == (62, 4010)
    assert record["end_time"] == "2023-11-14 22:14:23+00:00"


def test_a_call_that_nobody_answered_lasted_no_time() -> None:
    line = new_line()
    line.end(plivo_line.RING_TIMEOUT)
    line.finish(AT_MS + 30_000)
    assert (line.farewell()["Duration"], line.status) == ("0", "timeout")
    assert "AnswerTime" not in line.farewell()


def test_failures_name_the_occasion() -> None:
    redirect = replace(ANSWER, kind="redirect")
    assert plivo_line.unreachable(ANSWER).code == 7011
    assert plivo_line.unreachable(redirect).name == "Error Reaching Redirect URL"
    assert plivo_line.invalid(OTHER).code == 8013
    assert plivo_line.invalid(replace(ANSWER, kind="action")).name == "Invalid Action XML"


# --- transfers ---------------------------------------------------------------------------------


def follow(line: PlivoLine, work: list[Ask | Cause | None]) -> tuple[Cause, list[Ask]]:
    """Ask for `work`; None waits for ever, and a transfer comes then."""
    asked: list[Ask] = []

    async def obey(ask: Ask) -> Ask | Cause:
        asked.append(ask)
        after = work.pop(0)
        if after is not None:
            return after
        asyncio.get_running_loop().call_soon(line.transfer, OTHER)
        await line.interruptibly(asyncio.Event().wait())
        raise AssertionError

    async def whole() -> Cause:
        async with asyncio.timeout(5):
            return await line.follow(ANSWER, obey)

    return asyncio.run(whole()), asked


def test_one_document_leads_to_the_next() -> None:
    redirect = Ask("redirect", f"{URL}/next")
    assert follow(new_line(), [redirect, plivo_line.END_OF_XML]) == (
        plivo_line.END_OF_XML,
        [ANSWER, redirect],
    )


def test_a_transfer_takes_the_place_of_what_is_being_done() -> None:
    cause, asked = follow(new_line(), [None, plivo_line.BUSY])
    assert (cause, asked) == (plivo_line.BUSY, [ANSWER, OTHER])


def test_a_transfer_that_came_before_anything_could_be_cut_short_is_not_lost() -> None:
    line = new_line()
    line.transfer(OTHER)
    cause, asked = follow(line, [plivo_line.END_OF_XML, plivo_line.BUSY])
    assert (cause, asked) == (plivo_line.BUSY, [ANSWER, OTHER])
    line.transfer(OTHER)
    with pytest.raises(plivo_line.Transferred):
        line.see_transfer()


def test_a_time_out_of_the_work_itself_is_not_taken_for_a_transfer() -> None:
    async def late() -> None:
        raise TimeoutError

    line = new_line()
    with pytest.raises(TimeoutError):
        asyncio.run(line.interruptibly(late()))
    with pytest.raises(TimeoutError):
        asyncio.run(line.stream_for(5, late()))


def test_a_stream_is_stopped_by_request_and_by_its_time() -> None:
    async def case() -> None:
        line = new_line()
        line.stop_stream()
        asyncio.get_running_loop().call_soon(line.stop_stream)
        assert await line.stream_for(60, asyncio.Event().wait()) is None
        assert await line.stream_for(0.01, asyncio.Event().wait()) is None
        assert await line.stream_for(60, asyncio.sleep(0, "whole")) == "whole"
        line.stop_stream()

    asyncio.run(case())
