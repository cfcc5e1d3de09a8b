"""A media plane on a real socket of either kind, which has to be left as it was found."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVarTuple

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server as Granian
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from voicecall.carriers.twilio.stream import TwilioDialect
from voicecall.clock import Clock, SystemClock
from voicecall.media.admission import StreamTokens
from voicecall.media.asgi import MediaEndpoint
from voicecall.media.server import MediaServer, MediaSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextvars import Context

    from starlette.types import ASGIApp, Receive, Scope, Send

    from voicecall.carriers._stream import Dialect
    from voicecall.ports import AudioPath, StreamStart

LISTENERS = ("port", "asgi")
LIMIT_S = 10.0

_Ts = TypeVarTuple("_Ts")


class TimedLoop(uvloop.Loop):
    """Knows which timers have neither fired nor been cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self._timers: dict[asyncio.TimerHandle, str] = {}

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        def fire() -> None:
            self._timers.pop(handle, None)
            callback(*args)

        handle = super().call_later(delay, fire, context=context)
        name = getattr(callback, "__qualname__", repr(callback))
        self._timers[handle] = f"{name}{args}"
        return handle

    def waiting(self) -> list[str]:
        """What the timers of the code under test are going to call."""
        return [
            name
            for timer, name in self._timers.items()
            # The limit of the test is one, too.
            if not timer.cancelled() and not name.startswith("Timeout.")
        ]


def run(case: Coroutine[Any, Any, None]) -> None:
    """Run one test case, which has `LIMIT_S` seconds."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await case

    with asyncio.Runner(loop_factory=TimedLoop) as runner:
        runner.run(limited())


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for something that no event announces."""
    async with asyncio.timeout(within_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)


class Call:
    """A call's conversation: remembers what its audio path tells it."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.gone = asyncio.Event()
        self.opened_times = 0
        self.lost: list[str] = []
        self.digits: list[str] = []
        self.heard = bytearray()
        self._path: AudioPath | None = None

    @property
    def path(self) -> AudioPath:
        assert self._path is not None
        return self._path

    def on_path_open(self, path: AudioPath) -> None:
        self._path = path
        self.opened_times += 1
        path.listen(self.heard.extend)
        self.opened.set()

    def on_path_dtmf(self, digit: str) -> None:
        self.digits.append(digit)

    def on_path_lost(self, reason: str) -> None:
        self.lost.append(reason)
        self.gone.set()


class Gate:
    """Knows the live calls by our id and the carrier's."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[str, Call]] = {}

    def admit(self, call_id: str, start: StreamStart) -> Call | None:
        provider_call_id, call = self.calls.get(call_id, ("", None))
        return call if start.provider_call_id == provider_call_id else None


class Plane:
    """One media plane, its calls, and where to reach it."""

    def __init__(
        self,
        clock: Clock,
        dialect: Dialect | None = None,
        verify_upgrade: Callable[[str, str], None] | None = None,
        **settings: Any,
    ) -> None:
        self.tokens = StreamTokens(clock, 30_000)
        self.gate = Gate()
        self.server = MediaServer(
            MediaSettings(**settings),
            dialect=dialect or TwilioDialect(),
            verify_upgrade=verify_upgrade,
            door=self.tokens,
            gate=self.gate,
            clock=clock,
        )
        self.base = ""

    @property
    def url(self) -> str:
        """The stream path without a token."""
        return f"{self.base}/voice/stream"

    def call(self, call_id: str = "call-1", provider_call_id: str = "CA1") -> tuple[Call, str]:
        """A live call, and the URL its carrier is told."""
        call = Call()
        self.gate.calls[call_id] = (provider_call_id, call)
        return call, self.tokens.issue(call_id)

    def assert_unused(self) -> None:
        """Nobody is counted, nothing is served and nothing is going to happen."""
        server = self.server
        assert server.admission.open == 0
        assert server.admission.pending == 0
        assert not server.admission._pending_by_address
        assert not list(server.legs())
        assert not server._paths
        assert len(server.ticker) == 0


@asynccontextmanager
async def plane(listener: str, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Plane]:
    """Serve a plane on a free port of loopback, and see that nothing of it is left behind."""
    clock = clock or SystemClock()
    tested = Plane(clock, **settings)
    before = asyncio.all_tasks()
    try:
        if listener == "port":
            port = await tested.server.listen("127.0.0.1", 0)
            tested.base = tested.tokens.base_url = f"ws://127.0.0.1:{port}"
            tested.tokens.base_url += "/voice/stream"
            yield tested
            await tested.server.close()
        else:
            async with _granian(MediaEndpoint(tested.server, clock)) as port:
                tested.base = tested.tokens.base_url = f"ws://127.0.0.1:{port}"
                tested.tokens.base_url += "/voice/stream"
                yield tested
                await tested.server.close()
    finally:
        await tested.server.close()
    tested.assert_unused()
    await until(lambda: asyncio.all_tasks() <= before)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimedLoop)
    assert loop.waiting() == []


@asynccontextmanager
async def _granian(endpoint: ASGIApp) -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = Granian(
        _websockets_only(endpoint),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: _answers(port))
        yield port
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # granian types it only in part
        await serving


def _websockets_only(endpoint: ASGIApp) -> ASGIApp:
    """What a router does to requests that are no upgrades."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await endpoint(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    return app


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def dial(url: str, **options: Any) -> connect:
    """A carrier's WebSocket; an async context manager of its connection."""
    return connect(url, proxy=None, compression=None, ping_interval=None, **options)


async def refused_with(url: str, **options: Any) -> int:
    """The HTTP status that an upgrade is refused with; 101 when it is not."""
    try:
        async with dial(url, **options):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def closing(connection: ClientConnection) -> tuple[int | None, str | None]:
    """The close code and reason that end a connection, whatever comes before."""
    with suppress(ConnectionClosed):
        async for _ in connection:
            pass
    return connection.close_code, connection.close_reason
