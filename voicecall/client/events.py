"""Changes as they happen, over connections that may break."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Self, cast

import httpx
import orjson

from voicecall.clock import SystemClock
from voicecall.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

    from voicecall.client.connection import Connection
    from voicecall.client.results import Change
    from voicecall.clock import Clock

SILENCE_S: Final = 45.0
"""The longest silence of a server that is there: three times what it promises."""
RECONNECT_S: Final = 60.0
"""How long a lost server is looked for."""

_FIRST_DELAY_S: Final = 0.1
_MAX_DELAY_S: Final = 5.0
_DATA: Final = b"data:"
_MAX_LINE_OCTETS: Final = 2**22
"""More than any change takes: a long utterance with its measurements is a few thousand."""

logger = logging.getLogger("voicecall.client")


class Events:
    """Changes from the moment of `connect`, in order; an asynchronous iterator.

    When the connection is lost it is made again, and a change of type `gap` takes the place of
    those that may be missing; so it does where the server had to drop some, because this side did
    not keep up. Waiting for the next change can be cancelled, and nothing is lost by that.
    Iteration ends when this or its client is closed. ::

        async with client.events() as events:
            call_id = await client.initiate("Hello!", to="+15550001234")
            async for change in events:
                ...

    Args:
        connection: to the server.
        call_id: whose changes alone are wanted, ours or the carrier's; None for all.
        timeout_s: within which the server has to answer.
        on_close: told once, when it is closed.
        clock: dates the gaps.
        silence_s: after which a server that says nothing is given up.
        reconnect_s: how long a lost server is looked for.
    """

    def __init__(
        self,
        connection: Connection,
        call_id: str | None = None,
        *,
        timeout_s: float = 30.0,
        on_close: Callable[[Events], None] = lambda _: None,
        clock: Clock | None = None,
        silence_s: float = SILENCE_S,
        reconnect_s: float = RECONNECT_S,
    ) -> None:
        self._connection = connection
        self._call_id = call_id
        self._timeout_s = timeout_s
        self._on_close = on_close
        self._clock = clock or SystemClock()
        self._silence_s = silence_s
        self._reconnect_s = reconnect_s
        self._response: httpx.Response | None = None
        self._lines: AsyncGenerator[bytes, None] | None = None
        self._next: asyncio.Task[Change] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def connect(self) -> None:
        """Begin; from now on no change is missed. Iteration does it by itself.

        Raises:
            ConfigError: the server does not know the token.
            RemoteError: none is there, or it takes no more listeners.
        """
        if self._response is None and not self._closed:
            await self._open()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """The next change.

        Raises:
            ConfigError: as `connect` does.
            RemoteError: likewise; or the server was lost and did not come back.
        """
        if self._closed:
            raise StopAsyncIteration
        if self._next is None:
            self._next = asyncio.create_task(self._read(), name="client events")
        task = self._next
        # The task stays when whoever waits for it is cancelled: a read that is broken off in the
        # middle would take the connection with it.
        await asyncio.wait({task})
        if task.cancelled():
            raise StopAsyncIteration
        self._next = None
        return task.result()

    async def aclose(self) -> None:
        """Stop listening; may be called again."""
        if self._closed:
            return
        self._closed = True
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._drop()
        self._on_close(self)

    async def _read(self) -> Change:
        await self.connect()
        change = await self._received()
        if change is not None:
            return change
        await self._reconnect()
        return {"type": "gap", "timestamp": self._clock.wall_ms(), "dropped": None}

    async def _received(self) -> Change | None:
        """The next change of this connection; None once it is lost."""
        if self._lines is None:
            return None
        try:
            while True:
                async with asyncio.timeout(self._silence_s):
                    line = await anext(self._lines, None)
                if line is None:
                    return None
                # Each of ours is one line; what else there is, is its name, or a sign of life.
                if line.startswith(_DATA):
                    return _change(line.removeprefix(_DATA))
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            logger.info("event stream lost", extra={"reason": type(error).__name__})
            return None

    async def _reconnect(self) -> None:
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + self._reconnect_s
        delay_s = _FIRST_DELAY_S
        while True:
            await self._drop()
            try:
                return await self._open()
            except RemoteError:
                if loop.time() + delay_s > give_up_s:
                    raise
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _MAX_DELAY_S)

    async def _open(self) -> None:
        self._response = await self._connection.events(self._call_id, self._timeout_s)
        self._lines = _lines(self._response)

    async def _drop(self) -> None:
        lines, self._lines = self._lines, None
        response, self._response = self._response, None
        if lines is not None:
            await lines.aclose()
        if response is not None:
            await response.aclose()


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The lines of a stream as they become whole. Raises ValueError: one is endless.

    Only a line feed ends a line of ours. What else breaks lines for people, and for httpx, such as
    U+2028, may be in the middle of what a model says.
    """
    pending = b""
    # It is a generator, and has to be closed; httpx tells less.
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_bytes())) as pieces:
        async for piece in pieces:
            *whole, pending = (pending + piece).split(b"\n")
            for line in whole:
                yield line
            if len(pending) > _MAX_LINE_OCTETS:
                raise ValueError("this line has no end")


def _change(data: bytes) -> Change:
    """What one event says. Raises ValueError: it is none of ours."""
    decoded: Any = orjson.loads(data)
    if isinstance(decoded, dict) and isinstance(decoded.get("type"), str):
        return cast("Change", decoded)
    raise ValueError("this is no change")
