"""Who is at the two ends of a call: a person on the phone, and the clerk who answers for us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from tests.contract.modem import RATE_HZ, ModemEars, ModemVoice
from voicecall.audio import DtmfDetector, to_pcm16
from voicecall.simulator import Engines, Phone
from voicecall.simulator.exchange import Keys, SimpleParty

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from voicecall.ports import ReplyPart, ReplyRequest
    from voicecall.simulator.exchange import Pickup
    from voicecall.simulator.exchange.party import PhoneMaker
    from voicecall.simulator.stream import LineAudio

# Longer than the pause between two sentences.
REACTION_S = 0.12


class Person(SimpleParty):
    """Says or presses something each time they were spoken to: over media, or to the carrier.

    When they have nothing more to say they wait to be spoken to once more and then hang up, or
    stay.
    """

    def __init__(
        self,
        *says: str,
        answer: Pickup = "answer",
        stays: Literal[True] | float = True,
        ring_s: float | None = 0.0,
    ) -> None:
        super().__init__(answer, says, stays=stays, ring_s=ring_s)
        self._answered = 0
        self._spoken_to = asyncio.Event()

    def pick_up(self, make: PhoneMaker) -> Phone:
        self.phone = phone = make(Phone, Engines(ModemVoice(), ModemEars()))
        keys = DtmfDetector(RATE_HZ)

        def listen_for_keys(line: LineAudio) -> None:
            phone.keys_heard += keys.feed(to_pcm16(line.heard, "ulaw"))

        phone.on_heard = lambda _: self._spoken_to.set()
        phone.on_line = listen_for_keys
        return phone

    async def talk(self, phone: Phone) -> None:
        while self._words:
            await self._their_turn()
            words = self._words.popleft()
            await (phone.press(words) if isinstance(words, Keys) else phone.say(words))
        await self._their_turn()
        await super().talk(phone)

    async def listen(self, text: str) -> None:
        await super().listen(text)
        self._spoken_to.set()

    async def speak(self) -> str | None:
        await self._their_turn()
        return await super().speak()

    async def _their_turn(self) -> None:
        while len(self.heard) <= self._answered:
            self._spoken_to.clear()
            await self._spoken_to.wait()
        # Whoever is cut short here has not had their turn.
        await asyncio.sleep(REACTION_S if self.phone else 0.02)
        self._answered = len(self.heard)


class Clerk:
    """Answers what they have an answer to.

    Args:
        answers: by the caller's words, or by keys.
    """

    def __init__(self, answers: Mapping[str, tuple[ReplyPart, ...]]) -> None:
        self._answers = answers

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyPart]:
        asked = request.digits or request.history[-1].text
        for part in self._answers.get(asked, ()):
            yield part

    async def close(self) -> None:
        pass
