from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from voicecall.clock import ManualClock
from voicecall.simulator.exchange import webhooks as module
from voicecall.simulator.exchange.faults import Fault, Faults
from voicecall.simulator.exchange.http import Dropped, HttpRequest, HttpResponse, HttpServer
from voicecall.simulator.exchange.webhooks import Content, Delivery, Habits, HttpAnswer, Webhooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

pytestmark = pytest.mark.socket

PATIENCE_S = 5


@dataclass
class Customer:
    """Takes webhooks and answers as told: with a status, a reset (0) or, to "gone", never."""

    statuses: list[int] = field(default_factory=list)
    requests: list[HttpRequest] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    server: HttpServer = field(init=False)

    def __post_init__(self) -> None:
        self.gate.set()
        self.server = HttpServer(self.answer)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        self.asked.set()
        await self.gate.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            raise Dropped
        return HttpResponse(status, f"answer {len(self.requests)}".encode(), "text/xml")

    @property
    def told(self) -> list[str]:
        return [request.form()["Status"][0] for request in self.requests]


@dataclass
class Scene:
    customer: Customer
    webhooks: Webhooks
    faults: Faults
    signed: list[tuple[str, str, Content]]

    @property
    def url(self) -> str:
        return f"{self.customer.server.url}/hook?token=a%3D"

    def tell(self, status: str, call_id: str = "CA1") -> None:
        self.webhooks.tell(call_id, status, self.url, {"Status": status})

    async def tell_all(self, *statuses: str) -> list[str]:
        for status in statuses:
            self.tell(status)
        await self.webhooks.idle(PATIENCE_S)
        return self.customer.told

    async def ask(self, **options: Any) -> HttpAnswer | None:
        return await self.webhooks.ask("CA1", "voice", self.url, {"Status": "asked"}, **options)


@asynccontextmanager
async def scene(
    *statuses: int, attempts: int = 1, timeout_s: float = PATIENCE_S
) -> AsyncIterator[Scene]:
    signed: list[tuple[str, str, Content]] = []

    def sign(method: str, url: str, content: Content) -> Mapping[str, str]:
        signed.append((method, url, content))
        return {"X-Signature": f"signature {len(signed)}"}

    def unsuccessful(status: int | None) -> bool:
        return status is None or status >= 500

    faults = Faults()
    habits = Habits(timeout_s, attempts, retry_delay_s=0.0, retry_on=unsuccessful)
    webhooks = Webhooks(sign, faults=faults, habits=habits, clock=ManualClock(now_ns=77))
    customer = Customer(list(statuses))
    async with customer.server:
        try:
            yield Scene(customer, webhooks, faults, signed)
        finally:
            customer.gate.set()
            await webhooks.close()


def test_a_form_is_posted_and_signed_and_its_answer_returned() -> None:
    async def case() -> None:
        async with scene() as s:
            answer = await s.webhooks.ask("CA1", "voice", s.url + "#rc=2", {"To": "+49 1"})
            (request,) = s.customer.requests
        assert answer == HttpAnswer(200, b"answer 1", "text/xml")
        assert (request.method, request.query) == ("POST", "token=a%3D")
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert request.headers["x-signature"] == "signature 1"
        assert request.form() == {"To": ["+49 1"]}
        assert s.signed == [("POST", s.signed[0][1], {"To": "+49 1"})]
        assert s.signed[0][1].endswith("/hook?token=a%3D")

    asyncio.run(case())


def test_octets_are_posted_as_json() -> None:
    async def case() -> None:
        async with scene() as s:
            await s.webhooks.ask("v3:1", "call.hangup", s.url, b'{"data": {}}')
            (request,) = s.customer.requests
        assert request.headers["content-type"] == "application/json"
        assert request.json() == {"data": {}}
        assert s.signed[0][2] == b'{"data": {}}'

    asyncio.run(case())


