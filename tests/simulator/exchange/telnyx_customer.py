"""A customer of the simulated Telnyx: the vendor's own package, and a server for webhooks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import telnyx

from voicecall.simulator.exchange.http import HttpRequest, HttpResponse, HttpServer
from voicecall.simulator.exchange.party import SimpleParty
from voicecall.simulator.exchange.telnyx import TelnyxExchange, TelnyxHabits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from voicecall.simulator.exchange.party import Party
    from voicecall.simulator.exchange.telnyx_call import TelnyxCall

US = "+13125550001"
THEM = "+13125550002"
STATE = "aGVsbG8="
QUICK = TelnyxHabits(second_s=0.01, thinking_s=0.0, greeting_s=0.05, webhook_retry_s=0.01)


def run(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await case()

    asyncio.run(bounded())


class Customer:
    """Takes webhooks, and drives the exchange with the vendor's package.

    Attributes:
        client: the vendor's package.
        received: webhooks as they came.
        statuses: what the next webhooks are answered with; 200 after that.
        parties: who was reached, in order.
    """

    client: telnyx.AsyncTelnyx

    def __init__(self, exchange: TelnyxExchange) -> None:
        self.exchange = exchange
        self.webhook_url = ""
        self.received: list[HttpRequest] = []
        self.statuses: list[int] = []
        self._changed = asyncio.Event()

    async def take(self, request: HttpRequest) -> HttpResponse:
        self.received.append(request)
        self._changed.set()
        return HttpResponse(self.statuses.pop(0) if self.statuses else 200)

    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(request.body)["data"] for request in self.received]

    def kinds(self) -> list[str]:
        return [event["event_type"] for event in self.events()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event["payload"] for event in self.events() if event["event_type"] == kind]

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        while len(self.of(kind)) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.of(kind)[count - 1]

    def parameters(self, **changes: Any) -> dict[str, Any]:
        return {
            "connection_id": self.exchange.connection_id,
            "to": THEM,
            "from_": US,
            "webhook_url": self.webhook_url,
            "client_state": STATE,
        } | changes

    async def dial(self, **changes: Any) -> TelnyxCall:
        answer = await self.client.calls.dial(**self.parameters(**changes))
        assert answer.data is not None
        return self.exchange.calls[answer.data.call_control_id]

    async def dial_answered(self, **changes: Any) -> TelnyxCall:
        call = await self.dial(**changes)
        await self.until("call.answered")
        return call

    async def call_in(self) -> TelnyxCall:
        call = await self.exchange.call_in(THEM, US, self.webhook_url)
        await self.until("call.initiated")
        return call

    async def refusal(self, request: Coroutine[Any, Any, object]) -> tuple[int, str, str | None]:
        """Status, code and pointer of the error that `request` is answered with."""
        try:
            await request
        except telnyx.APIStatusError as error:
            first = error.body["errors"][0]  # type: ignore[index]  # an untyped JSON object
            return error.status_code, first["code"], first.get("source", {}).get("pointer")
        raise AssertionError("the request was not refused")


@asynccontextmanager
async def customer(
    party: Party | None = None,
    habits: TelnyxHabits = QUICK,
    *,
    timeout_s: float = 5.0,
    **options: Any,
) -> AsyncIterator[Customer]:
    reached = party or SimpleParty()
    exchange = TelnyxExchange(lambda _: reached, habits=habits, **options)
    made = Customer(exchange)
    # The exchange is closed first, so that no webhook comes to a server that is being closed.
    async with HttpServer(made.take) as server, exchange:
        made.webhook_url = f"{server.url}/voice/webhook"
        async with telnyx.AsyncTelnyx(
            api_key=exchange.api_key, base_url=exchange.api_url, max_retries=0, timeout=timeout_s
        ) as made.client:
            yield made
