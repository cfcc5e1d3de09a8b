"""How a simulated carrier tells its customer: signed, in order, with its own patience."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urldefrag, urlencode

import httpx

from voicecall.clock import SystemClock

if TYPE_CHECKING:
    from voicecall.clock import Clock
    from voicecall.simulator.exchange.faults import Fault, Faults

_log = logging.getLogger("voicecall.simulator")

Content: TypeAlias = Mapping[str, str] | bytes
"""What a webhook says: fields that are form-encoded, or JSON octets."""

Body: TypeAlias = Content | Callable[[int], Content]
"""What a webhook says, or what it says at the n-th attempt, counted from 1."""

Sign: TypeAlias = Callable[[str, str, Content], Mapping[str, str]]
"""Method, URL as requested and content give the headers that prove the sender."""

MAX_WAITING = 1000
"""How many told webhooks of one call may wait; further ones are not delivered, and logged."""

MAX_UNDER_WAY = 1000
"""How many webhooks are sent at once; further ones wait."""

_MAX_DELIVERIES = 10_000
_MAX_ANSWER_OCTETS = 1024 * 1024
_LONGEST_HOLD_S = 1.0
# Idle connections are given up before servers usually do, lest a webhook meets a closed one.
_LIMITS = httpx.Limits(
    max_connections=MAX_UNDER_WAY, max_keepalive_connections=100, keepalive_expiry=1.0
)
# The last is how the HTTP client comes upon a connection that was reset as soon as it was made.
_NOT_THROUGH = (TimeoutError, httpx.HTTPError, AttributeError)
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Habits:
    """How patient a carrier is with its customer.

    Attributes:
        timeout_s: how long one attempt may take.
        attempts: how many there are, at least one.
        retry_delay_s: the pause between them.
        retry_on: whether another one follows an answer with that status, or none (None).
    """

    timeout_s: float
    attempts: int
    retry_delay_s: float
    retry_on: Callable[[int | None], bool]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What the customer answered.

    Attributes:
        status: HTTP's.
        body: raw octets.
        content_type: as it said; empty without one.
    """

    status: int
    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to deliver a webhook.

    Attributes:
        call_id: the carrier's id of the call.
        name: what the webhook is called in faults.
        url: as requested.
        body: what it said.
        status: the answer's; None when there was none.
        attempt: 1 for the first.
        at_ns: when the answer was there, or given up.
    """

    call_id: str
    name: str
    url: str
    body: Content
    status: int | None
    attempt: int
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class _Letter:
    """A webhook to deliver."""

    call_id: str
    name: str
    url: str
    body: Body
    method: str
    habits: Habits


@dataclass(slots=True)
class _Mailbox:
    """What waits to be delivered for one call."""

    waiting: deque[_Letter] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class Webhooks:
    """The webhooks of one simulated carrier.

    Args:
        sign: makes the headers of each attempt.
        faults: what goes wrong; looked up as `webhook:<name>`.
        clock: when deliveries were; the event loop does the waiting.
        habits: the carrier's patience.

    Attributes:
        deliveries: every attempt, the latest 10 000.
    """

    def __init__(
        self, sign: Sign, *, faults: Faults, habits: Habits, clock: Clock | None = None
    ) -> None:
        self.deliveries: deque[Delivery] = deque(maxlen=_MAX_DELIVERIES)
        self._sign = sign
        self._faults = faults
        self._habits = habits
        self._clock = clock or SystemClock()
        # Proxies of the environment have no say in what stays on this machine.
        self._client = httpx.AsyncClient(
            timeout=None,  # noqa: S113  (habits have it)
            limits=_LIMITS,
            trust_env=False,
        )
        self._under_way = asyncio.Semaphore(MAX_UNDER_WAY)
        self._mailboxes: dict[str, _Mailbox] = {}
        self._postmen: set[asyncio.Task[None]] = set()
        self._closed = False

    def limit(self, under_way: int) -> None:
        """Send no more than so many webhooks at once, from now on.

        A real carrier sends them from many addresses; a customer takes few from one.
        """
        self._under_way = asyncio.Semaphore(under_way)

    async def ask(
        self,
        call_id: str,
        name: str,
        url: str,
        body: Body,
        *,
        method: str = "POST",
        habits: Habits | None = None,
    ) -> HttpAnswer | None:
        """Send a webhook whose answer says what to do next.

        It waits for nothing that was told. Of a repeated one the second answer counts; holding one
        back changes nothing, as nobody overtakes it.

        Args:
            call_id: the carrier's id of the call.
            name: what to call it in faults and deliveries.
            url: where to; a fragment stays here.
            body: what it says; in the query when `method` is GET.
            method: HTTP's.
            habits: the patience for this URL; the carrier's usual one when None.

        Returns:
            The last answer, also one that reports an error; None when there was none.
        """
        letter = _Letter(call_id, name, url, body, method, habits or self._habits)
        return await self._send_faultily(letter, self._take_fault(letter))

    def tell(
        self,
        call_id: str,
        name: str,
        url: str,
        body: Body,
        *,
        method: str = "POST",
        habits: Habits | None = None,
    ) -> None:
        """Queue a webhook whose answer does not matter; those of one call are sent in order.

        The arguments are those of `ask`. A thousand may wait for one call; more are refused and
        logged. Nothing is sent after `close`.
        """
        if self._closed:
            return
        mailbox = self._mailboxes.get(call_id)
        if mailbox is None:
            mailbox = self._mailboxes[call_id] = _Mailbox()
            postman = asyncio.create_task(self._deliver_all(call_id, mailbox))
            self._postmen.add(postman)
            postman.add_done_callback(self._postmen.discard)
        if len(mailbox.waiting) >= MAX_WAITING:
            _log.warning("too many webhooks wait for one call", extra={"webhook": name})
            return
        mailbox.waiting.append(_Letter(call_id, name, url, body, method, habits or self._habits))
        mailbox.arrived.set()

    async def idle(self, timeout_s: float = 30.0) -> None:
        """Wait until everything told has been delivered or given up.

        Raises:
            TimeoutError: it took longer than `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            while self._postmen:
                await asyncio.wait(self._postmen)

    async def close(self) -> None:
        """Give up what waits and free the connections; twice is harmless."""
        self._closed = True
        for postman in self._postmen:
            postman.cancel()
        await asyncio.gather(*self._postmen, return_exceptions=True)
        await self._client.aclose()

    # --- told, in order ------------------------------------------------------------------------

    async def _deliver_all(self, call_id: str, mailbox: _Mailbox) -> None:
        try:
            while mailbox.waiting:
                await self._deliver_next(mailbox)
        except Exception:  # noqa: BLE001  (a task's boundary: other calls are still told)
            _log.exception("the simulated carrier failed to deliver a webhook")
        finally:
            del self._mailboxes[call_id]

    async def _deliver_next(self, mailbox: _Mailbox) -> None:
        letter = mailbox.waiting.popleft()
        fault = self._take_fault(letter)
        if fault is not None and fault.kind == "hold":
            await self._await_next(mailbox, fault.delay_s or _LONGEST_HOLD_S)
            if mailbox.waiting:
                overtaker = mailbox.waiting.popleft()
                await self._send_faultily(overtaker, self._take_fault(overtaker))
        await self._send_faultily(letter, fault)

    async def _await_next(self, mailbox: _Mailbox, longest_s: float) -> None:
        """Wait until another webhook of the call is told, or it has been long enough."""
        if mailbox.waiting:
            return
        mailbox.arrived.clear()
        try:
            async with asyncio.timeout(longest_s):
                await mailbox.arrived.wait()
        except TimeoutError:
            return

    # --- one webhook ---------------------------------------------------------------------------

    def _take_fault(self, letter: _Letter) -> Fault | None:
        return self._faults.take(f"webhook:{letter.name}")

    async def _send_faultily(self, letter: _Letter, fault: Fault | None) -> HttpAnswer | None:
        kind = None if fault is None else fault.kind
        if kind == "lose":
            return None
        if fault is not None and kind == "slow":
            await asyncio.sleep(fault.delay_s)
        if kind == "repeat":
            await self._send(letter)
        return await self._send(letter)

    async def _send(self, letter: _Letter) -> HttpAnswer | None:
        answer: HttpAnswer | None = None
        for attempt in range(1, letter.habits.attempts + 1):
            if attempt > 1:
                await asyncio.sleep(letter.habits.retry_delay_s)
            answer = await self._attempt(letter, attempt)
            if not letter.habits.retry_on(None if answer is None else answer.status):
                break
        return answer

    async def _attempt(self, letter: _Letter, attempt: int) -> HttpAnswer | None:
        content = letter.body(attempt) if callable(letter.body) else letter.body
        request = self._request(letter, content)
        answer: HttpAnswer | None = None
        try:
            async with self._under_way, asyncio.timeout(letter.habits.timeout_s):
                answer = await self._exchange(request)
        except _NOT_THROUGH as error:
            _log.debug("a simulated webhook did not get through", exc_info=error)
        status = None if answer is None else answer.status
        at_ns = self._clock.now_ns()
        self.deliveries.append(
            Delivery(letter.call_id, letter.name, str(request.url), content, status, attempt, at_ns)
        )
        return answer

    def _request(self, letter: _Letter, content: Content) -> httpx.Request:
        url = urldefrag(letter.url).url
        fields = content if isinstance(content, Mapping) else None
        if letter.method == "GET" and fields is not None:
            url += ("&" if "?" in url else "?") + urlencode(fields)
            return self._signed("GET", url, {}, b"", _FORM)
        if isinstance(content, Mapping):
            return self._signed(letter.method, url, content, urlencode(content).encode(), _FORM)
        return self._signed(letter.method, url, content, content, _JSON)

    def _signed(
        self, method: str, url: str, content: Content, octets: bytes, content_type: str
    ) -> httpx.Request:
        headers = {"content-type": content_type} if octets else {}
        headers |= self._sign(method, url, content)
        return self._client.build_request(method, url, content=octets, headers=headers)

    async def _exchange(self, request: httpx.Request) -> HttpAnswer | None:
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _MAX_ANSWER_OCTETS:
                    return None
        finally:
            await response.aclose()
        content_type = response.headers.get("content-type", "")
        return HttpAnswer(response.status_code, bytes(body), content_type)
