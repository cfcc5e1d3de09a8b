"""From text as a model writes it to text as a voice can say it, sentence by sentence."""

from __future__ import annotations

import re

_MIN_WORDS_OF_FIRST_CHUNK = 3
_MAX_CHARACTERS = 160

# A closing quote or bracket belongs to the sentence it closes.
_SENTENCE_END = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]]*(?=\s)|\n")
_CLAUSE_END = re.compile(r"[,;:\u2014](?=\s)")
_TITLE = re.compile(
    r"\b(?:mr|mrs|ms|dr|prof|st|sr|jr|rev|gen|col|capt|sgt|lt|hon|vs|no|nr|inc|ltd|co|dept|approx"
    r"|est|ext|fig|e\.g|i\.e)\.$",
    re.IGNORECASE,
)
# One letter each: initials, and a.m., p.m., U.S.
_INITIAL = re.compile(r"\b(?:[A-Z]\.|[a-z]\.[a-z]\.)$")


class SentenceSplitter:
    """Cuts a stream of text pieces into sentences, as early as a voice can start on them.

    The first chunk may end at a comma once it has three words, so that the voice starts early.
    Text that runs on for more than 160 characters is cut at its last comma, else at a space.
    """

    def __init__(self) -> None:
        self._text = ""
        self._first = True

    def feed(self, piece: str) -> list[str]:
        """Take the next piece of text.

        Returns:
            Sentences that are complete now, each non-empty, stripped and in order.
        """
        self._text += piece
        sentences = []
        while (end := self._boundary()) is not None:
            sentence = self._text[:end].strip()
            self._text = self._text[end:]
            if sentence:
                sentences.append(sentence)
                self._first = False
        return sentences

    def flush(self) -> list[str]:
        """No more text follows: what is left, if anything."""
        rest, self._text = self._text.strip(), ""
        self._first = True
        return [rest] if rest else []

    def _boundary(self) -> int | None:
        for match in _SENTENCE_END.finditer(self._text):
            if match[0] == "\n" or not _abbreviates(self._text[: match.end()]):
                return self._bounded(match.end())
        if self._first and (end := self._early_end()) is not None:
            return end
        return self._bounded(len(self._text)) if len(self._text) > _MAX_CHARACTERS else None

    def _early_end(self) -> int | None:
        for match in _CLAUSE_END.finditer(self._text):
            if len(self._text[: match.end()].split()) >= _MIN_WORDS_OF_FIRST_CHUNK:
                return self._bounded(match.end())
        return None

    def _bounded(self, end: int) -> int:
        """`end`, or an earlier place to cut if that would make too long a chunk."""
        if end <= _MAX_CHARACTERS:
            return end
        clauses = [match.end() for match in _CLAUSE_END.finditer(self._text, 0, _MAX_CHARACTERS)]
        # A comma right at the beginning would leave the chunk after it as long as before.
        if clauses and clauses[-1] > _MAX_CHARACTERS // 4:
            return clauses[-1]
        space = self._text.rfind(" ", 1, _MAX_CHARACTERS)
        return space if space > 0 else _MAX_CHARACTERS


def _abbreviates(text: str) -> bool:
    """Whether the full stop at the end of `text` belongs to a title or an initial."""
    return _TITLE.search(text) is not None or _INITIAL.search(text) is not None


_CODE_FENCE = re.compile(r"```[^\n]*\n?|~~~[^\n]*\n?")
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_URL = re.compile(r"<?\b(?:https?://|www\.)[^\s>]*[^\s>.,;:!?)]>?", re.IGNORECASE)
_HTML_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_LINE_MARK = re.compile(r"^\s*(?:#{1,6}\s+|>\s?|[-*+\u2022]\s+|(?:[-*_]\s*){3,}$)", re.MULTILINE)
_TABLE_RULE = re.compile(r"\|?\s*:?-{2,}:?\s*(?=\||$)", re.MULTILINE)
_EMPHASIS = re.compile(r"[*_~`]+(?=\S)|(?<=\S)[*_~`]+|\|")
# Pictographs, dingbats, arrows, variation selectors, joiners, flags and skin tones.
_EMOJI = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u2500-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\ufe00-\ufe0f\u200d\u20e3\U0001f000-\U0001faff\U000e0020-\U000e007f]"
)
_UNDERSCORE = re.compile(r"(?<=\w)_+(?=\w)")
_SPACES = re.compile(r"\s+")
_SPACE_BEFORE_MARK = re.compile(r"\s+([.,;:!?])")


def plain(text: str) -> str:
    """`text` without what cannot be said: markdown, HTML tags, URLs and emoji.

    Link texts stay; white space is reduced to single spaces. May be empty.
    """
    for pattern in (_CODE_FENCE, _IMAGE):
        text = pattern.sub(" ", text)
    text = _LINK.sub(r"\1", text)
    for pattern in (_URL, _HTML_TAG, _EMOJI, _LINE_MARK, _TABLE_RULE):
        text = pattern.sub(" ", text)
    text = _EMPHASIS.sub("", _UNDERSCORE.sub(" ", text))
    text = _SPACES.sub(" ", text).strip()
    return _SPACE_BEFORE_MARK.sub(r"\1", text)


# Seven digits or more, grouped as people write telephone numbers. Dates have fewer or use slashes.
_PHONE_NUMBER = re.compile(
    r"(?<![\w.,/-])(?P<plus>\+)?\(?\d{1,4}\)?(?:[ .\u2011-]?\(?\d{2,4}\)?){1,5}(?![\w/]|[.,-]\d)"
)
_DIGIT_GROUP = re.compile(r"\d+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[.-]\d{1,2}[.-]\d{4}")
_MIN_PHONE_DIGITS = 7


def speakable(text: str) -> str:
    """`plain(text)` with telephone numbers written digit by digit, a comma between groups.

    Empty when nothing of it can be said.
    """
    text = _PHONE_NUMBER.sub(_spell, plain(text))
    return text if any(character.isalnum() for character in text) else ""


def _spell(match: re.Match[str]) -> str:
    written = match[0]
    groups = _DIGIT_GROUP.findall(written)
    if sum(map(len, groups)) < _MIN_PHONE_DIGITS or _DATE.fullmatch(written):
        return written
    if [*map(len, groups)] == [4, 4]:
        # Two years, more often than a number.
        return written
    if len(groups) == 1 and not match["plus"]:
        groups = _in_threes(groups[0])
    plus = "plus " if match["plus"] else ""
    return plus + ", ".join(" ".join(group) for group in groups)


def _in_threes(digits: str) -> list[str]:
    """Groups of three, the last of up to four: how an unspaced number is read aloud."""
    count = max(1, (len(digits) - 1) // 3)
    heads = [digits[3 * index : 3 * index + 3] for index in range(count - 1)]
    return [*heads, digits[3 * (count - 1) :]]
