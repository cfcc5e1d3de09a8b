"""What the control plane is given to work with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from voicecall.carriers._public_url import ForwardingPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from starlette.types import ASGIApp

    from voicecall.call.events import CallEvent
    from voicecall.call.record import CallRecord, Mode
    from voicecall.clock import Clock
    from voicecall.metrics import Metrics
    from voicecall.ports import Webhook


class AskResult(Protocol):
    """How a question asked in the background stands."""

    @property
    def status(self) -> str:
        """`pending`, `done` or `failed`."""
        ...

    @property
    def transcript(self) -> str | None:
        """What the caller said, once done."""
        ...

    @property
    def error(self) -> str | None:
        """Why there is no answer, once failed."""
        ...


class Calls(Protocol):
    """The calls, as clients of the control plane may use them.

    Methods that take a call id take ours or the carrier's, and raise `CallError`, `CarrierError`
    or `StoreError`.
    """

    async def initiate(
        self,
        message: str,
        to: str | None = None,
        mode: Mode | None = None,
        dtmf_sequence: str | None = None,
    ) -> CallRecord:
        """Place a call."""
        ...

    async def speak(self, call_id: str, message: str) -> object:
        """Say something on a call."""
        ...

    async def ask(self, call_id: str, message: str) -> str:
        """Say something and wait for the caller's answer."""
        ...

    async def start_ask(self, call_id: str, message: str) -> str:
        """Begin to `ask`, not waiting; the id of the operation."""
        ...

    def ask_result(self, operation_id: str) -> AskResult:
        """How the operation stands."""
        ...

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        """Send keys."""
        ...

    async def transfer(self, call_id: str, to: str) -> None:
        """Hand a call on; then it is over here."""
        ...

    async def end(self, call_id: str) -> None:
        """Hang up; a call that is over is a success."""
        ...

    def find(self, call_id: str) -> CallRecord | None:
        """One call, live or ended not long ago."""
        ...

    async def lookup(self, call_id: str) -> CallRecord | None:
        """One call as far back as calls are kept."""
        ...

    def live(self) -> Sequence[CallRecord]:
        """Calls that have not ended."""
        ...

    async def recent(self, limit: int) -> Sequence[CallRecord]:
        """The newest calls, newest first."""
        ...

    async def changes(
        self, since: int, limit: int
    ) -> tuple[Sequence[tuple[int, Mapping[str, Any]]], int]:
        """Changes stored after number `since`, with their numbers; and where to go on."""
        ...

    async def apply(self, event: CallEvent) -> None:
        """Apply what a carrier reports; returns once it is stored."""
        ...

    def subscribe(self) -> AsyncGenerator[Mapping[str, Any], None]:
        """Changes from now on, in a bounded buffer of its own; closing it unsubscribes."""
        ...


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """The media plane's fallback on the control plane's port.

    Attributes:
        path: also served with `/{token}` after it; the endpoint finds the token under
            `scope["path_params"]`.
        endpoint: takes the WebSocket.
    """

    path: str
    endpoint: ASGIApp


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How webhooks are believed.

    Attributes:
        path: where they arrive.
        carrier: whose they are, for metrics.
        forwarding: what the signed URL is built from, and which proxies are trusted.
        verify: False accepts everything unseen (`skipSignatureVerification`).
        ngrok_bypass: accept what fails verification from a loopback peer. Only to be set when
            `tunnel.allowNgrokFreeTierLoopbackBypass` is, the tunnel is ngrok and the server is
            bound to loopback.
        public_url: tells where carriers reach us when a tunnel decides that, so that it may change
            while the server runs; None leaves it to `forwarding`.
    """

    path: str = "/voice/webhook"
    carrier: str = "mock"
    forwarding: ForwardingPolicy = field(default_factory=ForwardingPolicy)
    verify: bool = True
    ngrok_bypass: bool = False
    public_url: Callable[[], str | None] | None = None

    def policy(self) -> ForwardingPolicy:
        """What the signed URL is built from now."""
        if self.public_url is None:
            return self.forwarding
        return replace(self.forwarding, public_url=self.public_url())


@dataclass(frozen=True, slots=True)
class ControlServices:
    """Everything the control plane's routes need.

    Attributes:
        calls: the calls.
        webhook: the carrier's webhook side.
        webhooks: how webhooks are believed.
        metrics: counters.
        readiness: current state for `/readyz`: `ready` and whatever checks are worth showing;
            never secrets.
        rpc_token: bearer token of `/rpc`, `/rpc/ws`, `/events` and `/metrics`.
        clock: tells how old a webhook is.
        stream: the media fallback, when there is one.
    """

    calls: Calls
    webhook: Webhook
    webhooks: WebhookSettings
    metrics: Metrics
    readiness: Callable[[], Mapping[str, Any]]
    rpc_token: str = field(repr=False)
    clock: Clock
    stream: StreamRoute | None = None
