"""Flaws in played audio: gaps and clicks that were not in what was sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SAMPLE_OCTETS = 2
_ANCHOR_OCTETS = 160
_QUIET = 8
"""The smallest step of mu-law: as good as silence."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Silence that was not sent.

    Attributes:
        at_ms: the last sound before it, counted from the start of what was played.
        length_ms: how much longer it is than what was sent.
    """

    at_ms: float
    length_ms: float


@dataclass(frozen=True, slots=True)
class Click:
    """Two neighbouring samples that were never sent as neighbours.

    Attributes:
        at_ms: where, counted from the start of what was played.
        jump: how far apart they are, in steps of PCM16.
    """

    at_ms: float
    jump: int


@dataclass(frozen=True, slots=True)
class AudioCheck:
    """How one utterance was played.

    Attributes:
        began_ms: where in the recording it begins; None when it is not there.
        complete: whether all of it was played; an interrupted one is not.
        gaps: times relative to the recording.
        clicks: likewise.
    """

    began_ms: float | None
    complete: bool
    gaps: tuple[Gap, ...]
    clicks: tuple[Click, ...]


def check_audio(sent: Sequence[bytes], played: bytes, rate_hz: int = 8000) -> list[AudioCheck]:
    """Look for each utterance in the recording of what was played, and for flaws in it.

    The line has to be transparent: `sent` is PCM16 after everything the sender does to it (for
    telephone audio: resampled, coded and decoded), so that what was played right has equal samples.

    Args:
        sent: the utterances, in order.
        played: the recording, PCM16.
        rate_hz: of both.

    Returns:
        One check for each utterance.
    """
    starts: list[int | None] = []
    search_from = 0
    for utterance in sent:
        found = _locate(utterance, played, search_from)
        starts.append(found)
        search_from = search_from if found is None else found + _ANCHOR_OCTETS
    ends = _ends(starts, len(played))
    checks: list[AudioCheck] = []
    for utterance, start, end in zip(sent, starts, ends, strict=True):
        if start is None:
            checks.append(AudioCheck(None, complete=False, gaps=(), clicks=()))
            continue
        segment = played[start:end]
        offset_ms = start / _SAMPLE_OCTETS * 1000 / rate_hz
        gaps = find_gaps(utterance, segment, rate_hz)
        clicks = find_clicks(utterance, segment, rate_hz)
        checks.append(
            AudioCheck(
                offset_ms,
                _loud_count(segment) >= _loud_count(utterance),
                tuple(Gap(gap.at_ms + offset_ms, gap.length_ms) for gap in gaps),
                tuple(Click(click.at_ms + offset_ms, click.jump) for click in clicks),
            )
        )
    return checks


def find_gaps(sent: bytes, played: bytes, rate_hz: int = 8000, longest_ms: float = 40) -> list[Gap]:
    """Silence inside one utterance as it was played that is longer than it was sent.

    Both are read as sounding samples with silences in between. The silence before the n-th sounding
    sample is compared with the one before the n-th that was sent; an utterance that was cut short
    is compared as far as it goes.

    Args:
        sent: PCM16 as the sender made it.
        played: PCM16; what was played of it, and nothing else.
        rate_hz: of both.
        longest_ms: how much longer than sent a silence may be.

    Returns:
        What is longer, in order, with the length that was added.
    """
    sent_loud = np.flatnonzero(_is_loud(_samples(sent)))
    played_loud = np.flatnonzero(_is_loud(_samples(played)))
    count = min(sent_loud.size, played_loud.size)
    added = np.diff(played_loud[:count]) - np.diff(sent_loud[:count])
    longest = longest_ms * rate_hz / 1000
    return [
        Gap(int(played_loud[index]) * 1000 / rate_hz, int(added[index]) * 1000 / rate_hz)
        for index in np.flatnonzero(added > longest)
    ]


def find_clicks(
    sent: bytes, played: bytes, rate_hz: int = 8000, smallest_jump: int = 2000
) -> list[Click]:
    """Jumps between neighbouring samples that were not in the source.

    Where an utterance was cut short, the jump at its very end is not one.

    Args:
        sent: PCM16 as the sender made it; silence may stand on either side of it.
        played: PCM16; what was played of it, and nothing else.
        rate_hz: of both.
        smallest_jump: smaller jumps are not heard as clicks.
    """
    silence = np.zeros(1, dtype=np.int64)
    source = np.concatenate([silence, _samples(sent), silence])
    line = np.concatenate([silence, _samples(played), silence])
    jumps = np.abs(np.diff(line))
    suspects = np.flatnonzero(jumps >= smallest_jump)
    known = np.isin(_neighbours(line)[suspects], _neighbours(source))
    loud = np.flatnonzero(_is_loud(line))
    end = int(loud[-1]) if loud.size else -1
    return [
        Click(int(index) * 1000 / rate_hz, int(jumps[index]))
        for index in suspects[~known]
        if index != end
    ]


def _locate(utterance: bytes, played: bytes, search_from: int) -> int | None:
    """Where the first sounding 10 ms of an utterance are in the recording, in octets."""
    loud = np.flatnonzero(_is_loud(_samples(utterance)))
    if not loud.size:
        return None
    begin = int(loud[0]) * _SAMPLE_OCTETS
    anchor = utterance[begin : begin + _ANCHOR_OCTETS]
    found = played.find(anchor, search_from)
    while found % _SAMPLE_OCTETS and found > 0:
        found = played.find(anchor, found + 1)
    return None if found < 0 else found


def _ends(starts: Sequence[int | None], total: int) -> list[int]:
    """Where each utterance ends at the latest: where the next one that is there begins."""
    ends: list[int] = []
    end = total
    for start in reversed(starts):
        ends.append(end)
        end = end if start is None else start
    return ends[::-1]


def _samples(pcm: bytes) -> NDArray[np.int64]:
    return np.frombuffer(pcm, dtype="<i2").astype(np.int64)


def _is_loud(samples: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.abs(samples) > _QUIET


def _loud_count(pcm: bytes) -> int:
    return int(np.count_nonzero(_is_loud(_samples(pcm))))


def _neighbours(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each pair of neighbouring samples as one number."""
    return samples[:-1] * 65536 + samples[1:]
