"""Ways for one call's parts to misbehave: they block, or they flood."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from voicecall.clock import SystemClock
from voicecall.ports import PartialTranscript
from voicecall.speech.stt.scripted import ScriptedSpeechToText, ScriptedSttStream
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping

    from voicecall.ports import ReplyPart, ReplyRequest, SttEvent

Trigger = Literal["key", "say", "listen", "loop", "flood"]
BLOCK_S = 2.0
MEGABYTES = 1_000_000
MISBEHAVE = "Misbehave."


def sleep() -> None:
    time.sleep(BLOCK_S)


def compute() -> None:
    until = time.monotonic() + BLOCK_S
    while time.monotonic() < until:
        pass


def one_instruction() -> None:
    """A tenth of a second in which no other thread gets the interpreter."""
    count = 2_000_000
    while True:
        began = time.monotonic()
        sum(range(count))
        if (took_s := time.monotonic() - began) >= 0.09:
            return
        count = int(count * min(4, 0.1 / took_s))


async def for_ever() -> None:
    await asyncio.Event().wait()


Deed: TypeAlias = "Callable[[], Awaitable[None] | None]"


async def do(deed: Deed) -> None:
    if (waiting := deed()) is not None:
        await waiting


class Responder:
    """Says a word; asked by key, it does its deed first."""

    def __init__(self, deed: Deed) -> None:
        self._deed = deed

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyPart]:
        del request
        await do(self._deed)
        yield "Done."

    async def close(self) -> None:
        """Nothing is held."""


class BlockingResponder(Responder):
    """The same, written as an ordinary generator."""

    def reply(self, request: ReplyRequest) -> Iterator[ReplyPart]:  # type: ignore[override]  # blocks
        del request
        self._deed()
        yield "Done."


class FloodingResponder(Responder):
    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyPart]:
        del request
        yield "word " * (MEGABYTES // 5)
        while True:
            yield "More and more. "


class Voice(ScriptedTextToSpeech):
    """Does its deed instead of saying the word."""

    def __init__(self, deed: Deed) -> None:
        super().__init__()
        self._deed = deed

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        if text == MISBEHAVE:
            await do(self._deed)
        async for piece in super().synthesize(text):
            yield piece


class FloodingVoice(ScriptedTextToSpeech):
    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        if text == MISBEHAVE:
            yield bytes(30 * MEGABYTES)
            while True:
                yield bytes(480)
        async for piece in super().synthesize(text):
            yield piece


class Ears(ScriptedSpeechToText):
    """The second call's ears do their deed with every piece of audio."""

    def __init__(self, deed: Deed, *, on_open: bool = False) -> None:
        super().__init__([], clock=SystemClock())
        self._deed = deed
        self._on_open = on_open
        self._opened = 0

    async def open(self) -> ScriptedSttStream:
        self._opened += 1
        stream = await super().open()
        if self._opened < 2:
            return stream
        if self._on_open:
            await do(self._deed)
        return BlockingEars(stream, self._deed)


class BlockingEars(ScriptedSttStream):
    def __init__(self, stream: ScriptedSttStream, deed: Deed) -> None:
        self.__dict__.update(stream.__dict__)
        self._deed = deed

    def push(self, audio: bytes) -> None:
        del audio
        self._deed()


class FloodingEars(ScriptedSpeechToText):
    def __init__(self) -> None:
        super().__init__([], clock=SystemClock())
        self._opened = 0

    async def open(self) -> ScriptedSttStream:
        self._opened += 1
        stream = await super().open()
        return FloodingStream(stream, sleep) if self._opened > 1 else stream


class FloodingStream(BlockingEars):
    async def _flood(self) -> AsyncGenerator[SttEvent]:
        while True:
            yield PartialTranscript("never an end")

    def __aiter__(self) -> AsyncGenerator[SttEvent]:
        return self._flood()

    def push(self, audio: bytes) -> None:
        """Hears nothing."""


def observer(deed: Callable[[], None]) -> Callable[[Mapping[str, Any]], None]:
    """Does its deed with the first change after a key."""

    def observe(change: Mapping[str, Any]) -> None:
        if change.get("type") == "call.dtmf":
            deed()

    return observe


@dataclass(frozen=True, slots=True)
class Misdeed:
    """One way to misbehave.

    Attributes:
        name: for people.
        trigger: what sets it off: a key of the second caller, something said to them, their ears
            opening, a function on the server's own loop, or the second caller's socket.
        engines: arguments of `Server`, made anew for each run.
        observe: an observer.
        blocks_s: on the server's own loop, how long.
    """

    name: str
    trigger: Trigger
    engines: Callable[[], dict[str, Any]] = dict
    observe: Callable[[Mapping[str, Any]], None] | None = None
    blocks_s: float = 0.0

    def on_loop(self) -> None:
        """Block the event loop that calls this."""
        time.sleep(self.blocks_s)


MISDEEDS = (
    Misdeed("nothing", "key"),
    Misdeed("responder sleeps 2 s in async code", "key", lambda: {"responder": Responder(sleep)}),
    Misdeed(
        "responder sleeps 2 s in a generator",
        "key",
        lambda: {"responder": BlockingResponder(sleep)},
    ),
    Misdeed("responder computes 2 s", "key", lambda: {"responder": Responder(compute)}),
    Misdeed(
        "responder holds the interpreter 0.1 s",
        "key",
        lambda: {"responder": Responder(one_instruction)},
    ),
    Misdeed("responder never answers", "key", lambda: {"responder": Responder(for_ever)}),
    Misdeed(
        "responder gives a megabyte, then no end",
        "key",
        lambda: {"responder": FloodingResponder(sleep)},
    ),
    Misdeed("voice sleeps 2 s", "say", lambda: {"tts": Voice(sleep)}),
    Misdeed("voice computes 2 s", "say", lambda: {"tts": Voice(compute)}),
    Misdeed("voice gives 30 MB at once, then no end", "say", lambda: {"tts": FloodingVoice()}),
    Misdeed("ears sleep 2 s with every piece", "listen", lambda: {"stt": Ears(sleep)}),
    Misdeed("ears never open", "listen", lambda: {"stt": Ears(for_ever, on_open=True)}),
    Misdeed("ears give events without end", "listen", lambda: {"stt": FloodingEars()}),
    Misdeed("observer sleeps 2 s", "key", observe=observer(sleep)),
    Misdeed("observer computes 2 s", "key", observe=observer(compute)),
    Misdeed("caller floods marks and audio 2 s", "flood"),
    Misdeed("server's own loop blocked 100 ms", "loop", blocks_s=0.1),
    Misdeed("server's own loop blocked 500 ms", "loop", blocks_s=0.5),
)
