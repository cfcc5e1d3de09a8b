from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from voicecall.ports import ULAW_8K
from voicecall.simulator.models.brain import Use
from voicecall.simulator.models.engines import ToneVoice
from voicecall.simulator.models.speaking import sentences, spoken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.unit


async def answer(*parts: str | Use) -> AsyncGenerator[str | Use]:
    for part in parts:
        yield part


def test_words_become_sentences_and_tools_keep_their_place() -> None:
    async def case() -> None:
        use = Use("book")
        given = answer("We ", "open. ", "At ", "ten", use, "Bye")
        assert [part async for part in sentences(given)] == ["We open.", "At ten", use, "Bye"]

    asyncio.run(case())


def test_a_sentence_is_spoken_in_the_format_wanted_and_in_small_pieces() -> None:
    async def case() -> None:
        text = "Hello, this is Harbour Dental."
        pieces = [piece async for piece in spoken(ToneVoice(), text, ULAW_8K)]
        octets = sum(map(len, pieces))
        assert ULAW_8K.duration_ms(octets) == pytest.approx(len(text) * 60, abs=200)
        assert max(map(len, pieces)) <= 1600 + 16

    asyncio.run(case())


def test_what_cannot_be_said_is_not() -> None:
    async def case() -> None:
        assert [piece async for piece in spoken(ToneVoice(), "**", ULAW_8K)] == []

    asyncio.run(case())
