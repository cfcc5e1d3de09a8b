"""A user's own engines and responder, each in a thread of its own.

The adapters here give them the same shapes as ours. What they raise becomes a `SpeechError` unless
it is one; what a call asks of them while they are busy waits for them in that call only.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from voicecall.errors import DependencyMissing, SpeechError
from voicecall.isolation.guest import Guest
from voicecall.ports import ReplyPart, Responder, SpeechToText, TextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator

    from voicecall.isolation.watch import LoopWatch
    from voicecall.ports import AudioFormat, ReplyRequest, SttEvent, SttStream

_log = logging.getLogger("voicecall.session")

PREPARE_TIMEOUT_S = 120.0
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
BACKLOG_S = 2

T = TypeVar("T")


class BlockingResponder(Protocol):
    """A `Responder` written as an ordinary generator, which may block: replies have threads."""

    def reply(self, request: ReplyRequest) -> Iterator[ReplyPart]:
        """The reply as it forms. Raises `SpeechError`."""
        ...

    async def close(self) -> None:
        """Free the responder."""
        ...


AnyResponder: TypeAlias = Responder | BlockingResponder


@contextlib.contextmanager
def _as_speech_error(message: str) -> Iterator[None]:
    """What somebody else's engine raises, as the errors that `ports` name."""
    try:
        yield
    except (SpeechError, DependencyMissing, TimeoutError):
        raise
    except Exception as error:
        raise SpeechError(message) from error


async def _close(guest: Guest, closing: Coroutine[object, object, None]) -> None:
    """Close an engine and its thread, whatever the engine says to that."""
    try:
        await guest.run(closing, CLOSE_TIMEOUT_S)
    except Exception:  # noqa: BLE001  (somebody else's code; the server stops all the same)
        _log.exception("an engine could not be closed", extra={"guest": guest.name})
    finally:
        await guest.close()


class GuestResponder:
    """Somebody's responder, as `ports.Responder`.

    Args:
        responder: theirs; asynchronous, or blocking in an ordinary generator.
        watch: tells when it blocks its loop.
    """

    def __init__(self, responder: AnyResponder, watch: LoopWatch) -> None:
        self._responder = responder
        self._guest = Guest("responder", watch)

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyPart]:
        """Their reply."""
        with _as_speech_error("the responder failed"):
            parts = self._guest.iterate(lambda: self._responder.reply(request))
            async with aclosing(parts):
                async for part in parts:
                    yield part

    async def close(self) -> None:
        """Close theirs; a responder that hangs is left behind after two seconds each."""
        await _close(self._guest, self._responder.close())


class GuestTextToSpeech:
    """Somebody's voice, as `ports.TextToSpeech`.

    Args:
        engine: theirs; `synthesize` may also return an ordinary iterator, which may block.
        watch: tells when it blocks its loop.
    """

    def __init__(self, engine: TextToSpeech, watch: LoopWatch) -> None:
        self._engine = engine
        self._guest = Guest("tts", watch)
        self.output: AudioFormat = engine.output
        """The audio it makes."""

    async def prepare(self) -> None:
        """Prepare theirs, within two minutes."""
        with _as_speech_error("the voice could not be prepared"):
            await self._guest.run(self._engine.prepare(), PREPARE_TIMEOUT_S)

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Their audio."""
        with _as_speech_error("the voice failed"):
            pieces = self._guest.iterate(lambda: self._engine.synthesize(text))
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece

    async def close(self) -> None:
        """Close theirs; an engine that hangs is left behind after two seconds each."""
        await _close(self._guest, self._engine.close())


class GuestSpeechToText:
    """Somebody's recogniser, as `ports.SpeechToText`.

    Args:
        engine: theirs.
        watch: tells when it blocks its loop.
    """

    def __init__(self, engine: SpeechToText, watch: LoopWatch) -> None:
        self._engine = engine
        self._guest = Guest("stt", watch)
        self.input: AudioFormat = engine.input
        """The audio its streams take."""

    async def prepare(self) -> None:
        """Prepare theirs, within two minutes."""
        with _as_speech_error("the recogniser could not be prepared"):
            await self._guest.run(self._engine.prepare(), PREPARE_TIMEOUT_S)

    async def open(self) -> GuestSttStream:
        """Begin to recognise one call, within ten seconds."""
        with _as_speech_error("the recogniser could not be opened"):
            stream = await self._guest.run(self._engine.open(), OPEN_TIMEOUT_S)
        return GuestSttStream(stream, self._guest, BACKLOG_S * self.input.octets_per_second)

    async def close(self) -> None:
        """Close theirs; an engine that hangs is left behind after two seconds each."""
        await _close(self._guest, self._engine.close())


class GuestSttStream:
    """One call's recognition by somebody's engine.

    Overflow rule: of audio that waits for the engine two seconds are kept; beyond that the oldest
    is dropped and counted.

    Args:
        stream: theirs.
        guest: where it lives.
        backlog_octets: how much audio may wait for it.
    """

    def __init__(self, stream: SttStream, guest: Guest, backlog_octets: int) -> None:
        self._stream = stream
        self._guest = guest
        self._backlog_octets = backlog_octets
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._waiting_octets = 0
        self._taking = False
        self._closed = False
        self.dropped_octets = 0

    def push(self, audio: bytes) -> None:
        """Hand it more audio; never waits for it."""
        if self._closed:
            return
        with self._lock:
            self._waiting.append(audio)
            self._waiting_octets += len(audio)
            while self._waiting_octets > self._backlog_octets:
                oldest = len(self._waiting.popleft())
                self._waiting_octets -= oldest
                self.dropped_octets += oldest
            if self._taking:
                return
            self._taking = True
        self._guest.soon(self._take)

    async def __aiter__(self) -> AsyncGenerator[SttEvent]:
        """Their events."""
        with _as_speech_error("the recogniser failed"):
            events = self._guest.iterate(lambda: aiter(self._stream))
            async with aclosing(events):
                async for event in events:
                    yield event

    async def close(self) -> None:
        """Close theirs, within two seconds."""
        self._closed = True
        with _as_speech_error("the recogniser's stream could not be closed"):
            await self._guest.run(self._stream.close(), CLOSE_TIMEOUT_S)

    def _take(self) -> None:
        """In the guest: hand over everything that waits."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            self._waiting_octets = 0
            self._taking = False
        for audio in waiting:
            try:
                self._stream.push(audio)
            except Exception:  # noqa: BLE001  (a thread's boundary)
                _log.exception("a recogniser does not take audio")
                self._closed = True
                return
