"""A customer of the simulated Plivo: the vendor's own SDK, and webhooks that check signatures."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plivo.utils import validate_signature, validate_v3_signature

from voicecall.carriers.plivo.rest import Account, Answer, Timeouts, close_client, open_client
from voicecall.simulator.exchange import HttpResponse, HttpServer
from voicecall.simulator.exchange.plivo import AUTH_TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from voicecall.simulator.exchange import HttpRequest
    from voicecall.simulator.exchange.plivo import PlivoExchange

TO, FROM = "+15550000001", "+15550000002"
SILENT = HttpResponse(204)


def run(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await case()

    asyncio.run(bounded())


def response(*elements: str) -> str:
    return f"<Response>{''.join(elements)}</Response>"


def stream(url: str, **attributes: str) -> str:
    """A stream that runs alone, as it should be asked for."""
    usual = {
        "bidirectional": "true",
        "keepCallAlive": "true",
        "contentType": "audio/x-mulaw;rate=8000",
    }
    written = " ".join(f'{name}="{value}"' for name, value in (usual | attributes).items())
    return f"<Stream {written}>{url}</Stream>"


@dataclass(frozen=True)
class Asked:
    """One webhook, with its form or its query as fields."""

    method: str
    path: str
    query: str
    fields: dict[str, str]


@dataclass
class Customer:
    """Answers webhooks with documents by their path, and takes note of everything.

    Attributes:
        documents: what to answer at each path, in turn, the last one ever after; nothing there is
            an empty 204.
        asked: what came, in order.
        unsigned: what came with a signature that Plivo's own SDK refuses.
    """

    documents: dict[str, list[str | HttpResponse]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    unsigned: list[HttpRequest] = field(default_factory=list)
    url: str = ""
    auth_token: str = AUTH_TOKEN
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        form = {name: values[0] for name, values in request.form().items()}
        if not self._signed(request, form):
            self.unsigned.append(request)
        fields = {name: values[0] for name, values in request.arguments().items()} | form
        async with self._came:
            self.asked.append(Asked(request.method, request.path, request.query, fields))
            self._came.notify_all()
        return self._answer(request.path)

    def _signed(self, request: HttpRequest, form: dict[str, str]) -> bool:
        query = f"?{request.query}" if request.query else ""
        url, headers = f"{self.url}{request.path}{query}", request.headers
        v3 = validate_v3_signature(
            request.method,
            url,
            headers.get("x-plivo-signature-v3-nonce", ""),
            self.auth_token,
            headers.get("x-plivo-signature-v3", ""),
            dict(form),
        )
        v2 = validate_signature(
            url,
            headers.get("x-plivo-signature-v2-nonce", ""),
            headers.get("x-plivo-signature-v2", ""),
            self.auth_token,
        )
        return bool(v3 and v2)

    def _answer(self, path: str) -> HttpResponse:
        waiting = self.documents.get(path)
        if not waiting:
            return SILENT
        document = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(document, HttpResponse):
            return document
        return HttpResponse(body=document.encode(), content_type="application/xml")

    def at(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    async def until(self, path: str, count: int = 1) -> list[Asked]:
        """Wait until `count` webhooks have come to `path`."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.at(path)) >= count)
        return self.at(path)

    async def end(self) -> dict[str, str]:
        """Wait for the report of a call's end; what it says."""
        return (await self.until("/hangup"))[-1].fields


@asynccontextmanager
async def customer(
    token: str = AUTH_TOKEN, /, **documents: str | HttpResponse | list[str | HttpResponse]
) -> AsyncIterator[Customer]:
    """A customer whose `answer` document is at `/answer`, and so on."""
    found = {
        f"/{name}": document if isinstance(document, list) else [document]
        for name, document in documents.items()
    }
    there = Customer(found, auth_token=token)
    async with HttpServer(there.handle) as server:
        there.url = server.url
        yield there
        assert there.unsigned == []


class Sdk:
    """The vendor's client, in a thread of its own for each request."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def ask(self, ask: Callable[[Any], Answer]) -> Answer:
        """What Plivo answers to a call of the SDK's."""
        return await asyncio.to_thread(ask, self.client)

    async def dial(self, there: Customer, **parameters: Any) -> str:
        """Place a call that asks at `/answer` and reports everything; the request's id."""
        answer = await self.ask(lambda client: client.calls.create(**dialing(there, **parameters)))
        assert answer.status == 201, answer
        return str(answer.body["request_uuid"])


def dialing(there: Customer, **parameters: Any) -> dict[str, Any]:
    """What a call is placed with."""
    usual: dict[str, Any] = {
        "from_": FROM,
        "to_": TO,
        "answer_url": f"{there.url}/answer",
        "ring_url": f"{there.url}/ring",
        "hangup_url": f"{there.url}/hangup",
    }
    return {name: value for name, value in (usual | parameters).items() if value is not None}


@asynccontextmanager
async def sdk(
    exchange: PlivoExchange, *, token: str | None = None, read_s: float = 5.0
) -> AsyncIterator[Sdk]:
    """The vendor's client of an exchange."""
    account = Account(exchange.auth_id, token or exchange.auth_token, exchange.base_url)
    client = open_client(account, Timeouts(connect_s=2.0, read_s=read_s))
    try:
        yield Sdk(client)
    finally:
        close_client(client)
