"""Speech to speech out of parts: a recogniser, a responder and a voice behind one interface.

What the caller says becomes a reply, sentence by sentence, as soon as they have finished; what they
begin to say while it is being made stops it. Nothing but the engines is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import uuid4

import orjson

from voicecall.call.record import Speaker
from voicecall.dialog.history import SpokenText, heard_text
from voicecall.dialog.sentences import SentenceSplitter, plain, speakable
from voicecall.errors import SpeechError, VoicecallError
from voicecall.ports import (
    ULAW_8K,
    FinalTranscript,
    HangUp,
    PressKeys,
    ReplyAudio,
    ReplyDone,
    ReplyRequest,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolUse,
    Transfer,
    Turn,
)
from voicecall.speech.realtime.events import EventQueue
from voicecall.speech.realtime.memory import Memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from voicecall.ports import (
        AudioFormat,
        Briefing,
        Responder,
        SpeechToSpeechEvent,
        SpeechToSpeechStream,
        SpeechToText,
        SttEvent,
        SttStream,
        TextToSpeech,
    )

_log = logging.getLogger("voicecall.speech")

_STEP_MS = 200
_MAX_WISHES = 32
_MAX_REPLIES = 32
_CLOSE_TIMEOUT_S = 5.0
# Speech that is not complete yet is taken to last as long as its text would be spoken.
_MS_PER_CHARACTER = 60
# How a conversation tells us of keys; a responder has a place of its own for them.
_PRESSED = re.compile(r"\bpressed ([0-9A-D*#]+)")


class Conversion(Protocol):
    """Converts a stream of audio from one format to another; see `voicecall.audio`."""

    def convert(self, audio: bytes, last: bool = False) -> bytes:
        """The next piece, converted; `last` says that no more follows."""
        ...


class MakeConversion(Protocol):
    """Makes a `Conversion`."""

    def __call__(self, source: AudioFormat, target: AudioFormat, /) -> Conversion:
        """A conversion with a state of its own."""
        ...


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """How long what may take, in milliseconds.

    Attributes:
        min_speech_ms: how long the caller speaks before a reply in the making is given up.
        response_ms: until the responder's next piece of text.
        synthesis_ms: until the voice's next piece of audio.
    """

    min_speech_ms: int = 200
    response_ms: int = 30_000
    synthesis_ms: int = 10_000


class LocalSpeechToSpeech:
    """The engine, shared by all calls; implements `ports.SpeechToSpeech`.

    Args:
        stt: hears, and tells when the caller has finished.
        responder: decides what to say. Asked with an id of our own making, since a conversation
            does not know the call it belongs to.
        tts: speaks.
        convert: makes conversions between audio formats.
        destinations: where calls may be handed on to, by name, which is what the tool takes.
        times: how long what may take.
    """

    def __init__(
        self,
        stt: SpeechToText,
        responder: Responder,
        tts: TextToSpeech,
        *,
        convert: MakeConversion,
        destinations: Mapping[str, str] | None = None,
        times: LocalTimes | None = None,
    ) -> None:
        self._stt = stt
        self._responder = responder
        self._tts = tts
        self._convert = convert
        self._names = {to: name for name, to in (destinations or {}).items()}
        self._times = times or LocalTimes()

    @property
    def audio(self) -> AudioFormat:
        """Mu-law at 8 kHz."""
        return ULAW_8K

    @property
    def takes_turns(self) -> bool:
        """True."""
        return True

    async def prepare(self) -> None:
        """Load the models.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: a model cannot be loaded.
        """
        await self._stt.prepare()
        await self._tts.prepare()

    async def open(self, briefing: Briefing) -> SpeechToSpeechStream:
        """Begin a conversation. Raises `SpeechError`."""
        listening = await self._stt.open()
        ears = _Ears(listening, self._convert(ULAW_8K, self._stt.input))
        mouth = _Mouth(self._tts, self._convert, self._times.synthesis_ms)
        parts = _Parts(ears, self._responder, mouth, self._names, self._times)
        return LocalConversation(parts, briefing)

    async def close(self) -> None:
        """Nothing: the parts belong to whoever brought them."""


@dataclass(slots=True)
class _Ears:
    """One call's recognition, fed with the line's audio."""

    stream: SttStream
    conversion: Conversion

    def push(self, audio: bytes) -> None:
        if converted := self.conversion.convert(audio):
            self.stream.push(converted)


@dataclass(frozen=True, slots=True)
class _Mouth:
    """The voice, in the line's format."""

    engine: TextToSpeech
    convert: MakeConversion
    synthesis_ms: int

    async def speak(self, text: str) -> AsyncGenerator[bytes]:
        """Speak one sentence, in pieces of at most 200 ms."""
        conversion = self.convert(self.engine.output, ULAW_8K)
        step = self.engine.output.octets_per_second * _STEP_MS // 1000
        pieces = aiter(self.engine.synthesize(text))
        async with _closing(pieces):
            while (piece := await _next(pieces, self.synthesis_ms)) is not None:
                for start in range(0, len(piece), step):
                    if converted := conversion.convert(piece[start : start + step]):
                        yield converted
        if tail := conversion.convert(b"", True):
            yield tail


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one conversation is made of.

    Attributes:
        ears: recognition.
        responder: decides what to say.
        mouth: speaks.
        names: of destinations, by address.
        times: how long what may take.
    """

    ears: _Ears
    responder: Responder
    mouth: _Mouth
    names: Mapping[str, str]
    times: LocalTimes


@dataclass(frozen=True, slots=True)
class _Wish:
    """A reply to be made.

    Attributes:
        verbatim: what it says; None for what the responder decides.
        digits: keys that were pressed.
    """

    verbatim: str | None = None
    digits: str = ""


@dataclass(slots=True)
class _Reply:
    """A reply being made, or made.

    Attributes:
        id: ours.
        spoken: what it says, by sentence.
        actions: what is to be done once it was heard.
    """

    id: str
    spoken: list[SpokenText] = field(default_factory=list)
    actions: list[ToolCall] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(stretch.text for stretch in self.spoken)


class LocalConversation:
    """One call's conversation; implements `ports.SpeechToSpeechStream`.

    Overflow rules: audio waits by the recogniser's rule; of more than 32 replies that wait to be
    made the oldest is forgotten; unread events make the voice wait.

    Args:
        parts: what it is made of.
        briefing: what came before, and which tools there are.
    """

    def __init__(self, parts: _Parts, briefing: Briefing) -> None:
        self._ears = parts.ears
        self._responder = parts.responder
        self._mouth = parts.mouth
        self._names = parts.names
        self._times = parts.times
        self._instructions = briefing.instructions or None
        self._tools = frozenset(tool.name for tool in briefing.tools)
        self._memory = Memory(briefing.history)
        self._id = str(uuid4())
        self._counter = 0
        self._replies: dict[str, _Reply] = {}
        self._actions: dict[str, ToolCall] = {}
        self._wishes: deque[_Wish] = deque(maxlen=_MAX_WISHES)
        self._wished = asyncio.Event()
        self._making: asyncio.Task[str | None] | None = None
        self._interruption: asyncio.TimerHandle | None = None
        self._events = EventQueue()
        self._loop = asyncio.get_running_loop()
        self._owner: asyncio.Task[None] | None = self._loop.create_task(self._run())

    def push(self, audio: bytes) -> None:
        """More of the caller's audio, mu-law at 8 kHz."""
        self._ears.push(audio)

    def say(self, text: str) -> None:
        """Say `text`, after what is being said."""
        self._wish(_Wish(verbatim=text))

    def prompt(self, text: str) -> None:
        """React to `text`: keys that were pressed, else as if the caller had said it."""
        if pressed := _PRESSED.search(text):
            self._wish(_Wish(digits=pressed[1]))
        else:
            self._hear(text)

    def cancel(self) -> None:
        """Stop the reply that is being made."""
        if self._making is not None:
            self._making.cancel()

    def heard(self, reply_id: str, heard_ms: int) -> None:
        """Forget what of a reply was not heard."""
        reply = self._replies.get(reply_id)
        if reply is None:
            return
        text = heard_text(reply.spoken, heard_ms)
        reply.spoken = [SpokenText(text, heard_ms)]
        self._memory.tell(reply_id, Speaker.BOT, text)

    def tool_result(self, tool_call_id: str, output: str) -> None:
        """Remember what came of an action; nothing more is said about it."""
        if (call := self._actions.pop(tool_call_id, None)) is not None:
            use = ToolUse(call.name, call.arguments, output)
            self._memory.put(call.id, Turn(Speaker.BOT, "", use))

    def __aiter__(self) -> AsyncIterator[SpeechToSpeechEvent]:
        return self._events

    async def close(self) -> None:
        """Stop listening and speaking; iteration ends."""
        self._events.close()
        # A cancelled task holds its frames, and they this conversation: it is let go.
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait({owner}, timeout=_CLOSE_TIMEOUT_S)

    # --- the conversation's own task ----------------------------------------------------------

    async def _run(self) -> None:
        speaking = self._loop.create_task(self._reply_in_turn())
        try:
            await self._listen()
        except SpeechError as error:
            self._events.fail(SpeechError(str(error), status=error.status))
        except Exception as error:  # noqa: BLE001  (a task's boundary: logged, and told)
            _log.warning("a local conversation failed", exc_info=error)
            self._events.fail(SpeechError("the local conversation failed"))
        finally:
            self._forget_interruption()
            speaking.cancel()
            await asyncio.wait({speaking})
            await self._ears.stream.close()
            self._events.close()

    async def _listen(self) -> None:
        async for event in self._ears.stream:
            self._note(event)
            await self._events.put(event)

    def _note(self, event: SttEvent) -> None:
        match event:
            case SpeechStarted():
                self._forget_interruption()
                delay_s = self._times.min_speech_ms / 1000
                self._interruption = self._loop.call_later(delay_s, self.cancel)
            case SpeechStopped():
                self._forget_interruption()
            case FinalTranscript(text=text) if text.strip():
                self._hear(text)

    def _forget_interruption(self) -> None:
        if self._interruption is not None:
            self._interruption.cancel()
            self._interruption = None

    def _hear(self, text: str) -> None:
        """The caller has said something: it is what is answered now, and nothing else."""
        self._counter += 1
        self._memory.tell(f"caller-{self._counter}", Speaker.USER, text)
        self.cancel()
        said = [wish for wish in self._wishes if wish.verbatim is not None]
        self._wishes = deque(said, maxlen=_MAX_WISHES)
        self._wish(_Wish())

    def _wish(self, wish: _Wish) -> None:
        self._wishes.append(wish)
        self._wished.set()

    async def _reply_in_turn(self) -> None:
        while True:
            await self._wished.wait()
            self._wished.clear()
            while self._wishes:
                await self._reply(self._wishes.popleft())

    async def _reply(self, wish: _Wish) -> None:
        """Make one reply, unless something stops it, and say how it ended."""
        self._counter += 1
        reply = self._replies[f"reply-{self._counter}"] = _Reply(f"reply-{self._counter}")
        while len(self._replies) > _MAX_REPLIES:
            del self._replies[next(iter(self._replies))]
        making = self._making = self._loop.create_task(self._make(reply, wish))
        try:
            await asyncio.wait({making})
        finally:
            self._making = None
            making.cancel()
            await asyncio.wait({making}, timeout=_CLOSE_TIMEOUT_S)
        if not making.done() or making.cancelled():
            await self._events.put(ReplyDone(reply.id, interrupted=True))
            return
        await self._events.put(ReplyDone(reply.id, failure=making.result()))
        for call in reply.actions:
            self._actions[call.id] = call
            await self._events.put(call)

    async def _make(self, reply: _Reply, wish: _Wish) -> str | None:
        """Make it; why that failed, if it did."""
        try:
            if wish.verbatim is not None:
                await self._speak_all(reply, wish.verbatim)
            else:
                await self._respond(reply, wish.digits)
        except (VoicecallError, TimeoutError) as error:
            _log.warning("a local reply failed", exc_info=error)
            return type(error).__name__
        except Exception as error:  # noqa: BLE001  (a request's boundary; anybody's responder)
            _log.warning("a local reply failed", exc_info=error)
            return type(error).__name__
        return None

    async def _respond(self, reply: _Reply, digits: str) -> None:
        request = ReplyRequest(self._id, self._memory.turns, digits, self._instructions)
        splitter = SentenceSplitter()
        parts = aiter(self._responder.reply(request))
        async with _closing(parts):
            while (part := await _next(parts, self._times.response_ms)) is not None:
                if isinstance(part, str):
                    for sentence in splitter.feed(part):
                        await self._speak(reply, sentence)
                elif isinstance(part, ToolUse):
                    self._counter += 1
                    self._memory.put(f"tool-{self._counter}", Turn(Speaker.BOT, "", part))
                else:
                    await self._flush(reply, splitter)
                    self._act(reply, part)
        await self._flush(reply, splitter)

    async def _speak_all(self, reply: _Reply, text: str) -> None:
        splitter = SentenceSplitter()
        for sentence in splitter.feed(text):
            await self._speak(reply, sentence)
        await self._flush(reply, splitter)

    async def _flush(self, reply: _Reply, splitter: SentenceSplitter) -> None:
        for sentence in splitter.flush():
            await self._speak(reply, sentence)

    async def _speak(self, reply: _Reply, sentence: str) -> None:
        words, sound = plain(sentence), speakable(sentence)
        if not sound:
            return
        await self._events.put(ReplyText(reply.id, f"{words} "))
        expected_ms = len(words) * _MS_PER_CHARACTER
        made_ms = 0.0
        reply.spoken.append(SpokenText(words, expected_ms))
        self._memory.tell(reply.id, Speaker.BOT, reply.text)
        async with aclosing(self._mouth.speak(sound)) as pieces:
            async for piece in pieces:
                made_ms += ULAW_8K.duration_ms(len(piece))
                reply.spoken[-1] = SpokenText(words, max(made_ms, expected_ms))
                await self._events.put(ReplyAudio(reply.id, piece))
        reply.spoken[-1] = SpokenText(words, made_ms)

    def _act(self, reply: _Reply, action: HangUp | PressKeys | Transfer) -> None:
        """Have an action done by the tool that is for it, if there is one."""
        name, arguments = _tool(action, self._names)
        if name not in self._tools:
            _log.warning("a reply wants what there is no tool for", extra={"tool": name})
            return
        self._counter += 1
        text = orjson.dumps(arguments).decode()
        reply.actions.append(ToolCall(f"action-{self._counter}", name, text))


def _tool(
    action: HangUp | PressKeys | Transfer, names: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """The name of the tool that does it, and its arguments."""
    match action:
        case HangUp():
            return "end_call", {}
        case PressKeys(digits=digits):
            return "send_dtmf", {"digits": digits}
        case Transfer(to=to):
            return "transfer_call", {"destination": names.get(to, to)}


T = TypeVar("T")


async def _next(source: AsyncIterator[T], timeout_ms: int) -> T | None:
    """The next item, None after the last. Raises `TimeoutError`."""
    async with asyncio.timeout(timeout_ms / 1000):
        return await anext(source, None)


@asynccontextmanager
async def _closing(source: AsyncIterator[object]) -> AsyncGenerator[None]:
    """Closes what can be closed: an iterator need not be a generator."""
    try:
        yield
    finally:
        if isinstance(source, AsyncGenerator):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await source.aclose()
