"""A call on a card."""

from __future__ import annotations

import pytest

from tests.cli.records import BEGAN_MS, CALL_ID, HARMLESS, STEERING, drawn, over, record, said
from voicecall.cli.call_card import call_card

pytestmark = pytest.mark.unit


def test_who_how_and_every_word_are_on_it() -> None:
    words = [said("bot", "Hello!", 5_200), said("user", "When are you open?", 66_200)]
    card = drawn(call_card(over("hangup-user", transcript=words), BEGAN_MS))
    assert "+15550000000 → +15550001234" in card.splitlines()[0]
    facts = [line.strip("│ ").split(None, 1) for line in card.splitlines()[1:-1]]
    assert ["state", "hangup-user, the other side hung up"] in facts
    assert ["call", CALL_ID] in facts
    assert ["carrier", "mock mock-8c1f6a2e"] in facts
    assert ["kind", "outbound conversation"] in facts
    assert ["lasted", "1:05"] in facts
    assert ["0:01", "bot     Hello!"] in facts
    assert ["1:02", "caller  When are you open?"] in facts


def test_what_is_not_known_yet_is_not_on_it() -> None:
    young = record(state="ringing", answeredAt=None, providerCallId=None, metadata={})
    card = drawn(call_card(young, BEGAN_MS))
    assert "lasted" not in card
    assert "None" not in card
    lines = [line.strip("│ ") for line in card.splitlines()]
    assert "state    ringing" in lines
    assert "carrier  mock" in lines
    assert "kind     outbound" in lines


def test_words_before_the_answer_are_told_at_its_time() -> None:
    early = over("failed", answeredAt=None, transcript=[said("bot", "Hello?", 3_000)])
    assert "0:03  bot  Hello?" in drawn(call_card(early, BEGAN_MS))


def test_long_words_stay_on_the_card() -> None:
    words = "every word of it " * 12
    card = drawn(call_card(record(transcript=[said("bot", words)]), BEGAN_MS), columns=50)
    assert max(map(len, card.splitlines())) == 50
    assert card.count("every") == 12


def test_nothing_from_outside_steers_the_terminal() -> None:
    from_outside = {
        "from": STEERING,
        "to": STEERING,
        "providerCallId": STEERING,
        "metadata": {"lastError": STEERING},
        "transcript": [said("user", STEERING)],
    }
    card = drawn(call_card(over("failed", **from_outside), BEGAN_MS))
    assert "\x1b" not in card
    assert card.count(HARMLESS) == 5


def test_markup_in_what_was_said_is_only_text() -> None:
    card = drawn(call_card(record(transcript=[said("user", "[red]a[/red] [/]")]), BEGAN_MS))
    assert "[red]a[/red] [/]" in card
