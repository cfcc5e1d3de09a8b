"""The carrier's side of the control plane: calls are placed by RPC and reported by webhook."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx
import orjson

from benchmarks.soak.target import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

DIAL_S = 10.0
REQUEST_S = 20.0
# The server takes eight unverified webhooks of one source at once.
WEBHOOKS_AT_ONCE = 6
EVENTS_PER_BODY = 100


class CallRefused(Exception):
    """The server does not place the call: it has as many as it may have."""


@dataclass(frozen=True, slots=True)
class Dialled:
    """A call that the server has placed with us.

    Attributes:
        call_id: the server's id.
        provider_call_id: ours.
        url: where its media belongs.
    """

    call_id: str
    provider_call_id: str
    url: str


class Dials:
    """The calls that the server places with us, until somebody takes them.

    Attributes:
        counts: how often each call was placed.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._waiting: dict[str, asyncio.Future[Dialled]] = {}

    def on_dial(self, message: dict[str, Any]) -> None:
        """The server has placed a call."""
        call = Dialled(message["callId"], message["providerCallId"], message["url"])
        self.counts[call.call_id] += 1
        dial = self._dial_of(call.call_id)
        if not dial.done():
            dial.set_result(call)

    async def take(self, call_id: str) -> Dialled:
        """Wait until a call is placed."""
        try:
            async with asyncio.timeout(DIAL_S):
                return await self._dial_of(call_id)
        finally:
            del self._waiting[call_id]

    def _dial_of(self, call_id: str) -> asyncio.Future[Dialled]:
        dial = self._waiting.get(call_id)
        if dial is None:
            dial = self._waiting[call_id] = asyncio.get_running_loop().create_future()
        return dial


class Carrier:
    """Talks to one server's control plane over HTTP.

    Args:
        control_url: of the control plane.
        dials: told of the calls that the server places.

    Attributes:
        control_url: of the control plane.
        dials: the calls that the server has placed.
    """

    def __init__(self, control_url: str, dials: Dials) -> None:
        self.control_url = control_url
        self.dials = dials
        self._webhooks = asyncio.Semaphore(WEBHOOKS_AT_ONCE)
        self._numbers = itertools.count(1)
        self._http = self._client()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def place(self, message: str, mode: str = "conversation") -> Dialled:
        """Have the server place a call to a number of its own.

        Raises:
            CallRefused: it has no room.
        """
        number = f"+1555{next(self._numbers) % 10_000_000:07}"
        answer = await self.ask("initiate", message=message, to=number, mode=mode)
        if "error" in answer:
            if answer["error"]["data"]["code"] == "capacity_reached":
                raise CallRefused(answer["error"]["message"])
            raise RuntimeError(answer["error"]["message"])
        return await self.dials.take(answer["result"]["callId"])

    async def ask(self, method: str, **params: str) -> dict[str, Any]:
        """A whole JSON-RPC answer."""
        body = {"jsonrpc": "2.0", "id": 1, "method": f"voicecall.{method}", "params": params}
        answer = await self._http.post("/rpc", content=orjson.dumps(body))
        answer.raise_for_status()
        return dict(orjson.loads(answer.content))

    async def record(self, call_id: str) -> dict[str, Any]:
        """A call's record; empty when it was forgotten."""
        answer = await self.ask("status", callId=call_id)
        return dict(answer["result"].get("call", {}))

    async def report(self, call: Dialled, kind: str, **fields: object) -> None:
        """Report an event of a call."""
        event = {
            "type": kind,
            "callId": call.call_id,
            "providerCallId": call.provider_call_id,
            **fields,
        }
        status = await self.post({"event": event})
        if status != 200:
            raise RuntimeError(f"{kind} was answered with {status}")

    async def post(self, body: object) -> int:
        """Send a webhook; the status of the answer."""
        async with self._webhooks:
            answer = await self._http.post("/voice/webhook", content=orjson.dumps(body))
        return answer.status_code

    async def changes(self, ready: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
        """Every change of every call from the moment `ready` is set; ends when cancelled."""
        async with self._http.stream("GET", "/events", timeout=None) as events:
            async for line in events.aiter_lines():
                ready.set()
                if line.startswith("data:"):
                    yield orjson.loads(line[5:])

    async def state(self) -> dict[str, Any]:
        """What `/readyz` says."""
        answer = await self._http.get("/readyz")
        return dict(orjson.loads(answer.content))

    async def hang_up_connections(self) -> None:
        """Close every idle connection to the control plane."""
        old, self._http = self._http, self._client()
        await old.aclose()

    def _client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.AsyncClient(
            base_url=self.control_url, headers=headers, timeout=REQUEST_S, trust_env=False
        )


async def fill_memories(carrier: Carrier, limits: dict[str, int]) -> None:
    """Fill what the server remembers on purpose, so that whatever grows afterwards is a leak.

    Args:
        carrier: of the server.
        limits: what it remembers: `refused` calls, `facts` applied, and `ended` calls.
    """
    await _in_bodies(
        carrier,
        [
            {"type": "call.ringing", "direction": "inbound", "providerCallId": f"refused-{n}"}
            for n in range(limits["refused"])
        ],
    )
    call = await carrier.place("Hi")
    await carrier.report(call, "call.answered")
    pressed = {"type": "call.dtmf", "callId": call.call_id, "digits": "1"}
    await _in_bodies(carrier, [pressed for _ in range(limits["facts"])])
    await carrier.report(call, "call.ended", reason="completed")
    for _ in range(0, limits["ended"], EVENTS_PER_BODY):
        async with asyncio.TaskGroup() as group:
            for _ in range(EVENTS_PER_BODY):
                group.create_task(_ring_in_vain(carrier))


async def _ring_in_vain(carrier: Carrier) -> None:
    await carrier.report(await carrier.place("Hi"), "call.ended", reason="busy")


async def _in_bodies(carrier: Carrier, events: list[dict[str, str]]) -> None:
    for begin in range(0, len(events), EVENTS_PER_BODY):
        status = await carrier.post({"events": events[begin : begin + EVENTS_PER_BODY]})
        if status != 200:
            raise RuntimeError(f"a webhook was answered with {status}")
