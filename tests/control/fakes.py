"""Stand-ins for what the control plane talks to, and a server to talk to it through."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import uvloop

from voicecall.call.record import CallRecord, CallState, Direction, Mode
from voicecall.carriers.mock.webhook import MockWebhook
from voicecall.clock import ManualClock
from voicecall.control.app import create_app
from voicecall.control.listen import ControlListener
from voicecall.control.services import ControlServices, WebhookSettings
from voicecall.errors import UnknownCall, VerificationError, VoicecallError
from voicecall.metrics import Metrics
from voicecall.ports import VerifiedRequest, WebhookAnswer, WebhookRequest

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Mapping,
        Sequence,
    )

    from voicecall.call.events import CallEvent

TOKEN = "correct horse battery staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def run(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(case())


def record(call_id: str = "c-1", **changes: Any) -> CallRecord:
    made = CallRecord(
        call_id=call_id,
        provider="mock",
        direction=Direction.OUTBOUND,
        state=CallState.INITIATED,
        from_number="+15550001111",
        to_number="+15550002222",
        session_key="+15550002222",
        started_at=1_700_000_000_000,
        provider_call_id=f"p-{call_id}",
    )
    return replace(made, **changes)


@dataclass
class Operation:
    status: str
    transcript: str | None = None
    error: str | None = None


class FakeCalls:
    """Calls kept in a dict; remembers what it was asked to do."""

    def __init__(self) -> None:
        self.records: dict[str, CallRecord] = {}
        self.asked: list[tuple[str, ...]] = []
        self.applied: list[CallEvent] = []
        self.fails_with: VoicecallError | Exception | None = None
        self.applying: asyncio.Event | None = None
        self.subscribers: set[asyncio.Queue[Mapping[str, Any] | None]] = set()
        self.subscribed = asyncio.Event()
        self.unsubscribed = asyncio.Event()

    def add(self, *calls: CallRecord) -> None:
        self.records |= {call.call_id: call for call in calls}

    def _known(self, call_id: str) -> CallRecord:
        if self.fails_with is not None:
            raise self.fails_with
        found = self.find(call_id)
        if found is None:
            raise UnknownCall("There is no such call.", call_id=call_id)
        return found

    async def initiate(
        self,
        message: str,
        to: str | None = None,
        mode: Mode | None = None,
        dtmf_sequence: str | None = None,
    ) -> CallRecord:
        if self.fails_with is not None:
            raise self.fails_with
        self.asked.append(("initiate", message, to or "", mode or "", dtmf_sequence or ""))
        call = record(f"c-{len(self.records) + 1}")
        self.add(call)
        return call

    async def speak(self, call_id: str, message: str) -> None:
        self.asked.append(("speak", self._known(call_id).call_id, message))

    async def ask(self, call_id: str, message: str) -> str:
        self.asked.append(("ask", self._known(call_id).call_id, message))
        return f"you said {message}"

    async def start_ask(self, call_id: str, message: str) -> str:
        self.asked.append(("start_ask", self._known(call_id).call_id, message))
        return "op-1"

    def ask_result(self, operation_id: str) -> Operation:
        known = {"op-1": Operation("done", "fine"), "op-2": Operation("failed", error="call over")}
        return known.get(operation_id, Operation("pending"))

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        self.asked.append(("dtmf", self._known(call_id).call_id, digits))

    async def transfer(self, call_id: str, to: str) -> None:
        self.asked.append(("transfer", self._known(call_id).call_id, to))

    async def end(self, call_id: str) -> None:
        self.asked.append(("end", self._known(call_id).call_id))

    def find(self, call_id: str) -> CallRecord | None:
        by_carrier = {call.provider_call_id: call for call in self.records.values()}
        return self.records.get(call_id) or by_carrier.get(call_id)

    async def lookup(self, call_id: str) -> CallRecord | None:
        return self.find(call_id)

    def live(self) -> Sequence[CallRecord]:
        return [call for call in self.records.values() if not call.state.terminal]

    async def recent(self, limit: int) -> Sequence[CallRecord]:
        self.asked.append(("recent", str(limit)))
        return list(self.records.values())[-limit:]

    async def changes(
        self, since: int, limit: int
    ) -> tuple[Sequence[tuple[int, Mapping[str, Any]]], int]:
        self.asked.append(("changes", str(since), str(limit)))
        return [(7, {"type": "call.ringing", "timestamp": 1})], 7

    async def apply(self, event: CallEvent) -> None:
        if self.applying is not None:
            await self.applying.wait()
        if self.fails_with is not None:
            raise self.fails_with
        self.applied.append(event)

    async def subscribe(self) -> AsyncGenerator[Mapping[str, Any], None]:
        changes: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        self.subscribers.add(changes)
        self.subscribed.set()
        try:
            while (change := await changes.get()) is not None:
                yield change
        finally:
            self.subscribers.discard(changes)
            self.unsubscribed.set()

    def publish(self, change: Mapping[str, Any] | None) -> None:
        for changes in self.subscribers:
            changes.put_nowait(change)


class SignedWebhook(MockWebhook):
    """The mock's events under a signature: HMAC-SHA256 of URL and body."""

    SECRET = b"webhook secret"

    @property
    def signature_headers(self) -> Sequence[str]:
        return ("x-test-signature",)

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        if request.headers["x-test-signature"] != self.sign(request.url, request.body):
            raise VerificationError("the signature does not match")
        return VerifiedRequest(request, replay_key=request.url + request.body.decode())

    def answer(self, verified: VerifiedRequest, record: CallRecord | None) -> WebhookAnswer:
        state = record.state if record else "unknown"
        return WebhookAnswer(content_type="text/xml", body=f"<Response>{state}</Response>".encode())

    @classmethod
    def sign(cls, url: str, body: bytes) -> str:
        return hmac.digest(cls.SECRET, url.encode() + body, "sha256").hex()


def event_body(**fields: Any) -> bytes:
    return orjson.dumps({"event": {"type": "call.ringing", "callId": "c-1"} | fields})


def services(calls: FakeCalls | None = None, **changes: Any) -> ControlServices:
    clock = ManualClock()
    made = ControlServices(
        calls=calls or FakeCalls(),
        webhook=MockWebhook(clock),
        webhooks=WebhookSettings(),
        metrics=Metrics(),
        readiness=lambda: {"ready": True, "store": "ok"},
        rpc_token=TOKEN,
        clock=clock,
    )
    return replace(made, **changes)


@dataclass
class Served:
    listener: ControlListener
    http: httpx.AsyncClient

    @property
    def port(self) -> int:
        return self.listener.port


@asynccontextmanager
async def serving(control: ControlServices) -> AsyncIterator[Served]:
    listener = ControlListener(create_app(control), "127.0.0.1", 0)
    await listener.start()
    try:
        base = f"http://127.0.0.1:{listener.port}"
        async with httpx.AsyncClient(base_url=base, timeout=5, trust_env=False) as http:
            yield Served(listener, http)
    finally:
        await listener.stop(grace_s=1)


async def exchange(port: int, *pieces: bytes) -> tuple[int, bytes]:
    """Send raw octets, then read until the server closes; the status and everything after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(5):
            answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]), answer


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again, for at most three seconds, until `holds` does."""
    async with asyncio.timeout(3):
        while not await holds():  # noqa: ASYNC110  (what is waited for is behind a socket)
            await asyncio.sleep(0.01)
