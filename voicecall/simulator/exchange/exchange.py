"""What all simulated carriers have in common: a REST server, calls, and webhooks."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

from voicecall.clock import SystemClock
from voicecall.errors import CapacityReached
from voicecall.simulator.exchange.faults import Faults
from voicecall.simulator.exchange.http import Dropped, HttpServer, Unanswered
from voicecall.simulator.exchange.line import Line
from voicecall.simulator.exchange.media import connect_media
from voicecall.simulator.exchange.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from types import TracebackType

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.faults import Fault
    from voicecall.simulator.exchange.http import HttpRequest, HttpResponse
    from voicecall.simulator.exchange.party import Party
    from voicecall.simulator.exchange.webhooks import Habits, Sign
    from voicecall.simulator.stream import Closing
    from voicecall.simulator.wire import Wire

MAX_CALLS = 10_000

_MAX_REQUESTS = 10_000
_NOT_ANSWERED = 0

_log = logging.getLogger("voicecall.simulator")

LineT = TypeVar("LineT", bound=Line)
Act: TypeAlias = "Callable[[], Awaitable[HttpResponse]]"


class Exchange(ABC, Generic[LineT]):
    """A simulated carrier; one class for each real one says how it does things.

    Use it as an async context manager, or call `start` and `close`.

    Args:
        party: who is reached by a call.
        sign: how webhooks prove where they come from.
        habits: how patient it is with its customer.
        clock: the time.
        faults: what goes wrong; nothing when None.

    Attributes:
        calls: by the carrier's id, oldest first; of more than 10 000 those that are over are
            forgotten.
        dials: calls that were created over REST.
        faults: what goes wrong.
        webhooks: what is told to the customer.
        requests: method, path and status of REST requests, the latest 10 000; the status is 0 of
            those that were not answered.
        clock: the time.
    """

    def __init__(
        self,
        party: Callable[[LineT], Party],
        *,
        sign: Sign,
        habits: Habits,
        clock: Clock | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.calls: dict[str, LineT] = {}
        self.dials = 0
        self.clock = clock or SystemClock()
        self.faults = faults or Faults()
        self.webhooks = Webhooks(sign, faults=self.faults, habits=habits, clock=self.clock)
        self.requests: deque[tuple[str, str, int]] = deque(maxlen=_MAX_REQUESTS)
        self._party = party
        self._server = HttpServer(self._serve)
        self._living: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def base_url(self) -> str:
        """Where the REST API is, without a slash at the end."""
        return self._server.url

    async def start(self) -> None:
        """Begin to serve. Raises `OSError` when there is no port."""
        await self._server.start()

    async def close(self) -> None:
        """End all calls and free everything; twice is harmless."""
        await self._server.close()
        # A call that has just been taken has to begin before it can be ended in order.
        await asyncio.sleep(0)
        for life in self._living:
            life.cancel()
        await asyncio.gather(*self._living, return_exceptions=True)
        await self.webhooks.close()

    # --- for each carrier to say ---------------------------------------------------------------

    @property
    @abstractmethod
    def account(self) -> dict[str, str]:
        """The carrier's section of a configuration that leads a server here, once started."""

    @abstractmethod
    def own(self, number: str, webhook_url: str) -> None:
        """Show a number as the customer's when somebody asks; calls need it not.

        Args:
            number: E.164.
            webhook_url: where calls to it are shown to be reported.
        """

    @abstractmethod
    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer a REST request."""

    @abstractmethod
    def failure(self, fault: Fault) -> HttpResponse:
        """The error `fault` asks for, in the carrier's own shape."""

    @abstractmethod
    async def call_in(self, from_number: str, to_number: str, webhook_url: str) -> LineT:
        """Let somebody call the customer, whose webhook is asked what to do."""

    # --- for the carriers to use ---------------------------------------------------------------

    def add(self, line: LineT) -> None:
        """Take a new call, and find out who is reached; an outbound one counts as dialled.

        Raises:
            CapacityReached: 10 000 calls are alive.
        """
        if len(self.calls) >= MAX_CALLS:
            self._forget_oldest()
        line.party = self._party(line)
        line.party.join(line)
        self.calls[line.provider_call_id] = line
        if line.direction == "outbound":
            self.dials += 1

    def begin(self, line: LineT, life: Coroutine[Any, Any, None]) -> None:
        """Live the call: when `life` is over, so is the call. What it raises is logged."""
        living = asyncio.create_task(self._live(line, life))
        self._living.add(living)
        living.add_done_callback(self._living.discard)

    async def attempt(self, where: str, act: Act) -> HttpResponse:
        """Do what a REST request asks for, or get it wrong as a fault at `where` says.

        Args:
            where: `dial`, `hang-up`, ...
            act: does it and makes the answer.
        """
        fault = self.faults.take(where)
        if fault is None:
            return await act()
        kind, _, after = fault.kind.partition("-")
        answer = await act() if after or kind == "slow" else None
        match kind:
            case "status":
                return self.failure(fault)
            case "hang":
                raise Unanswered
            case "reset":
                raise Dropped
        await asyncio.sleep(fault.delay_s)
        return answer if answer is not None else await act()

    async def connect_media(
        self, line: LineT, url: str, wire: Wire, *, headers: Mapping[str, str] | None = None
    ) -> Closing:
        """Connect the call's media until the stream is over. See `media.connect_media`."""
        return await connect_media(
            line, url, wire, faults=self.faults, headers=headers, clock=self.clock
        )

    # --- inside --------------------------------------------------------------------------------

    async def _live(self, line: LineT, life: Coroutine[Any, Any, None]) -> None:
        try:
            await life
        except Exception:  # noqa: BLE001  (a task's boundary: the other calls go on)
            _log.exception("the simulated carrier failed in a call")
        finally:
            await line.close()

    async def _serve(self, request: HttpRequest) -> HttpResponse:
        status = _NOT_ANSWERED
        try:
            response = await self.handle(request)
            status = response.status
            return response
        finally:
            self.requests.append((request.method, request.path, status))

    def _forget_oldest(self) -> None:
        for call_id, line in self.calls.items():
            if line.ended.is_set():
                del self.calls[call_id]
                return
        raise CapacityReached("the simulated carrier has no room for another call")
