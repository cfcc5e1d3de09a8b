"""Texts that are longer than a carrier says at once, cut into pieces it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def pieces(text: str, limit: int, length: Callable[[str], int] = len) -> list[str]:
    """`text` in pieces of at most `limit`, cut between words where there are any.

    Args:
        text: what to cut; white space around it and around the cuts is left out.
        limit: how long a piece may be; at least five.
        length: how a piece is measured: at least one for each character, at most five, and the
            same wherever the character stands.
    """
    parts: list[str] = []
    rest = text.strip()
    while len(rest) > limit or length(rest) > limit:
        end = _reach(rest, limit, length)
        space = rest.rfind(" ", 1, end + 1)
        cut = space if space > 0 else end
        parts.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*parts, rest] if rest else parts


def _reach(text: str, limit: int, length: Callable[[str], int]) -> int:
    """How many characters fit, or a few less."""
    end = min(limit, len(text))
    while (excess := length(text[:end]) - limit) > 0:
        end -= max(1, excess // 5)
    return end
