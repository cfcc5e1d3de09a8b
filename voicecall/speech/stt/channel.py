"""One connection to a recogniser elsewhere: a socket, and what is spoken over it.

A vendor gives two things: a `Socket`, which moves messages and fails in our terms, and a `Dialect`,
which knows what they mean and does no I/O. A `SocketChannel` joins them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import orjson

from voicecall.clock import NS_PER_S
from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from voicecall.clock import Clock
    from voicecall.ports import SttEvent
    from voicecall.speech.stt.sending import Piece

_log = logging.getLogger("voicecall.speech")

_FAREWELL_TIMEOUT_S = 0.5

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
M_co = TypeVar("M_co", covariant=True)


class Channel(Protocol):
    """An open and configured connection to a recogniser."""

    async def send(self, piece: Piece) -> None:
        """Send audio. Raises `SpeechError` when the connection is broken."""
        ...

    async def rest(self) -> None:
        """Nothing has been sent for a while: keep the connection alive. Raises `SpeechError`."""
        ...

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        """What it recognises; every turn ends with a `FinalTranscript`, which may be empty.

        Raises `SpeechError` when the connection is over; `retryable` says whether another one may
        do. Cancelling it loses nothing.
        """
        ...

    async def close(self) -> None:
        """Close it, within about two seconds; never fails."""
        ...


class Socket(Protocol[M_contra]):
    """Moves messages of type `M`. Every method raises `SpeechError` when it is broken."""

    async def send(self, message: M_contra, /) -> None:
        """Send one message."""
        ...

    async def receive(self) -> bytes:
        """The next message; cancelling this loses none."""
        ...

    async def close(self) -> None:
        """Close it, within about a second; never fails."""
        ...


class Dialect(Protocol[M_co]):
    """One vendor's protocol over one connection, without I/O."""

    @property
    def deadline_ns(self) -> int | None:
        """When `tick` is to be called if nothing comes before; None for never."""
        ...

    def audio(self, piece: Piece) -> Sequence[M_co]:
        """The messages that carry audio."""
        ...

    def rest(self) -> M_co | None:
        """The message that keeps a silent connection alive; None where it needs none."""
        ...

    def farewell(self) -> M_co | None:
        """The message that ends the session, where the vendor wants one."""
        ...

    def receive(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        """What a message means.

        Raises:
            SpeechError: the vendor ends the session.
            KeyError, TypeError, ValueError, AttributeError, IndexError: it makes no sense.
        """
        ...

    def tick(self, now_ns: int) -> Sequence[SttEvent]:
        """What the passing of time means."""
        ...


class SocketChannel(Generic[M]):
    """A socket and a dialect; implements `Channel`.

    Args:
        socket: open, and the session configured.
        dialect: what is spoken over it.
        clock: the time.
    """

    def __init__(self, socket: Socket[M], dialect: Dialect[M], clock: Clock) -> None:
        self._socket = socket
        self._dialect = dialect
        self._clock = clock
        self._events: deque[SttEvent] = deque()

    async def send(self, piece: Piece) -> None:
        """Send audio."""
        for message in self._dialect.audio(piece):
            await self._socket.send(message)

    async def rest(self) -> None:
        """Keep the connection alive."""
        if (message := self._dialect.rest()) is not None:
            await self._socket.send(message)

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        return self

    async def __anext__(self) -> SttEvent:
        while not self._events:
            try:
                async with asyncio.timeout(self._patience_s()):
                    message = await self._socket.receive()
            except TimeoutError:
                self._events.extend(self._dialect.tick(self._clock.now_ns()))
            else:
                self._events.extend(self._meaning(message))
        return self._events.popleft()

    async def close(self) -> None:
        """Say goodbye and close the socket."""
        if (message := self._dialect.farewell()) is not None:
            try:
                async with asyncio.timeout(_FAREWELL_TIMEOUT_S):
                    await self._socket.send(message)
            except (SpeechError, TimeoutError):
                _log.debug("a recogniser could not be told that the session is over")
        await self._socket.close()

    def _patience_s(self) -> float | None:
        deadline_ns = self._dialect.deadline_ns
        if deadline_ns is None:
            return None
        return max(0, deadline_ns - self._clock.now_ns()) / NS_PER_S

    def _meaning(self, message: bytes) -> Sequence[SttEvent]:
        try:
            return self._dialect.receive(orjson.loads(message), self._clock.now_ns())
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            # The error's text may hold what was said.
            _log.warning(
                "a recogniser sent an unusable event", extra={"kind": type(error).__name__}
            )
            return ()
