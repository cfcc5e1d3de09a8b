"""The conversation of a call without a media stream: the carrier speaks and listens itself."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from voicecall.clock import NS_PER_MS
from voicecall.dialog.sentences import SentenceSplitter, plain, speakable
from voicecall.errors import CarrierError
from voicecall.ports import Playback
from voicecall.session.floor import Floor
from voicecall.session.talk import Talk
from voicecall.session.timing import TurnTiming

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from voicecall.call.record import CallRecord
    from voicecall.clock import Clock
    from voicecall.dialog.history import History
    from voicecall.ports import CarrierVoice
    from voicecall.session.equipment import Equipment, Surroundings

_log = logging.getLogger("voicecall.session")

T = TypeVar("T")

# Each text costs a request and a report, during which the caller hears nothing; so a reply is said
# in one, unless it is long. At that length the carrier speaks for a minute.
PASSAGE_CHARS: Final = 1000


class SpokenSession(Talk):
    """One call's conversation; implements `ports.Conversation`.

    What the caller says and presses is reported by the carrier's webhooks, and handed on by the
    call's actor.

    Args:
        record: the call; read only.
        opening: what to say first; None says nothing.
        equipment: what the call is held with; its voices and its recogniser are not used.
        history: the memory it continues.
        surroundings: the rest of the system.
        voice: the carrier's.
    """

    def __init__(
        self,
        record: CallRecord,
        opening: str | None,
        equipment: Equipment,
        history: History,
        surroundings: Surroundings,
        voice: CarrierVoice,
    ) -> None:
        super().__init__(record, opening, equipment, history, surroundings)
        self._record = record
        self._voice = voice

    def answered(self) -> None:
        """The call was answered: what it begins with is said."""
        if self._closed or self._floor is not None:
            return
        line = Line(self._voice, self._record)
        new_speech = partial(CarrierSpeech, line, clock=self._clock)
        self._open(Floor(new_speech, self._on_begin, self._on_end))

    def heard(self, text: str, *, awaited: bool) -> None:
        """The caller said `text`: it is answered, and cuts what is being said."""
        if self._floor is None or self._closed or not self._converses:
            return
        # When the caller stopped, only the carrier knows.
        timing = TurnTiming(final_ns=self._clock.now_ns())
        on_turn = partial(self._take_turn, timing=timing, awaited=awaited)
        self._act(self._turns.final(text, self._clock.now_ns()), on_turn)

    def pressed(self, digits: str) -> None:
        """The caller pressed keys: they are answered, and cut what is being said."""
        if self._floor is None or self._closed:
            return
        self._take_keys(digits, awaited=self._surroundings.calls.awaits_transcript(self.call_id))

    async def _begin_to_listen(self) -> None:
        """Returns at once: the caller need not wait for a greeting until he can be understood."""
        self._begin(Line(self._voice, self._record).listen())


class Line:
    """A call as its carrier's voice knows it.

    Args:
        voice: the carrier's.
        record: the call; its id at the carrier is read when it is needed.
    """

    def __init__(self, voice: CarrierVoice, record: CallRecord) -> None:
        self._voice = voice
        self._record = record

    async def say(self, text: str) -> bool:
        """Say `text`; whether it was said to its end. Raises CarrierError."""
        return await self._voice.say(self._provider_call_id, text)

    async def stop_speaking(self) -> None:
        """Cut what is being said. Raises CarrierError."""
        await self._voice.stop_speaking(self._provider_call_id)

    async def listen(self) -> None:
        """Have the caller understood. Raises CarrierError."""
        await self._voice.listen(self._provider_call_id)

    @property
    def _provider_call_id(self) -> str:
        if self._record.provider_call_id is None:
            raise CarrierError("the carrier has not named the call yet", status="unnamed")
        return self._record.provider_call_id


class CarrierSpeech:
    """One thing being said by the carrier; implements `floor.Speech`.

    It is said in passages, as a rule in one. A carrier does not tell how much of a passage was
    heard that was cut, so none of it counts.

    Args:
        line: the call.
        clock: for `timing` and for how long it takes.
        timing: where is noted when the first passage was handed to the carrier.
        on_begin: called with the first passage when it is handed to the carrier.
    """

    def __init__(
        self, line: Line, *, clock: Clock, timing: TurnTiming, on_begin: Callable[[str], None]
    ) -> None:
        self._line = line
        self._clock = clock
        self._on_begin = on_begin
        self._handed_over: list[str] = []
        self._heard: list[str] = []
        self._heard_ms = 0
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.timing = timing
        self.failure: CarrierError | None = None

    @property
    def began(self) -> bool:
        """Whether any of it has been handed to the carrier."""
        return bool(self._handed_over)

    @property
    def text(self) -> str:
        """What was to be said, as far as it has been handed to the carrier."""
        return self.played_text

    @property
    def played_text(self) -> str:
        """What of it has been handed to the carrier."""
        return " ".join(self._handed_over)

    def heard(self) -> str:
        """The passages that were said to their ends."""
        return " ".join(self._heard)

    def stop(self) -> None:
        """Cut it; `run` returns once the carrier has been told."""
        if not self._stopped.done():
            self._stopped.set_result(None)

    async def run(self, pieces: AsyncGenerator[str]) -> Playback:
        """Say the text that `pieces` bring; returns when it was said or stopped.

        A failure ends it early and is left in `failure`.

        Args:
            pieces: text as it comes; closed at the end.
        """
        whole = False
        try:
            async with aclosing(pieces), aclosing(_passages(pieces)) as passages:
                whole = await self._say_all(passages)
        except CarrierError as error:
            self.failure = error
        return Playback(self._heard_ms, self._heard_ms, interrupted=not whole)

    async def _say_all(self, passages: AsyncGenerator[_Passage]) -> bool:
        """Whether all of it was said to its end."""
        while (passage := await self._unless_stopped(_next(passages))) is not None:
            if not await self._say(" ".join(passage.texts), " ".join(passage.said)):
                return False
        return not self._stopped.done()

    async def _say(self, text: str, said: str) -> bool:
        began_ns = self._clock.now_ns()
        if not self.began:
            self.timing.first_frame_ns = began_ns
            self._on_begin(text)
        self._handed_over.append(text)
        saying = asyncio.create_task(self._line.say(said))
        try:
            await self._until_done_or_stopped(saying)
            if self._stopped.done():
                await self._silence(saying)
                return False
            completed = saying.result()
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
        if completed:
            self._heard.append(text)
            self._heard_ms += (self._clock.now_ns() - began_ns) // NS_PER_MS
        return completed

    async def _silence(self, saying: asyncio.Task[bool]) -> None:
        """Have the carrier fall silent, before anything else is said."""
        try:
            await self._line.stop_speaking()
            if not saying.done():
                # The request to speak is still under way, and may have been overtaken.
                await asyncio.wait({saying})
                await self._line.stop_speaking()
        except CarrierError as error:
            # It may be over by itself, and so may the call.
            _log.info("speech not cut", exc_info=error)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` gives; None if this is stopped before."""
        doing = asyncio.create_task(work)
        try:
            await self._until_done_or_stopped(doing)
            return None if self._stopped.done() else doing.result()
        finally:
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)

    async def _until_done_or_stopped(self, work: asyncio.Task[Any]) -> None:
        either: set[asyncio.Future[Any]] = {work, self._stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)


@dataclass(slots=True)
class _Passage:
    """Sentences that are said at once.

    Attributes:
        texts: as the transcript shows them.
        said: as they are read out, numbers digit by digit.
    """

    texts: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Take `sentence` in, if any of it can be said."""
        if said := speakable(sentence):
            self.texts.append(plain(sentence))
            self.said.append(said)

    @property
    def full(self) -> bool:
        """Whether it is long enough to be said before the rest is known."""
        return sum(map(len, self.said)) >= PASSAGE_CHARS


async def _passages(pieces: AsyncGenerator[str]) -> AsyncGenerator[_Passage]:
    splitter = SentenceSplitter()
    passage = _Passage()
    async for piece in pieces:
        for sentence in splitter.feed(piece):
            passage.add(sentence)
            if passage.full:
                yield passage
                passage = _Passage()
    for sentence in splitter.flush():
        passage.add(sentence)
    if passage.said:
        yield passage


async def _next(passages: AsyncGenerator[_Passage]) -> _Passage | None:
    return await anext(passages, None)
