"""The client for programs without an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from voicecall.client.client import CALL_TIMEOUT_S, DEFAULT_URL, TIMEOUT_S, Client

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine, Mapping
    from pathlib import Path
    from types import TracebackType

    from voicecall.client.events import Events
    from voicecall.client.results import AskResult, Change, Changes, Latency, Mode, Record
    from voicecall.config.load import LoadedConfig

__all__ = ["SyncClient", "SyncEvents"]

T = TypeVar("T")


class SyncClient:
    """The calls of a running server, for programs without an event loop.

    ::

        with SyncClient(token=token) as client:
            call_id = client.initiate("Hello!", to="+15550001234", mode="conversation")
            answer = client.ask(call_id, "How are you?")

    Methods do what those of `Client` do, and return when it is done. Any thread may use them, and
    several at once. The work is done in an event loop in a thread of its own.

    Args:
        url, token, timeout_s, call_timeout_s, verify: as of `Client`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
        call_timeout_s: float = CALL_TIMEOUT_S,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._client = Client(
            url, token, timeout_s=timeout_s, call_timeout_s=call_timeout_s, verify=verify
        )
        self._loop = _LoopThread()

    @classmethod
    def from_config(
        cls,
        path: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Self:
        """As `Client.from_config`."""
        return cls._around(Client.from_config(path, environ, timeout_s=timeout_s))

    @classmethod
    def from_loaded(cls, loaded: LoadedConfig, *, timeout_s: float = TIMEOUT_S) -> Self:
        """As `Client.from_loaded`."""
        return cls._around(Client.from_loaded(loaded, timeout_s=timeout_s))

    @classmethod
    def _around(cls, client: Client) -> Self:
        made = cls()
        made._client = client
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._client.url

    def close(self) -> None:
        """As `Client.aclose`; the client cannot be used any more."""
        self._loop.close(self._client.aclose())

    def initiate(
        self,
        message: str,
        to: str | None = None,
        mode: Mode | None = None,
        dtmf_sequence: str | None = None,
    ) -> str:
        """As `Client.initiate`. Interrupted, it may have placed the call all the same."""
        return self._loop.run(self._client.initiate(message, to, mode, dtmf_sequence))

    def transfer(self, call_id: str, to: str) -> None:
        """As `Client.transfer`."""
        self._loop.run(self._client.transfer(call_id, to))

    def end(self, call_id: str) -> None:
        """As `Client.end`."""
        self._loop.run(self._client.end(call_id))

    def speak(self, call_id: str, message: str) -> None:
        """As `Client.speak`."""
        self._loop.run(self._client.speak(call_id, message))

    def ask(self, call_id: str, message: str) -> str:
        """As `Client.ask`."""
        return self._loop.run(self._client.ask(call_id, message))

    def start_ask(self, call_id: str, message: str) -> str:
        """As `Client.start_ask`."""
        return self._loop.run(self._client.start_ask(call_id, message))

    def ask_result(self, operation_id: str) -> AskResult:
        """As `Client.ask_result`."""
        return self._loop.run(self._client.ask_result(operation_id))

    def send_dtmf(self, call_id: str, digits: str) -> None:
        """As `Client.send_dtmf`."""
        self._loop.run(self._client.send_dtmf(call_id, digits))

    def status(self, call_id: str) -> Record | None:
        """As `Client.status`."""
        return self._loop.run(self._client.status(call_id))

    def calls(self) -> list[Record]:
        """As `Client.calls`."""
        return self._loop.run(self._client.calls())

    def history(self, last: int = 20, since: int | None = None) -> list[Record]:
        """As `Client.history`."""
        return self._loop.run(self._client.history(last, since))

    def changes(self, since: int = 0, limit: int = 100) -> Changes:
        """As `Client.changes`."""
        return self._loop.run(self._client.changes(since, limit))

    def latency(self, last: int = 200) -> Latency:
        """As `Client.latency`."""
        return self._loop.run(self._client.latency(last))

    def events(self, call_id: str | None = None) -> SyncEvents:
        """As `Client.events`, but an ordinary iterator and context manager."""
        return SyncEvents(self._loop, self._loop.run(self._begin(call_id)))

    def request(self, method: str, /, **params: object) -> dict[str, Any]:
        """As `Client.request`."""
        return self._loop.run(self._client.request(method, **params))

    async def _begin(self, call_id: str | None) -> Events:
        # In the loop, which is the only place where the client may be touched.
        return self._client.events(call_id)


class SyncEvents:
    """Changes as `Events` has them, one after the other.

    Args:
        loop: where they arrive.
        events: that arrive there.
    """

    def __init__(self, loop: _LoopThread, events: Events) -> None:
        self._loop = loop
        self._events = events

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        """The next change; waits for it. Raises as `Events` does."""
        change = self._loop.run(self._after())
        if change is None:
            raise StopIteration
        return change

    def connect(self) -> None:
        """As `Events.connect`."""
        self._loop.run(self._events.connect())

    def close(self) -> None:
        """As `Events.aclose`."""
        self._loop.run(self._events.aclose())

    async def _after(self) -> Change | None:
        # A future cannot hold a StopAsyncIteration.
        return await anext(self._events, None)


class _LoopThread:
    """An event loop in a thread of its own, begun when it is first needed."""

    def __init__(self) -> None:
        self._beginning = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, or raises. If waiting is interrupted, it is cancelled.

        Raises:
            RuntimeError: the loop is closed.
        """
        try:
            loop = self._running()
        except RuntimeError:
            work.close()
            raise
        doing = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return doing.result()
        except BaseException:
            # Of no effect if it was the work that raised.
            doing.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Do one last thing and end the thread; if it never began, there is nothing to do."""
        with self._beginning:
            first, self._closed = not self._closed, True
            loop, thread = self._loop, self._thread
        if not first or loop is None or thread is None:
            last.close()
            return
        try:
            asyncio.run_coroutine_threadsafe(last, loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._beginning:
            if self._closed:
                raise RuntimeError("the client is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A program that does not close its client must be able to end all the same.
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="voicecall client", daemon=True
                )
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then have everything in it end."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
