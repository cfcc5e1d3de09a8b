"""Simulated carriers for the crash run, and who is at the other end of their calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from voicecall.clock import SystemClock
from voicecall.errors import VoicecallError
from voicecall.simulator.exchange import Exchange, Keys, SimpleParty

if TYPE_CHECKING:
    import random

    from voicecall.simulator import Phone
    from voicecall.simulator.exchange import Line, Pickup

# Each simulated carrier has credentials of its own kind.
Simulated: TypeAlias = Any

CARRIERS = ("twilio", "telnyx", "plivo")
# Whoever hears nothing for so long hangs up.
PATIENCE_S = 12.0
THINK_S = (0.1, 1.5)
MAX_TURNS = 5
KEY_SHARE = 0.3
GOODBYE_SHARE = 0.3


class Person(SimpleParty):
    """Talks in words that nobody else says, presses keys, and hangs up, or has the bot do it.

    Args:
        number: theirs.
        rng: decides what they do.
        stays: whether they say nothing, and stay until the other side hangs up.

    Attributes:
        number: as given.
        answer: what comes of ringing.
    """

    def __init__(self, number: str, rng: random.Random, *, stays: bool = False) -> None:
        kinds: list[Pickup] = ["answer", "busy", "reject", "no-answer"]
        self.number = number
        self.answer: Pickup = "answer" if stays else rng.choices(kinds, [85, 5, 5, 5])[0]
        turns = [] if stays else [_turn(number, turn, rng) for turn in range(rng.randint(1, 5))]
        if turns and rng.random() < GOODBYE_SHARE:
            turns.append(f"bye from {number}")
        ring_s = rng.uniform(0.0, 0.8)
        super().__init__(self.answer, turns, stays=True if stays else 0.1, ring_s=ring_s)
        self._rng = rng
        self._stays_long = stays
        self._heard_anything = asyncio.Event()

    def join(self, call: Line) -> None:
        """Be told of the call, and lose patience from now on."""
        super().join(call)
        if not self._stays_long:
            call.spawn(self._lose_patience(call))

    async def listen(self, text: str) -> None:
        """Hear what is said."""
        self._heard_anything.set()
        await super().listen(text)

    async def speak(self) -> str | None:
        """Think, and say the next thing."""
        if self._stays_long:
            await asyncio.Event().wait()
        self._heard_anything.set()
        await asyncio.sleep(self._rng.uniform(*THINK_S))
        return await super().speak()

    async def talk(self, phone: Phone) -> None:
        """Press keys over media, and hang up after a while."""
        if self._stays_long:
            await asyncio.Event().wait()
        for _ in range(self._rng.randint(1, MAX_TURNS)):
            await asyncio.sleep(self._rng.uniform(*THINK_S))
            try:
                await phone.press(self._rng.choice("0123456789*#"))
            except VoicecallError:
                # The socket is gone; the phone connects another one, or the call ends.
                continue

    async def _lose_patience(self, call: Line) -> None:
        while True:
            self._heard_anything.clear()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._heard_anything.wait()
            except TimeoutError:
                break
        call.hang_up("party")


def _turn(number: str, turn: int, rng: random.Random) -> str:
    if rng.random() < KEY_SHARE:
        return Keys("".join(rng.choices("0123456789", k=rng.randint(1, 3))))
    return f"word {turn} of {number}"


class People:
    """Who is reached by calls, and who calls in.

    Args:
        rng: decides what they do.

    Attributes:
        stay: whether those from now on stay on the line, saying nothing.
    """

    def __init__(self, rng: random.Random) -> None:
        self.stay = False
        self._rng = rng

    def __call__(self, line: Line) -> Person:
        """Whoever is at the other end of a new call."""
        return Person(number_of(line), self._rng, stays=self.stay)


def number_of(line: Line) -> str:
    """The number at the other end of a carrier's call."""
    number = line.from_number if line.direction == "inbound" else line.to_number
    return number.removeprefix("+")


def exchange(carrier: str, reach: People) -> Exchange[Any]:
    """A simulated `carrier`, to be used as a context."""
    # Each is loaded by those who want it: its package may not be installed.
    clock = SystemClock()
    if carrier == "twilio":
        from voicecall.simulator.exchange.twilio import TwilioExchange  # noqa: PLC0415

        return TwilioExchange(reach, clock=clock)
    if carrier == "telnyx":
        from voicecall.simulator.exchange.telnyx import TelnyxExchange  # noqa: PLC0415

        return TelnyxExchange(reach, clock=clock)
    from voicecall.simulator.exchange.plivo import PlivoExchange  # noqa: PLC0415

    return PlivoExchange(reach, clock=clock)
