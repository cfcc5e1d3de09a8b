from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.clock import NS_PER_MS
from voicecall.simulator.earpiece import Earpiece, TalkMeter
from voicecall.simulator.playout import SAMPLE_NS, PlayoutBuffer, Stretch

pytestmark = pytest.mark.unit

LOUD = (np.ones(160, dtype="<i2") * 3000).tobytes()
QUIET = bytes(320)


def test_time_between_stretches_is_silence() -> None:
    earpiece = Earpiece()
    line = earpiece.render([Stretch(2, b"ab"), Stretch(5, b"c")], 8)
    assert line == b"\xff\xffab\xffc\xff\xff"
    assert earpiece.render([Stretch(8, b"d")], 9) == b"d"


@given(st.lists(st.tuples(st.integers(0, 30 * SAMPLE_NS), st.integers(0, 30)), max_size=30))
def test_a_line_rendered_in_pieces_is_the_line_rendered_at_once(
    actions: list[tuple[int, int]],
) -> None:
    piecewise, whole = PlayoutBuffer(0), PlayoutBuffer(0)
    earpiece = Earpiece()
    line = b""
    now_ns = 0
    for wait_ns, octets in actions:
        now_ns += wait_ns
        for buffer in (piecewise, whole):
            buffer.receive(b"a" * octets, now_ns)
        until = piecewise.line_position(now_ns)
        line += earpiece.render(piecewise.take_played(), until)
    assert line == Earpiece().render(whole.take_played(), whole.line_position(now_ns))


def feed(meter: TalkMeter, pcm: bytes, begin_ms: int, end_ms: int) -> None:
    for ms in range(begin_ms, end_ms, 20):
        meter.feed(pcm, (ms + 20) * NS_PER_MS)


def test_silence_counts_from_the_last_sound() -> None:
    meter = TalkMeter(0)
    assert meter.quiet_ms(100 * NS_PER_MS) == 100
    feed(meter, LOUD, 100, 200)
    feed(meter, QUIET, 200, 300)
    assert meter.quiet_ms(300 * NS_PER_MS) == 100
    assert meter.loud_until_ns == 200 * NS_PER_MS


def test_a_short_pause_is_part_of_talking_and_a_long_one_is_not() -> None:
    meter = TalkMeter(0)
    feed(meter, LOUD, 0, 500)
    feed(meter, QUIET, 500, 1100)
    feed(meter, LOUD, 1100, 1200)
    assert meter.talking_ms(1200 * NS_PER_MS) == 1180
    feed(meter, QUIET, 1200, 2000)
    assert meter.talking_ms(2000 * NS_PER_MS) == 0


def test_in_a_new_turn_talking_counts_from_its_first_sound() -> None:
    meter = TalkMeter(0)
    feed(meter, LOUD, 0, 500)
    meter.begin_turn()
    assert meter.talking_ms(500 * NS_PER_MS) == 0
    feed(meter, QUIET, 500, 600)
    feed(meter, LOUD, 600, 700)
    assert meter.talking_ms(700 * NS_PER_MS) == 80
