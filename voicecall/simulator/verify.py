"""Whether the words that were said are the words that were understood."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from voicecall.simulator.spelling import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class UtteranceCheck:
    """How one utterance was understood.

    Attributes:
        said: the text.
        heard: the normalised words that were understood for it.
        words: how many words it has.
        errors: words replaced, missing or too many.
    """

    said: str
    heard: str
    words: int
    errors: int

    @property
    def error_rate(self) -> float:
        """Word error rate; 0 is perfect, and it may exceed 1."""
        return self.errors / max(1, self.words)


@dataclass(frozen=True, slots=True)
class TranscriptCheck:
    """How a sequence of utterances was understood.

    Attributes:
        utterances: each of them.
        unexpected: words that were understood although nothing was said at all.
    """

    utterances: tuple[UtteranceCheck, ...]
    unexpected: int = 0

    @property
    def words(self) -> int:
        """How many words were said."""
        return sum(utterance.words for utterance in self.utterances)

    @property
    def errors(self) -> int:
        """Words replaced, missing or too many."""
        return self.unexpected + sum(utterance.errors for utterance in self.utterances)

    @property
    def error_rate(self) -> float:
        """Word error rate over everything."""
        return self.errors / max(1, self.words)


def check_transcript(said: Sequence[str], heard: Sequence[str]) -> TranscriptCheck:
    """Compare what was said with what was understood.

    The words are aligned over the whole conversation, so it does not matter where the recogniser
    saw the end of an utterance. Words it wrote as one that are two, or the other way round, count
    as right. Time and memory grow with the product of the numbers of words.

    Args:
        said: the utterances, in order.
        heard: the transcripts, in order.

    Returns:
        One check for each utterance said. Words heard in between belong to the utterance before.
    """
    if not said:
        return TranscriptCheck((), sum(len(normalise(text)) for text in heard))
    spoken = [normalise(text) for text in said]
    reference = [word for words in spoken for word in words]
    owner = [index for index, words in enumerate(spoken) for _ in words] or [0]
    hypothesis = [word for text in heard for word in normalise(text)]
    errors = [0] * len(said)
    understood: list[list[str]] = [[] for _ in said]
    for before, after in pairwise(_alignment(reference, hypothesis)):
        added = after.reference == before.reference
        index = owner[max(0, before.reference - added)]
        errors[index] += after.errors - before.errors
        understood[index] += hypothesis[before.hypothesis : after.hypothesis]
    checks = zip(said, understood, spoken, errors, strict=True)
    return TranscriptCheck(
        tuple(
            UtteranceCheck(text, " ".join(words), len(reference_words), wrong)
            for text, words, reference_words, wrong in checks
        )
    )


class _Waypoint(NamedTuple):
    """How many words of each side, and errors, lie behind."""

    reference: int
    hypothesis: int
    errors: int


def _alignment(reference: list[str], hypothesis: list[str]) -> list[_Waypoint]:
    """The way through both with the fewest errors.

    Source: Levenshtein distance by Wagner and Fischer, with moves that join two words.
    """
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    errors = [[0] * columns for _ in range(rows)]
    moves = [[(0, 0)] * columns for _ in range(rows)]
    for row in range(rows):
        for column in range(columns):
            if row or column:
                errors[row][column], moves[row][column] = min(
                    (
                        (errors[row - down][column - right] + cost, (down, right))
                        for down, right, cost in _moves(reference, hypothesis, row, column)
                    ),
                    key=itemgetter(0),
                )
    row, column = rows - 1, columns - 1
    way = [_Waypoint(row, column, errors[row][column])]
    while row or column:
        down, right = moves[row][column]
        row, column = row - down, column - right
        way.append(_Waypoint(row, column, errors[row][column]))
    return way[::-1]


def _moves(
    reference: list[str], hypothesis: list[str], row: int, column: int
) -> Iterator[tuple[int, int, int]]:
    """The moves that end at a cell: words of each side they take, and errors they make."""
    if row and column:
        yield 1, 1, int(reference[row - 1] != hypothesis[column - 1])
        if row > 1 and reference[row - 2] + reference[row - 1] == hypothesis[column - 1]:
            yield 2, 1, 0
        if column > 1 and reference[row - 1] == hypothesis[column - 2] + hypothesis[column - 1]:
            yield 1, 2, 0
    if row:
        yield 1, 0, 1
    if column:
        yield 0, 1, 1
