"""Who a simulated carrier's calls reach: they ring, then talk over media or to the carrier."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from voicecall.clock import SystemClock
from voicecall.errors import CallHasEnded, NotConnected, VoicecallError
from voicecall.simulator.engines import Engines
from voicecall.simulator.phone import EchoPhone, Phone
from voicecall.simulator.script import (
    AwaitHangUp,
    HangUp,
    Interrupt,
    Press,
    Say,
    Script,
    run_script,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.line import Line
    from voicecall.simulator.script import Step

Pickup: TypeAlias = Literal["answer", "busy", "no-answer", "reject", "machine"]
"""What came of ringing; a machine answers, too."""

PhoneMaker: TypeAlias = Callable[[type[Phone], Engines], Phone]
"""Makes the phone of a call, of the given kind and with the given voice and ears."""

DEAF_AND_DUMB = Engines(voice=None, ears=None)
"""For phones that only pass audio."""

SPEAKING_S_PER_CHARACTER = 0.065
"""About 150 English words a minute."""

_QUICK = 0.02
_RING_S = 0.3

_log = logging.getLogger("voicecall.simulator")


class Keys(str):
    """What a party answers by pressing keys instead of speaking."""

    __slots__ = ()


class Party(Protocol):
    """Somebody at the other end of one call."""

    def join(self, call: Line) -> None:
        """Be told of the call before anything else, whoever called whom."""
        ...

    async def ring(self, call: Line) -> Pickup:
        """Let it ring; cancelled when the caller gives up."""
        ...

    def pick_up(self, make: PhoneMaker) -> Phone:
        """Choose the phone, before it connects."""
        ...

    async def talk(self, phone: Phone) -> None:
        """Talk over the connected phone; to return is to hang up.

        Called once for each call. When the media socket is replaced, it is the same phone that
        connects again. Cancelled when the call is over.
        """
        ...

    async def listen(self, text: str) -> None:
        """Hear the carrier say `text`; returns when it has been heard."""
        ...

    async def speak(self) -> str | None:
        """The next words, or `Keys`, or None for silence. It may take a while."""
        ...

    def keys(self, digits: str) -> None:
        """Hear keys from the other side."""
        ...


class _Person:
    """What is the same of all parties; whoever they are, they take note of everything.

    Attributes:
        line: the call; None before they are told of it.
        phone: what they talk into, once there is media.
    """

    def __init__(self, answer: Pickup, ring_s: float | None, pace: float) -> None:
        self.line: Line | None = None
        self.phone: Phone | None = None
        self._answer: Pickup = answer
        self._ring_s = ring_s
        self._pace = pace
        self._heard: list[str] = []
        self._said: list[str] = []
        self._keys_heard = ""

    @property
    def heard(self) -> list[str]:
        """What they heard: first what the carrier itself said, then what they understood."""
        understood = [] if self.phone is None else [heard.text for heard in self.phone.heard]
        return self._heard + understood

    @property
    def said(self) -> list[str]:
        """What they said: first to the carrier itself, then over media."""
        spoken = [] if self.phone is None else [said.text for said in self.phone.said]
        return self._said + spoken

    @property
    def keys_heard(self) -> str:
        """Keys of the other side, whichever way they came."""
        return self._keys_heard + ("" if self.phone is None else self.phone.keys_heard)

    def join(self, call: Line) -> None:
        """Take note of the call."""
        self.line = call

    async def ring(self, call: Line) -> Pickup:
        """Let it ring."""
        self.join(call)
        if self._ring_s is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self._ring_s)
        return self._answer

    async def listen(self, text: str) -> None:
        """Take note of `text`."""
        await asyncio.sleep(speaking_s(text) * self._pace)
        self._heard.append(text)

    def keys(self, digits: str) -> None:
        """Take note of keys."""
        if self.phone is None:
            self._keys_heard += digits
        else:
            self.phone.keys_heard += digits

    def _present_line(self) -> Line:
        if self.line is None:
            raise NotConnected("the party has no call")
        return self.line


class SimpleParty(_Person):
    """Somebody who does as little as told.

    Args:
        answer: what comes of ringing.
        words: what they say, one for each time the carrier listens; then they are silent.
        stays: whether they stay on the line until the other side hangs up, or for how many seconds:
            of media, or after their last words.
        ring_s: how long it rings; None rings until the caller gives up.
        pace: how long hearing takes, where 1 is as long as speaking.
    """

    def __init__(
        self,
        answer: Pickup = "answer",
        words: Iterable[str] = (),
        *,
        stays: Literal[True] | float = True,
        ring_s: float | None = 0.0,
        pace: float = _QUICK,
    ) -> None:
        super().__init__(answer, ring_s, pace)
        self._words = deque(words)
        self._stays = stays

    def pick_up(self, make: PhoneMaker) -> Phone:
        """Take a phone that has neither voice nor ears."""
        self.phone = make(Phone, DEAF_AND_DUMB)
        return self.phone

    async def talk(self, phone: Phone) -> None:
        """Stay on the line."""
        if self._stays is True:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self._stays)

    async def speak(self) -> str | None:
        """Say the next words; after the last ones hang up, or stay.

        Raises:
            NotConnected: they were told of no call.
        """
        if self._words:
            self._said.append(self._words.popleft())
            return self._said[-1]
        if self._stays is not True:
            await asyncio.sleep(self._stays)
            self._present_line().hang_up("party")
        return None


class EchoParty(SimpleParty):
    """Somebody who says back whatever they hear over media."""

    def pick_up(self, make: PhoneMaker) -> Phone:
        """Take a phone that echoes."""
        self.phone = make(EchoPhone, DEAF_AND_DUMB)
        return self.phone


class ScriptedParty(_Person):
    """Somebody who follows a script: over media as it says; without, in turn with the carrier.

    Without media they listen to whatever is said and answer with the texts and keys of the script,
    one each time the carrier listens. At the script's end they hang up.

    Args:
        script: what they do.
        engines: voice and ears, which stay the caller's to close.
        clock: the time.
        ring_s: how long it rings.
        pace: without media: how long hearing takes, where 1 is as long as speaking.
        on_phone: told of the phone before it connects.
        on_step: told of each step before it is done.

    Attributes:
        script: what they do.
        steps: those of the script that were begun.
        failure: why they gave up, if so.
    """

    def __init__(
        self,
        script: Script,
        engines: Engines,
        *,
        clock: Clock | None = None,
        ring_s: float = _RING_S,
        pace: float = _QUICK,
        on_phone: Callable[[Phone], None] | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        super().__init__("answer", ring_s, pace)
        self.steps: list[Step] = []
        self.failure: str | None = None
        self.script = script
        self._engines = engines
        self._clock = clock or SystemClock()
        self._on_phone = on_phone
        self._on_step = on_step

    def pick_up(self, make: PhoneMaker) -> Phone:
        """Take a phone with voice and ears."""
        self.phone = make(Phone, self._engines)
        if self._on_phone is not None:
            self._on_phone(self.phone)
        return self.phone

    async def talk(self, phone: Phone) -> None:
        """Do what the script says; a step that a broken socket cut short is done again.

        Raises:
            NotConnected: they were told of no call.
        """
        line = self._present_line()
        try:
            while rest := self._rest():
                if isinstance(rest[0], AwaitHangUp):
                    self._begin(rest[0])
                    async with asyncio.timeout(rest[0].within_ms / 1000):
                        await line.ended.wait()
                else:
                    await self._perform(line, phone, rest)
        except (TimeoutError, VoicecallError) as error:
            self.failure = str(error) or "the other side did not hang up"
            _log.warning("the simulated party gives up", extra={"reason": self.failure})

    async def speak(self) -> str | None:
        """Say or press what the script says next; hang up where it says so, and at its end.

        Raises:
            NotConnected: they were told of no call.
        """
        for step in self._rest():
            match step:
                case AwaitHangUp():
                    return None
                case HangUp():
                    self._begin(step)
                    return None
                case Say(text=text) | Interrupt(text=text):
                    self._begin(step)
                    await asyncio.sleep(speaking_s(text) * self._pace)
                    self._said.append(text)
                    return text
                case Press(digits=digits):
                    self._begin(step)
                    return Keys(digits)
                case _:
                    # Listening is what happens between two questions of the carrier anyway.
                    self._begin(step)
        self._present_line().hang_up("party")
        return None

    async def _perform(self, line: Line, phone: Phone, rest: tuple[Step, ...]) -> None:
        """Do the next steps, up to waiting for the end, which is not the phone's to notice."""
        steps = tuple(takewhile(lambda step: not isinstance(step, AwaitHangUp), rest))
        sockets = line.sockets
        try:
            await run_script(
                phone,
                Script(steps=steps),
                clock=self._clock,
                on_step=lambda _, step: self._begin(step),
            )
        except CallHasEnded:
            if line.ended.is_set():
                raise
            self.failure = "the media ended before the script did"
            await line.await_socket(sockets + 1)
            self.failure = None
            self.steps.pop()

    def _rest(self) -> tuple[Step, ...]:
        return self.script.steps[len(self.steps) :]

    def _begin(self, step: Step) -> None:
        self.steps.append(step)
        if self._on_step is not None:
            self._on_step(step)
        if isinstance(step, HangUp):
            self._present_line().hang_up("party")


def speaking_s(text: str) -> float:
    """About how long it takes to say `text`, in seconds."""
    return len(text) * SPEAKING_S_PER_CHARACTER
