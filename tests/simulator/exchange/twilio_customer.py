"""A customer of the simulated Twilio: the vendor's own SDK, and webhooks that check signatures."""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from voicecall.simulator.exchange.http import HttpResponse, HttpServer
from voicecall.simulator.exchange.party import SimpleParty
from voicecall.simulator.exchange.twilio import AUTH_TOKEN, TwilioExchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from voicecall.simulator.exchange.http import HttpRequest
    from voicecall.simulator.exchange.twilio_line import TwilioLine

Answer = str | HttpResponse

TO, FROM = "+15550000001", "+15550000002"
EVENTS = ["initiated", "ringing", "answered", "completed"]


def run(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await case()

    asyncio.run(bounded())


def response(*verbs: str) -> str:
    return f"<Response>{''.join(verbs)}</Response>"


HANG_UP = response("<Hangup/>")
WAIT = response('<Pause length="3600"/>')
LISTEN = response('<Gather input="dtmf speech" action="/heard"/>', "<Redirect>/voice</Redirect>")


def exchange(party: SimpleParty | None = None, **options: Any) -> TwilioExchange:
    """A simulated Twilio where everybody is `party`."""
    there = party or SimpleParty()
    return TwilioExchange(lambda _: there, **options)


async def over(carrier: TwilioExchange) -> TwilioLine:
    """The only call, once it is over and everything was told."""
    (line,) = carrier.calls.values()
    await line.finished.wait()
    await carrier.webhooks.idle()
    return line


@dataclass(frozen=True)
class Asked:
    """One webhook, with its form or its query as fields."""

    method: str
    path: str
    fields: dict[str, str]

    @property
    def status(self) -> str:
        return self.fields.get("CallStatus", "")


@dataclass
class Customer:
    """Answers voice webhooks with documents by their path, and takes note of everything.

    Attributes:
        documents: what to answer at each path, in turn, the last one ever after; nothing there is
            an empty 204.
        asked: what came, in order; each had a signature that Twilio's own validator accepts.
        unsigned: what came with a wrong one.
    """

    documents: dict[str, list[str | HttpResponse]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    unsigned: list[HttpRequest] = field(default_factory=list)
    url: str = ""
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        query = f"?{request.query}" if request.query else ""
        form = {name: values[0] for name, values in request.form().items()}
        signature = request.headers.get("x-twilio-signature", "")
        if not RequestValidator(AUTH_TOKEN).validate(
            f"{self.url}{request.path}{query}", form, signature
        ):
            self.unsigned.append(request)
        fields = {name: values[0] for name, values in request.arguments().items()} | form
        async with self._came:
            self.asked.append(Asked(request.method, request.path, fields))
            self._came.notify_all()
        return self._answer(request.path)

    def _answer(self, path: str) -> HttpResponse:
        waiting = self.documents.get(path)
        if not waiting:
            return HttpResponse(204)
        document = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(document, HttpResponse):
            return document
        return HttpResponse(body=document.encode(), content_type="text/xml; charset=utf-8")

    def at(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    async def until(self, path: str, count: int = 1) -> list[Asked]:
        """Wait until `count` webhooks have come to `path`."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.at(path)) >= count)
        return self.at(path)


@asynccontextmanager
async def customer(
    **documents: str | HttpResponse | list[str | HttpResponse],
) -> AsyncIterator[Customer]:
    """A customer whose `voice` document is at `/voice`, and so on."""
    found = {
        f"/{name}": document if isinstance(document, list) else [document]
        for name, document in documents.items()
    }
    there = Customer(found)
    async with HttpServer(there.handle) as server:
        there.url = server.url
        yield there
        assert there.unsigned == []


class _Transport:
    """The SDK's HTTP client, authenticated as an aiohttp without `BasicAuth` has to be."""

    is_async = True

    def __init__(self) -> None:
        silent = logging.Logger("twilio", logging.CRITICAL + 1)  # noqa: LOG001  (nobody's child)
        self._http = AsyncTwilioHttpClient(logger=silent, max_retries=None)
        self.headers: dict[str, str] = {}

    async def request(
        self, *arguments: Any, headers: dict[str, str], auth: tuple[str, str], **named: Any
    ) -> Any:
        credentials = base64.b64encode(":".join(auth).encode()).decode()
        headers = {**headers, "Authorization": f"Basic {credentials}"}
        answer = await self._http.request(*arguments, headers=headers, **named)
        self.headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer

    async def close(self) -> None:
        await self._http.close()


@asynccontextmanager
async def sdk(exchange: TwilioExchange, token: str | None = None) -> AsyncIterator[Any]:
    """The vendor's client of an exchange; `http_client.headers` are those of the last answer."""
    transport = _Transport()
    client = Client(
        exchange.account_sid,
        token or exchange.auth_token,
        http_client=transport,
        environment={"TWILIO_EDGE": ""},
    )
    client.api.base_url = exchange.base_url
    try:
        yield client
    finally:
        await transport.close()


async def dial(client: Any, there: Customer, **parameters: Any) -> Any:
    """Place a call that asks at `/voice` and reports everything at `/status`."""
    usual: dict[str, Any] = {
        "to": TO,
        "from_": FROM,
        "url": f"{there.url}/voice",
        "status_callback": f"{there.url}/status",
        "status_callback_event": EVENTS,
    }
    given = {name: value for name, value in (usual | parameters).items() if value is not None}
    return await client.calls.create_async(**given)


def statuses(there: Customer) -> list[str]:
    """What was reported, in order."""
    return [asked.status for asked in there.at("/status")]