def test_with_get_the_fields_are_part_of_the_signed_url() -> None:
    async def case() -> None:
        async with scene() as s:
            await s.webhooks.ask("CA1", "voice", s.url, {"To": "+49"}, method="GET")
            (request,) = s.customer.requests
        assert (request.method, request.body) == ("GET", b"")
        assert request.query == "token=a%3D&To=%2B49"
        assert s.signed[0][1].endswith("/hook?token=a%3D&To=%2B49")
        assert s.signed[0][2] == {}

    asyncio.run(case())


def test_an_answer_that_reports_an_error_is_returned_after_all_attempts() -> None:
    async def case() -> None:
        async with scene(503, 502, attempts=2) as s:
            answer = await s.ask()
            assert answer is not None
            assert answer.status == 502
            assert [each.status for each in s.webhooks.deliveries] == [503, 502]
            assert [each.attempt for each in s.webhooks.deliveries] == [1, 2]

    asyncio.run(case())


def test_an_attempt_that_succeeds_is_the_last() -> None:
    async def case() -> None:
        async with scene(0, 503, 200, attempts=5) as s:
            answer = await s.ask()
            assert answer == HttpAnswer(200, b"answer 3", "text/xml")
            assert len({request.headers["x-signature"] for request in s.customer.requests}) == 3

    asyncio.run(case())


def test_each_attempt_may_say_which_it_is() -> None:
    async def case() -> None:
        async with scene(500, 200, attempts=3) as s:
            await s.webhooks.ask(
                "v3:1", "call.hangup", s.url, lambda attempt: json.dumps({"n": attempt}).encode()
            )
            assert [request.json() for request in s.customer.requests] == [{"n": 1}, {"n": 2}]
            assert [each.body for each in s.webhooks.deliveries] == [b'{"n": 1}', b'{"n": 2}']

    asyncio.run(case())


def test_a_url_may_have_a_patience_of_its_own() -> None:
    async def case() -> None:
        async with scene(500, 500, 500) as s:
            impatient = Habits(PATIENCE_S, 3, 0.0, lambda status: status != 200)
            await s.ask(habits=impatient)
            assert len(s.customer.requests) == 3

    asyncio.run(case())


def test_a_customer_who_cannot_be_reached_gives_no_answer() -> None:
    async def case() -> None:
        async with scene() as s:
            url = s.url
            await s.customer.server.close()
            assert await s.webhooks.ask("CA1", "voice", url, {}) is None
            assert [each.status for each in s.webhooks.deliveries] == [None]

    asyncio.run(case())


def test_a_customer_who_takes_too_long_gives_no_answer() -> None:
    async def case() -> None:
        async with scene(timeout_s=0.05, attempts=2) as s:
            s.customer.gate.clear()
            assert await s.ask() is None
            assert [each.status for each in s.webhooks.deliveries] == [None, None]

    asyncio.run(case())


def test_an_answer_without_end_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_ANSWER_OCTETS", 4)

    async def case() -> None:
        async with scene() as s:
            assert await s.ask() is None

    asyncio.run(case())


def test_what_is_told_of_one_call_arrives_in_order() -> None:
    async def case() -> None:
        async with scene(500, attempts=2) as s:
            assert await s.tell_all("a", "b", "c") == ["a", "a", "b", "c"]
            assert s.webhooks.deliveries[-1] == Delivery(
                "CA1", "c", s.url, {"Status": "c"}, 200, 1, at_ns=77
            )

    asyncio.run(case())


def test_calls_do_not_wait_for_each_other() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("webhook:stuck", Fault("slow", delay_s=60))
            s.tell("stuck", "CA1")
            s.tell("told", "CA2")
            async with asyncio.timeout(PATIENCE_S):
                await s.customer.asked.wait()
            assert s.customer.told == ["told"]

    asyncio.run(case())


