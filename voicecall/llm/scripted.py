"""A responder that follows a persona: no model, no network, the same answer every time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from voicecall.call.record import Speaker
from voicecall.ports import HangUp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from voicecall.llm.persona import Persona, Rule
    from voicecall.ports import ReplyPart, ReplyRequest, Turn

_PIECE = re.compile(r"\S+\s*")


class ScriptedResponder:
    """Answers by the rules of a persona.

    It keeps nothing between replies: which of several replies is due follows from how often the
    same rule has already answered in the history.

    Args:
        persona: who it is.
    """

    def __init__(self, persona: Persona) -> None:
        self._persona = persona

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyPart]:
        """Answer the caller's last words, or the keys pressed, word by word.

        With neither history nor keys it greets. Keys that no rule knows are not answered.
        """
        text, hang_up = self._decide(request)
        for piece in _PIECE.findall(text):
            yield piece
        if hang_up:
            yield HangUp()

    async def close(self) -> None:
        """Nothing is held."""

    def _decide(self, request: ReplyRequest) -> tuple[str, bool]:
        if request.digits:
            return self._on_digits(request.digits, request.history)
        if not request.history:
            return self._persona.greeting, False
        return self._on_words(request.history)

    def _on_digits(self, digits: str, history: Sequence[Turn]) -> tuple[str, bool]:
        for rule in self._persona.rules:
            if rule.digit is not None and digits.endswith(rule.digit):
                said = sum(turn.text in rule.reply for turn in history)
                return self._answer(rule, said)
        return "", False

    def _on_words(self, history: Sequence[Turn]) -> tuple[str, bool]:
        asked = [turn.text for turn in history if turn.speaker is Speaker.USER]
        if not asked:
            return "", False
        rule = self._rule_for(asked[-1])
        earlier = sum(self._rule_for(text) is rule for text in asked[:-1])
        if rule is None:
            fallback = self._persona.fallback
            return fallback[earlier % len(fallback)], False
        return self._answer(rule, earlier)

    def _answer(self, rule: Rule, earlier: int) -> tuple[str, bool]:
        if not rule.reply:
            return self._persona.farewell, rule.hang_up
        return rule.reply[earlier % len(rule.reply)], rule.hang_up

    def _rule_for(self, text: str) -> Rule | None:
        return next((rule for rule in self._persona.rules if rule.matches(text)), None)
