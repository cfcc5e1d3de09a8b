"""What happens to a carrier's webhook, from its headers to the answer.

The order is the defence: path and method (the router), signature headers present, few enough
unverified requests from the same source, body short and in time, signature, replay, parse, apply,
answer. Every step is cheaper than the next, and nothing is believed before the signature.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response

from voicecall.carriers._proxies import is_loopback
from voicecall.carriers._public_url import RequestTarget, signed_url
from voicecall.carriers._replay import ReplayMemory
from voicecall.control.body import read_body
from voicecall.errors import CallError, CodecError, StoreError, VerificationError
from voicecall.ports import VerifiedRequest, Webhook, WebhookAnswer, WebhookRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from voicecall.call.record import CallRecord
    from voicecall.clock import Clock
    from voicecall.control.services import Calls, WebhookSettings
    from voicecall.metrics import Metrics

MAX_BODY_OCTETS = 64 * 1024
BODY_TIMEOUT_S = 5.0
MAX_UNVERIFIED_PER_SOURCE = 8
# Carriers give up on a webhook after 10 to 15 s; a repeat that waits longer answers nobody.
_SAME_REQUEST_TIMEOUT_S = 10.0

_RESULTS = {
    400: "malformed",
    401: "unsigned",
    408: "slow",
    413: "too_long",
    429: "too_many",
    503: "unavailable",
}

logger = logging.getLogger("voicecall.control")


class UnverifiedRequests:
    """Counts requests that have not proven anything yet, by source.

    Overflow: refused. The count holds at most one entry for each request in flight.

    Args:
        limit: how many one source may have.
    """

    def __init__(self, limit: int = MAX_UNVERIFIED_PER_SOURCE) -> None:
        self._limit = limit
        self._in_flight: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._in_flight.total()

    @contextmanager
    def one(self, source: str) -> Iterator[None]:
        """Count a request while it is read and verified.

        Raises:
            HTTPException: 429, `source` has too many already.
        """
        if self._in_flight[source] >= self._limit:
            raise HTTPException(429, headers={"connection": "close", "retry-after": "1"})
        self._in_flight[source] += 1
        try:
            yield
        finally:
            self._in_flight[source] -= 1
            if not self._in_flight[source]:
                del self._in_flight[source]


class WebhookEndpoint:
    """Takes the carrier's webhooks.

    Args:
        webhook: the carrier's pure part.
        calls: where events go.
        settings: how requests are believed.
        metrics: counts results.
        clock: tells how old a remembered answer is.
        body_timeout_s: within which a body has to arrive.
    """

    def __init__(
        self,
        webhook: Webhook,
        calls: Calls,
        settings: WebhookSettings,
        *,
        metrics: Metrics,
        clock: Clock,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._webhook = webhook
        self._calls = calls
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._body_timeout_s = body_timeout_s
        self._unverified = UnverifiedRequests()
        self._replays = ReplayMemory()
        self._in_process: dict[str, asyncio.Event] = {}

    async def receive(self, request: Request) -> Response:
        """Take one webhook.

        Raises:
            HTTPException: it is refused; 400, 401, 408, 413, 429 or 503.
        """
        try:
            verified = await self._verified(request)
            answer = await self._answer_once(verified)
        except HTTPException as refusal:
            self._count(_RESULTS[refusal.status_code])
            raise
        return Response(answer.body, answer.status, media_type=answer.content_type)

    async def _verified(self, request: Request) -> VerifiedRequest:
        headers = _joined(request)
        peer = request.client.host if request.client else ""
        source = self._settings.forwarding.proxies.client(peer, headers.get("x-forwarded-for"))
        needed = self._webhook.signature_headers if self._settings.verify else ()
        if any(name not in headers for name in needed):
            raise HTTPException(401, headers={"connection": "close"})
        with self._unverified.one(source):
            body = await read_body(
                request, limit_octets=MAX_BODY_OCTETS, timeout_s=self._body_timeout_s
            )
            return self._believed(
                request,
                RequestTarget(
                    path=_raw_path(request),
                    query=request.scope["query_string"].decode("latin-1"),
                    headers=headers,
                    peer=peer,
                ),
                body,
            )

    def _believed(self, request: Request, target: RequestTarget, body: bytes) -> VerifiedRequest:
        bypass = self._settings.ngrok_bypass and is_loopback(target.peer)
        try:
            url = signed_url(self._settings.policy(), target, trust_peer=bypass)
        except VerificationError as error:
            raise _unproven(error) from error
        received = WebhookRequest(request.method, url, target.headers, body, target.peer)
        if not self._settings.verify:
            return _taken_on_trust(received)
        try:
            return self._webhook.verify(received)
        except VerificationError as error:
            if not bypass:
                raise _unproven(error) from error
            logger.warning(
                "unverified webhook accepted because of tunnel.allowNgrokFreeTierLoopbackBypass",
                extra={"reason": str(error)},
            )
            return _taken_on_trust(received)

    async def _answer_once(self, verified: VerifiedRequest) -> WebhookAnswer:
        """Process a request, unless the same one was or is being processed."""
        key = verified.replay_key
        if not key:
            return await self._process(verified)
        await self._wait_for_same(key)
        known = self._replays.recall(key, self._clock.now_ns())
        if known is not None:
            self._count("replayed")
            return known
        done = self._in_process[key] = asyncio.Event()
        try:
            answer = await self._process(verified)
            self._replays.remember(key, answer, self._clock.now_ns())
        finally:
            del self._in_process[key]
            done.set()
        return answer

    async def _wait_for_same(self, key: str) -> None:
        try:
            async with asyncio.timeout(_SAME_REQUEST_TIMEOUT_S):
                while (pending := self._in_process.get(key)) is not None:
                    await pending.wait()
        except TimeoutError as error:
            raise HTTPException(503) from error

    async def _process(self, verified: VerifiedRequest) -> WebhookAnswer:
        try:
            events = self._webhook.parse(verified)
        except CodecError as error:
            logger.warning("malformed webhook", extra={"pii_reason": str(error)})
            raise HTTPException(400) from error
        record: CallRecord | None = None
        for event in events:
            try:
                await self._calls.apply(event)
            except CallError as error:
                # Answering is still right: the carrier needs instructions whatever we made of it.
                logger.warning("event not applied", extra={"event": event.type, "code": error.code})
            except StoreError as error:
                logger.exception("event not stored", extra={"event": event.type})
                raise HTTPException(503) from error
            record = record or self._record_of(event.call_id, event.provider_call_id)
        self._count("applied")
        return self._webhook.answer(verified, record)

    def _count(self, result: str) -> None:
        self._metrics.webhook(self._settings.carrier, result)

    def _record_of(self, *ids: str | None) -> CallRecord | None:
        found = (self._calls.find(call_id) for call_id in ids if call_id)
        return next((record for record in found if record is not None), None)


def _joined(request: Request) -> dict[str, str]:
    """Headers by lower-case name; repeated ones joined as RFC 9110, section 5.3 says.

    A repeated signature or host then is no valid one, instead of the one somebody put first.
    """
    joined: dict[str, str] = {}
    for name, value in request.headers.items():
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _raw_path(request: Request) -> str:
    raw = request.scope.get("raw_path")
    path = raw.decode("latin-1") if isinstance(raw, bytes) else request.url.path
    return path.partition("?")[0]


def _taken_on_trust(request: WebhookRequest) -> VerifiedRequest:
    # Without a signature nothing tells a replay from a new request; events still have their keys.
    return VerifiedRequest(request, replay_key="")


def _unproven(error: VerificationError) -> HTTPException:
    logger.warning("webhook refused", extra={"reason": str(error)})
    return HTTPException(401)
