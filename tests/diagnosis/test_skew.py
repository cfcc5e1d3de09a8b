from __future__ import annotations

from email.utils import formatdate

import pytest

from tests.diagnosis.scene import network, run
from tests.hosting import free_port
from voicecall.clock import ManualClock
from voicecall.diagnosis.skew import look_at_clock
from voicecall.errors import RemoteError
from voicecall.simulator.exchange.http import HttpRequest, HttpResponse, HttpServer

pytestmark = pytest.mark.socket

NOW_S = 1_700_000_000


async def told(date: str, clock: ManualClock) -> tuple[str, str]:
    async def answer(request: HttpRequest) -> HttpResponse:
        assert request.method == "HEAD"
        return HttpResponse(401, headers={"Date": date})

    async with HttpServer(answer) as server:
        finding = await look_at_clock(server.url, network(), clock)
    return finding.status.value, finding.found


@pytest.mark.parametrize(
    ("theirs_s", "status", "said"),
    [
        (0, "ok", "agrees"),
        (1, "ok", "agrees"),
        (-3, "ok", "agrees"),
        (20, "warn", "behind the carrier's"),
        (-20, "warn", "ahead of the carrier's"),
        (300, "fail", "300 s behind the carrier's: webhooks may be refused"),
        (-301, "fail", "ahead of the carrier's: webhooks may be refused"),
    ],
)
def test_our_clock_is_compared_with_the_date_of_any_answer(
    theirs_s: int, status: str, said: str
) -> None:
    async def case() -> None:
        clock = ManualClock(wall_ms=NOW_S * 1000 + 500)
        found = await told(formatdate(NOW_S + theirs_s, usegmt=True), clock)
        assert found[0] == status
        assert said in found[1]

    run(case())


def test_an_answer_without_a_readable_date_says_nothing() -> None:
    async def case() -> None:
        assert (await told("yesterday", ManualClock()))[0] == "skipped"

    run(case())


def test_no_answer_is_told() -> None:
    async def case() -> None:
        with pytest.raises(RemoteError, match="does not answer"):
            await look_at_clock(f"http://127.0.0.1:{free_port()}", network(), ManualClock())

    run(case())
