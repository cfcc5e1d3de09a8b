from __future__ import annotations

import pytest

from voicecall.clock import NS_PER_MS
from voicecall.ports import ULAW_8K
from voicecall.speech.stt.sending import Backlog, Piece, Positions

pytestmark = pytest.mark.unit


def piece(letter: str, until_ms: int, ms: int = 20, *, ends_turn: bool = False) -> Piece:
    return Piece(letter.encode() * 8 * ms, until_ms * NS_PER_MS, ends_turn)


def letters(taken: Piece | None) -> str:
    assert taken is not None
    return taken.audio[::160].decode()


def test_what_waits_is_taken_as_one_piece_that_ends_with_the_last() -> None:
    backlog = Backlog(ULAW_8K, 2000)
    for index, letter in enumerate("abc"):
        backlog.push(piece(letter, 20 * (index + 1)))
    assert backlog.octets == 480
    taken = backlog.take()
    assert letters(taken) == "abc"
    assert taken is not None
    assert taken.until_ns == 60 * NS_PER_MS
    assert backlog.octets == 0
    assert backlog.take() is None


def test_a_piece_does_not_reach_beyond_the_end_of_a_turn() -> None:
    backlog = Backlog(ULAW_8K, 2000)
    backlog.push(piece("a", 20))
    ends = [backlog.ends_turn]
    backlog.push(piece("b", 40, ends_turn=True))
    backlog.push(piece("c", 60))
    ends.append(backlog.ends_turn)
    first, second = backlog.take(), backlog.take()
    assert (letters(first), letters(second)) == ("ab", "c")
    assert first is not None
    assert first.ends_turn
    assert [*ends, backlog.ends_turn] == [False, True, False]


def test_the_oldest_is_dropped_and_counted_when_there_is_too_much() -> None:
    backlog = Backlog(ULAW_8K, 60)
    for index, letter in enumerate("abcde"):
        backlog.push(piece(letter, 20 * (index + 1)))
    assert backlog.dropped_octets == 320
    assert letters(backlog.take()) == "cde"


def test_that_a_turn_ended_is_remembered_when_its_end_is_dropped() -> None:
    backlog = Backlog(ULAW_8K, 40)
    backlog.push(piece("a", 20, ends_turn=True))
    for index, letter in enumerate("bcde"):
        backlog.push(piece(letter, 20 * (index + 2)))
    assert backlog.dropped_octets == 3 * 160
    end, rest = backlog.take(), backlog.take()
    assert end is not None
    assert end.ends_turn
    assert end.audio == b""
    assert letters(rest) == "de"


def test_what_was_spoken_too_long_ago_is_forgotten_and_counted_apart() -> None:
    backlog = Backlog(ULAW_8K, 2000)
    for index, letter in enumerate("abcd"):
        backlog.push(piece(letter, 20 * (index + 1)))
    backlog.forget_before(40 * NS_PER_MS)
    assert backlog.stale_octets == 320
    assert backlog.dropped_octets == 0
    assert letters(backlog.take()) == "cd"


def test_what_is_put_back_comes_first() -> None:
    backlog = Backlog(ULAW_8K, 2000)
    backlog.push(piece("b", 40))
    backlog.put_back(piece("a", 20))
    assert backlog.octets == 320
    assert letters(backlog.take()) == "ab"


def test_a_position_is_dated_by_the_audio_that_was_sent() -> None:
    positions = Positions(ULAW_8K)
    assert positions.date(100, 7) == 7
    positions.sent(piece("a", 5_000, ms=1000))
    now_ns = 6_000 * NS_PER_MS
    assert positions.sent_ns == 1_000 * NS_PER_MS
    assert positions.date(0, now_ns) == 4_000 * NS_PER_MS
    assert positions.date(250, now_ns) == 4_250 * NS_PER_MS
    assert positions.date(99_000, now_ns) == now_ns


def test_a_hole_in_the_audio_moves_only_what_comes_after_it() -> None:
    positions = Positions(ULAW_8K)
    positions.sent(piece("a", 1_000, ms=500))
    positions.sent(piece("b", 3_000, ms=500))
    now_ns = 9_000 * NS_PER_MS
    assert positions.date(499, now_ns) == 999 * NS_PER_MS
    assert positions.date(500, now_ns) == 2_500 * NS_PER_MS
    assert positions.date(600, now_ns) == 2_600 * NS_PER_MS


def test_jitter_makes_no_new_stretch_and_memory_is_bounded() -> None:
    positions = Positions(ULAW_8K)
    for index in range(1, 200):
        positions.sent(piece("a", 20 * index + index % 3))
    assert len(positions._stretches) == 1
    for index in range(1, 200):
        positions.sent(piece("a", 100_000 * index))
    assert len(positions._stretches) == 64
    # Before what is known it is counted backwards from there.
    begin_ns, spoken_ns = positions._stretches[0]
    assert positions.date(0, 1 << 62) == spoken_ns - begin_ns
