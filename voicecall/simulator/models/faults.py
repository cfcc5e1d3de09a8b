"""What a simulated service does wrong, on request.

A test plans faults by service; each request, or connection, takes the plan that is next in line:

    server.faults.add("responses", Stall(after_chunks=1))
    server.faults.add("transcription", Close(code=1011, after="input_audio_buffer.speech_started"))
    server.faults.add("speech", Refuse(429, retry_after_s=1), times=None)

A service asks `Faults.begin` once for each request or connection, answers with its own kind of
error when that has a `refusal`, and awaits `Mishaps.happen` before its first chunk and after each;
a chunk is whatever it sends at once: one event, one piece of audio. A service that streams an HTTP
response has all that done by `Mishaps.spoil`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

_INTERNAL_ERROR = 1011  # RFC 6455, section 7.4.1

MALFORMED = '{"type": "response.'
"""What is sent where JSON is expected: it breaks off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """A fault that happens at one moment of an answer.

    Attributes:
        after_chunks: once so many chunks were sent; 0 before the first.
        after: once a chunk of this name was sent, which for events is their type, instead.
    """

    after_chunks: int = 0
    after: str | None = None

    def due(self, sent: int, name: str | None) -> bool:
        """Whether it happens now.

        Args:
            sent: how many chunks were sent.
            name: of the last of them.
        """
        return sent == self.after_chunks if self.after is None else name == self.after


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request is answered by an error, or the handshake of a socket is.

    Attributes:
        status: of HTTP.
        code: the vendor's name of the error; None for its usual one.
        message: for people.
        retry_after_s: sent as a header.
    """

    status: int
    code: str | None = None
    message: str = "Refused, as planned."
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Stall(_Timed):
    """Nothing more comes.

    Attributes:
        for_ms: then it goes on; None for never.
    """

    for_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Close(_Timed):
    """The connection ends: a socket with a close frame, a response in the middle of its body.

    Attributes:
        code: of a socket's close frame.
        reason: likewise.
    """

    code: int = _INTERNAL_ERROR
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Malformed(_Timed):
    """Something that cannot be understood comes in between.

    Attributes:
        text: sent as if it were one event.
    """

    text: str = MALFORMED


@dataclass(frozen=True, slots=True)
class Fail(_Timed):
    """The service reports in its own terms that this answer failed, as by `response.failed`.

    Attributes:
        code: the vendor's name of the error.
        message: for people.
    """

    code: str = "server_error"
    message: str = "Failed, as planned."


@dataclass(frozen=True, slots=True)
class Slow:
    """Every chunk takes this much longer.

    Attributes:
        delay_ms: for each.
    """

    delay_ms: float


Fault = Refuse | Stall | Close | Malformed | Fail | Slow


class Dropped(Exception):
    """The service is to end the connection at once.

    Attributes:
        code: for a socket's close frame.
        reason: likewise.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Failed(Exception):
    """The service is to report that the answer failed.

    Attributes:
        fault: what to report.
    """

    def __init__(self, fault: Fail) -> None:
        super().__init__(fault.code, fault.message)
        self.fault = fault


T = TypeVar("T")


class Mishaps:
    """What goes wrong with one request or connection.

    Args:
        faults: all of it; none is the usual case.
    """

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self._faults = faults
        self._sent = 0

    @property
    def refusal(self) -> Refuse | None:
        """The error to answer with instead of anything else."""
        return next((fault for fault in self._faults if isinstance(fault, Refuse)), None)

    async def happen(self, sent: str | None = None) -> tuple[str, ...]:
        """Let happen what is due: to be called before the first chunk and after each.

        Args:
            sent: the name of the chunk that was just sent, empty for a nameless one; None before
                the first.

        Returns:
            What is to be sent now, malformed as it is.

        Raises:
            Dropped: end the connection.
            Failed: report a failure and end the answer.
        """
        if not self._faults:
            return ()
        if sent is not None:
            self._sent += 1
        return tuple([text for fault in self._faults for text in await self._do(fault, sent)])

    async def spoil(
        self, chunks: AsyncGenerator[T], malformed: Callable[[str], T], name: Callable[[T], str]
    ) -> AsyncGenerator[T]:
        """An answer's chunks, and what goes wrong with them.

        Args:
            chunks: as they should be; it gets `Failed` raised in it and may say so in its own way.
            malformed: makes a chunk of malformed text.
            name: of a chunk.

        Raises:
            Dropped: end the connection.
            Failed: it was not handled by `chunks`.
        """
        async with aclosing(chunks):
            try:
                for text in await self.happen():
                    yield malformed(text)
                async for chunk in chunks:
                    yield chunk
                    for text in await self.happen(name(chunk)):
                        yield malformed(text)
            except Failed as failure:
                yield await chunks.athrow(failure)
                async for chunk in chunks:
                    yield chunk

    async def _do(self, fault: Fault, sent: str | None) -> tuple[str, ...]:
        if isinstance(fault, Refuse):
            return ()
        if isinstance(fault, Slow):
            await asyncio.sleep(fault.delay_ms / 1000)
            return ()
        if not fault.due(self._sent, sent):
            return ()
        match fault:
            case Stall(for_ms=None):
                # Until the client gives up, which cancels this.
                await asyncio.get_running_loop().create_future()
            case Stall(for_ms=float() | int() as for_ms):
                await asyncio.sleep(for_ms / 1000)
            case Close(code=code, reason=reason):
                raise Dropped(code, reason)
            case Malformed(text=text):
                return (text,)
            case Fail():
                raise Failed(fault)
        return ()


@dataclass(slots=True)
class _Plan:
    faults: tuple[Fault, ...]
    times: int | None


@dataclass(slots=True)
class Faults:
    """What the services of a server will do wrong.

    Bounded by what a test adds.
    """

    _plans: dict[str, deque[_Plan]] = field(default_factory=dict)

    def add(self, service: str, *faults: Fault, times: int | None = 1) -> None:
        """Plan what goes wrong with the next requests of a service, after what is planned already.

        Args:
            service: its name, such as `responses`, `chat`, `speech`, `transcription`, `realtime`.
            faults: all of them happen to the same request; none for one that goes well.
            times: to how many requests; None for all from then on.
        """
        self._plans.setdefault(service, deque()).append(_Plan(faults, times))

    def clear(self, service: str | None = None) -> None:
        """Forget the plans of a service, or of all; requests in progress keep theirs."""
        if service is None:
            self._plans.clear()
        else:
            self._plans.pop(service, None)

    def planned(self, service: str) -> bool:
        """Whether something was planned for a service that no request has come for yet."""
        return bool(self._plans.get(service))

    def begin(self, service: str) -> Mishaps:
        """What goes wrong with a request of `service` that begins now."""
        plans = self._plans.get(service)
        if not plans:
            return Mishaps()
        plan = plans[0]
        if plan.times is not None:
            plan.times -= 1
            if plan.times <= 0:
                plans.popleft()
        return Mishaps(plan.faults)
