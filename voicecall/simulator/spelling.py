"""One spelling for what can be written in several ways, so that only different words differ."""

from __future__ import annotations

import re

# fmt: off
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen", "seventeen", "eighteen", "nineteen",
)
_TENS = (
    "zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)
# fmt: on
_IRREGULAR_ORDINALS = {
    "first": "one",
    "second": "two",
    "third": "three",
    "fifth": "five",
    "eighth": "eight",
    "ninth": "nine",
    "twelfth": "twelve",
}
_ORDINALS = _IRREGULAR_ORDINALS | {
    **{f"{unit}th": unit for unit in _UNITS},
    **{f"{ten[:-1]}ieth": ten for ten in _TENS if ten.endswith("y")},
}
_SPELLINGS = {
    "okay": "ok",
    "goodby": "goodbye",
    "travellers": "travelers",
    "grownups": "grown ups",
    "oclock": "o clock",
}
_CONTRACTIONS = {"n't": " not", "'re": " are", "'ll": " will", "'ve": " have", "'m": " am"}
_MAX_SPOKEN_NUMBER = 999_999
_YEARS = range(1100, 2100)


def normalise(text: str) -> list[str]:
    """The words of `text` in one spelling.

    Case, punctuation and hyphens go; numbers and ordinals become number words ("10:30" is "ten
    thirty", "3rd" is "three"); common contractions are written out.
    """
    text = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    text = re.sub(r"\b(good)-by\b", r"\1bye", text)
    text = re.sub(r"\b(to)-(day|night|morrow)\b", r"\1\2", text)
    for short, full in _CONTRACTIONS.items():
        text = re.sub(rf"{short}\b", full, text)
    text = text.replace("'", "")
    # "10,000" is one number, "1,2" and "10:30" are two.
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"(\d+)(?:st|nd|rd|th)\b", r"\1", text)
    text = re.sub(r"\d+", lambda match: f" {_spoken(match[0])} ", text)
    words = (_SPELLINGS.get(word, word) for word in re.findall(r"[^\W_]+", text))
    return [_ORDINALS.get(word, word) for spelled in words for word in spelled.split()]


def _spoken(digits: str) -> str:
    number = int(digits)
    if digits.startswith("0") or number > _MAX_SPOKEN_NUMBER:
        return " ".join(_UNITS[int(digit)] for digit in digits)
    if number in _YEARS and number % 100 >= 10:  # noqa: PLR2004  (two digits: "nineteen eighty")
        return f"{_cardinal(number // 100)} {_cardinal(number % 100)}"
    return _cardinal(number)


def _cardinal(number: int) -> str:
    if number < len(_UNITS):
        return _UNITS[number]
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            head = f"{_cardinal(number // size)} {name}"
            return head if number % size == 0 else f"{head} {_cardinal(number % size)}"
    ten = _TENS[number // 10]
    return ten if number % 10 == 0 else f"{ten} {_UNITS[number % 10]}"