def test_no_more_are_sent_at_once_than_are_allowed() -> None:
    async def case() -> None:
        async with scene() as there:
            there.webhooks.limit(1)
            there.customer.gate.clear()
            there.tell("one", "CA1")
            there.tell("two", "CA2")
            await there.customer.asked.wait()
            await asyncio.sleep(0.05)
            assert len(there.customer.requests) == 1
            there.customer.gate.set()
            await there.webhooks.idle(PATIENCE_S)
            assert sorted(there.customer.told) == ["one", "two"]

    asyncio.run(case())


def test_a_lost_webhook_never_arrives() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("webhook:b", Fault("lose"))
            assert await s.tell_all("a", "b", "c") == ["a", "c"]
            s.faults.add("webhook:voice", Fault("lose"))
            assert await s.ask() is None

    asyncio.run(case())


def test_a_repeated_webhook_arrives_twice_and_its_second_answer_counts() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("webhook:a", Fault("repeat"))
            assert await s.tell_all("a", "b") == ["a", "a", "b"]
            s.faults.add("webhook:voice", Fault("repeat"))
            answer = await s.ask()
            assert answer is not None
            assert answer.body == b"answer 5"

    asyncio.run(case())


def test_a_webhook_that_is_held_arrives_after_the_next_one() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("webhook:a", Fault("hold"))
            assert await s.tell_all("a", "b", "c") == ["b", "a", "c"]

    asyncio.run(case())


def test_a_webhook_is_held_until_the_next_one_is_told() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("webhook:a", Fault("hold", delay_s=60))
            s.tell("a")
            await asyncio.sleep(0.02)
            assert s.customer.told == []
            assert await s.tell_all("b") == ["b", "a"]

    asyncio.run(case())


def test_the_last_webhook_of_a_call_is_not_held_forever() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("webhook:completed", Fault("hold", delay_s=0.02))
            assert await s.tell_all("completed") == ["completed"]

    asyncio.run(case())


def test_when_all_are_held_they_change_places_in_pairs() -> None:
    async def case() -> None:
        async with scene() as s:
            s.faults.add("webhook:*", Fault("hold", times=None, delay_s=0.02))
            assert await s.tell_all("a", "b", "c", "d", "e") == ["b", "a", "d", "c", "e"]

    asyncio.run(case())


def test_too_many_webhooks_of_one_call_are_refused_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)

    async def case() -> None:
        async with scene() as s:
            assert await s.tell_all("a", "b", "c") == ["a", "b"]

    with caplog.at_level(logging.WARNING):
        asyncio.run(case())
    assert "too many webhooks wait for one call" in caplog.messages


def test_a_call_that_was_told_everything_leaves_nothing_behind() -> None:
    async def case() -> None:
        async with scene() as s:
            await s.tell_all("a")
            assert s.webhooks._mailboxes == {}
            assert s.webhooks._postmen == set()
            assert await s.tell_all("b") == ["a", "b"]

    asyncio.run(case())


def test_a_body_that_cannot_be_made_silences_only_its_own_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: int) -> bytes:
        raise ValueError("a bug")

    async def case() -> None:
        async with scene() as s:
            s.webhooks.tell("CA2", "broken", s.url, broken)
            assert await s.tell_all("a") == ["a"]
            assert s.webhooks._mailboxes == {}

    with caplog.at_level(logging.ERROR):
        asyncio.run(case())
    assert "the simulated carrier failed to deliver a webhook" in caplog.messages


def test_to_wait_for_everything_told_has_a_deadline() -> None:
    async def case() -> None:
        async with scene() as s:
            s.customer.gate.clear()
            s.tell("a")
            with pytest.raises(TimeoutError):
                await s.webhooks.idle(0.02)

    asyncio.run(case())


def test_after_closing_nothing_is_told() -> None:
    async def case() -> None:
        async with scene() as s:
            s.customer.gate.clear()
            s.tell("a")
            s.tell("b")
            await s.webhooks.close()
            s.tell("c")
            await s.webhooks.idle(PATIENCE_S)
            await s.webhooks.close()
            assert s.customer.told in ([], ["a"])

    asyncio.run(case())
