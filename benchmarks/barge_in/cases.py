"""The set: what callers do while the bot speaks. Made from a seed by the local voice."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.barge_in import sounds
from benchmarks.barge_in.line import Surrounding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.barge_in.sounds import Sound
    from benchmarks.barge_in.voices import Recordings

GREETING = "Thank you for calling the bakery. How can I help you today?"
ANSWER = (
    "We are open from eight in the morning until six in the evening, and on Sunday from nine until "
    "noon. Our bread comes out of the oven at seven, and there is cake on Friday afternoon."
)

INTERRUPTIONS = (
    "Excuse me, can I ask something?",
    "Wait, that is wrong.",
    "Stop.",
    "No, I meant Tuesday.",
    "Hold on a second please.",
    "Actually I want to cancel my order.",
    "Sorry, what was that?",
    "How much does it cost?",
    "I need to speak to a person.",
    "Can you repeat the last part?",
    "Do you deliver?",
    "No thank you.",
    "What about Saturday?",
    "My name is Anna and I am calling about my invoice.",
    "That is not what I asked for.",
)
MURMURS = (
    "mhm", "Mm-hmm.", "Yeah.", "Okay.", "Right.", "I see.", "Yeah, sure.", "Uh-huh.", "Yes, okay.",
    "Oh really?", "Got it.", "Alright.", "Great.", "Sure.",
)  # fmt: skip
_SPEEDS = (0.87, 1.0, 1.14)
_DELAYS_MS = (50, 100, 150, 200, 300, 400)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a caller does over the bot's answer.

    Attributes:
        kind: `interruption`, or what else it is.
        name: what it is in particular.
        sound: it.
        after_ms: how long after the answer has begun.
        surrounding: what else is on the line.
        greeted: whether the bot has greeted before; then it knows the line.
    """

    kind: str
    name: str
    sound: Sound
    after_ms: float
    surrounding: Surrounding
    greeted: bool


async def make(recordings: Recordings, seed: int, scale: float = 1.0) -> list[Case]:
    """The set, the same for the same seed.

    Args:
        recordings: the voice.
        seed: for everything that is chosen.
        scale: how large a part of it; 1 is all.
    """
    rng = np.random.default_rng(seed)
    cases = [
        *await _spoken("interruption", INTERRUPTIONS, recordings, rng, round(60 * scale)),
        *await _spoken("back-channel", MURMURS, recordings, rng, round(42 * scale)),
    ]
    cases += _noises("cough", rng, round(30 * scale))
    cases += _noises("clicks", rng, round(12 * scale))
    cases += _noises("music", rng, round(18 * scale))
    cases += _echoes(rng, round(24 * scale))
    return cases


async def _spoken(
    kind: str, texts: tuple[str, ...], recordings: Recordings, rng: np.random.Generator, count: int
) -> list[Case]:
    cases = []
    for text in islice(cycle(rng.permutation(texts).tolist()), count):
        speed = float(rng.choice(_SPEEDS))
        sound = sounds.at_level(await recordings.spoken(text, speed), rng.uniform(-30, -18))
        cases.append(_case(kind, f"{text} x{speed}", sound, rng, echo=0.4))
    return cases


def _noises(kind: str, rng: np.random.Generator, count: int) -> Iterator[Case]:
    for number in range(count):
        match kind:
            case "cough":
                sound = sounds.cough(rng)
            case "clicks":
                sound = sounds.clicks(rng)
            case _:
                sound = sounds.music(rng, 4)
        loudest = (-32, -22) if kind == "music" else (-26, -12)
        sound = sounds.at_level(sound, rng.uniform(*loudest))
        yield _case(kind, f"{kind} {number}", sound, rng, echo=0.3)


def _case(kind: str, name: str, sound: Sound, rng: np.random.Generator, *, echo: float) -> Case:
    """A case on some line, which has an echo with probability `echo`."""
    surrounding = Surrounding(
        -20.0 if rng.random() < echo else None,
        int(rng.choice(_DELAYS_MS)),
        rng.uniform(-66, -50),
    )
    return Case(kind, name, sound, rng.uniform(800, 4500), surrounding, rng.random() < 0.7)


def _echoes(rng: np.random.Generator, count: int) -> Iterator[Case]:
    for number, delay_ms in enumerate(islice(cycle(_DELAYS_MS), count)):
        greeted = number // len(_DELAYS_MS) % 2 == 0
        yield Case(
            "echo",
            f"echo after {delay_ms} ms{'' if greeted else ', from the first word'}",
            sounds.silence(20),
            1000,
            Surrounding(-20.0, delay_ms, rng.uniform(-66, -52)),
            greeted=greeted,
        )
