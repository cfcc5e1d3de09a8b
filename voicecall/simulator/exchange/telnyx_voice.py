"""The simulated Telnyx's own voice and ears, for calls whose media are not streamed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from voicecall.simulator.exchange.party import Keys

if TYPE_CHECKING:
    from voicecall.simulator.exchange.party import Party
    from voicecall.simulator.exchange.telnyx_commands import Transcribing

MAX_TEXTS = 100
"""How many texts may wait on one call to be said; further ones are refused."""

Stop: TypeAlias = Literal["current", "all"]

_CONFIDENCE = 0.96
# One engine by two names.
_KNOW_THE_TRACK = frozenset({"B", "Telnyx"})

_log = logging.getLogger("voicecall.simulator")


class Report(Protocol):
    """Sends a webhook about the call."""

    def __call__(self, kind: str, **payload: Any) -> None:  # noqa: ANN401  (any JSON)
        """Send it: `kind` is the event's type, `payload` what it says besides the usual."""
        ...


class Voice:
    """Says texts to one party, one after the other.

    Args:
        party: who listens.
        report: sends webhooks.

    Attributes:
        fell_silent: set whenever the last text that waited is over.
    """

    def __init__(self, party: Party, report: Report) -> None:
        self.fell_silent = asyncio.Event()
        self._party = party
        self._report = report
        self._texts: deque[str] = deque()
        self._given = asyncio.Event()
        self._hearing: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether no more texts are taken."""
        return len(self._texts) >= MAX_TEXTS

    @property
    def busy(self) -> bool:
        """Whether something is being said, or waits to be."""
        return self._hearing is not None or bool(self._texts)

    def say(self, text: str) -> None:
        """Say `text` after everything that waits."""
        self._texts.append(text)
        self._given.set()

    def stop(self, what: Stop) -> None:
        """Cut what is being said; with `all`, what waits is not said either."""
        if what == "all":
            self._texts.clear()
        if self._hearing is not None:
            self._hearing.cancel()

    async def run(self) -> None:
        """Talk until cancelled."""
        while True:
            while self._texts:
                await self._say(self._texts.popleft())
                if not self._texts:
                    self.fell_silent.set()
            self._given.clear()
            await self._given.wait()

    async def _say(self, text: str) -> None:
        self._report("call.speak.started")
        hearing = self._hearing = asyncio.create_task(self._party.listen(text))
        # What it is unless we come to know better: we are cancelled because the call is over.
        status = "call_hangup"
        try:
            await asyncio.wait({hearing})
            # The documents name no status for a text that was stopped; this is a playback's.
            status = "cancelled" if hearing.cancelled() else "completed"
            if not hearing.cancelled() and hearing.exception() is not None:
                _log.error("the simulated party failed", exc_info=hearing.exception())
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            self._hearing = None
            self._report("call.speak.ended", status=status)


@dataclass(frozen=True, slots=True)
class Manners:
    """When a party speaks.

    Attributes:
        thinking_s: how long they think once it is their turn.
        greeting_s: how long they wait to be greeted, before they speak first.
    """

    thinking_s: float
    greeting_s: float


class Ears:
    """Transcribes what one party says.

    The party speaks once the carrier's own voice has fallen silent, each time once. If it does not
    speak at all, they do.

    Args:
        party: who speaks.
        voice: whom they answer.
        report: sends webhooks.
        transcribing: how it was asked for.
        manners: when the party speaks.
    """

    def __init__(
        self,
        party: Party,
        voice: Voice,
        report: Report,
        transcribing: Transcribing,
        manners: Manners,
    ) -> None:
        self._party = party
        self._voice = voice
        self._report = report
        self._transcribing = transcribing
        self._manners = manners

    async def run(self) -> None:
        """Listen until cancelled."""
        turn = self._voice.fell_silent
        try:
            async with asyncio.timeout(self._manners.greeting_s):
                await turn.wait()
        except TimeoutError:
            _log.debug("nobody greets the simulated party")
        while True:
            await self._think()
            words = await self._party.speak()
            turn.clear()
            if isinstance(words, Keys):
                press(words, self._report)
            elif words:
                self._transcribe(words)
            await turn.wait()

    async def _think(self) -> None:
        """Let a moment pass in which nothing is said; a pause between two texts is no end."""
        while True:
            self._voice.fell_silent.clear()
            if self._voice.busy:
                await self._voice.fell_silent.wait()
            await asyncio.sleep(self._manners.thinking_s)
            if not self._voice.busy:
                return

    def _transcribe(self, words: str) -> None:
        first, _, rest = words.partition(" ")
        if self._transcribing.interim and rest:
            self._transcript(first, is_final=False)
        self._transcript(words, is_final=True)

    def _transcript(self, words: str, *, is_final: bool) -> None:
        data: dict[str, Any] = {
            "confidence": _CONFIDENCE,
            "is_final": is_final,
            "transcript": words,
        }
        if self._transcribing.engine in _KNOW_THE_TRACK:
            data["transcription_track"] = "inbound"
        self._report("call.transcription", transcription_data=data)


def press(digits: str, report: Report) -> None:
    """Report keys that a party pressed, each by itself."""
    for digit in digits:
        report("call.dtmf.received", digit=digit)
