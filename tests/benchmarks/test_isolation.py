"""One call misbehaves; another, on a whole server, is listened to by a process of its own."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from benchmarks.isolation.measure import SENTENCE, SENTENCES, Outcome, measure
from benchmarks.isolation.misdeeds import MISDEEDS, Misdeed
from tests.hosting import as_heard

pytestmark = [pytest.mark.socket, pytest.mark.timed]

# One of each kind; `python -m benchmarks.isolation` does them all.
TESTED = (
    "responder sleeps 2 s in a generator",
    "responder computes 2 s",
    "responder gives a megabyte, then no end",
    "voice gives 30 MB at once, then no end",
    "ears sleep 2 s with every piece",
    "ears give events without end",
    "observer computes 2 s",
    "caller floods marks and audio 2 s",
)
DURING_S = 2.2
FRAME_OCTETS = 160


def misdeed(name: str) -> Misdeed:
    (found,) = [each for each in MISDEEDS if each.name == name]
    return found


def heard_during(name: str, during_s: float = DURING_S) -> Outcome:
    async def bounded() -> Outcome:
        async with asyncio.timeout(40):
            return await measure(misdeed(name), during_s)

    return uvloop.run(bounded())


@pytest.mark.parametrize("name", TESTED)
def test_no_frame_of_another_call_is_late(name: str) -> None:
    heard = heard_during(name)
    if heard.late:
        # A machine that stands still for a moment looks the same, but not twice in a row.
        heard = heard_during(name)
    assert heard.octets > 2 * 8000
    assert heard.late == 0


def test_what_blocks_its_own_thread_is_named() -> None:
    heard = heard_during("responder sleeps 2 s in async code", 2.6)
    assert heard.late == 0
    assert any(
        line.startswith("responder blocked") and "misdeeds.py" in line and line.endswith(":sleep")
        for line in heard.reported
    )


def test_a_tenth_of_a_second_on_the_servers_loop_makes_nobody_late_and_is_reported() -> None:
    name = "server's own loop blocked 100 ms"
    heard = heard_during(name)
    if heard.late:
        heard = heard_during(name)
    assert heard.late == 0
    assert heard.blocked >= 1
    assert any(line.endswith(":Misdeed.on_loop") for line in heard.reported)


def test_after_half_a_second_audio_goes_on_on_time_and_none_is_lost() -> None:
    said = uvloop.run(as_heard(*[SENTENCE.strip()] * SENTENCES))
    heard = heard_during("server's own loop blocked 500 ms", len(said) / 16_000 + 1.5)
    assert heard.blocked >= 1
    assert any(line.endswith(":Misdeed.on_loop") for line in heard.reported)
    assert sum(heard.gaps_ms) < 800
    # Well before the player needs it, as if nothing had been.
    assert heard.last_ms < -40
    # Every octet of it, once, and the padding of the last frame.
    assert heard.octets == -(-len(said) // 2 // FRAME_OCTETS) * FRAME_OCTETS
