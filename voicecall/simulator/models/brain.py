"""What simulated models think with: a persona, and tools used by rule."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voicecall.call.record import Speaker
from voicecall.llm.persona import Rule, builtin_persona
from voicecall.llm.scripted import ScriptedResponder
from voicecall.ports import HangUp, ReplyRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from voicecall.llm.persona import Persona
    from voicecall.ports import Turn

END_CALL = "end_call"
"""The tool that is used where the persona hangs up, if it is offered."""

_KEYS = re.compile(r"\bpressed\b[^0-9*#]*([0-9*#]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Use:
    """The model wants a tool used.

    Attributes:
        tool: its name.
        arguments: a JSON object.
    """

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolRule:
    """When the user says this, use tools, then answer.

    Attributes:
        match: a phrase as in a persona: all of its words, or a regular expression between slashes.
        uses: of tools, all at once.
        then: what is said when the results are there; `{result}` stands for the last of them.
        before: what is said before the tools are used.
        rounds: how often they are used before it is answered.
    """

    match: str
    uses: tuple[Use, ...]
    then: str = "{result}"
    before: str = ""
    rounds: int = 1

    def matches(self, text: str) -> bool:
        """Whether the user's words trigger this rule."""
        return Rule(match=(self.match,), hang_up=True).matches(text)


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked to continue.

    Attributes:
        turns: the conversation, oldest first; uses of tools with their results among them.
        tools: names of those it may use.
        instructions: who it is to be; told to it, not followed.
    """

    turns: Sequence[Turn]
    tools: frozenset[str] = frozenset()
    instructions: str = ""


class Brain:
    """Answers as a persona does, and uses tools by rule. Keeps nothing between answers.

    Args:
        persona: who it is; None for the built-in one.
        rules: when it uses tools; the first that matches, and whose tools are offered, decides.
    """

    def __init__(self, persona: Persona | None = None, rules: Sequence[ToolRule] = ()) -> None:
        self._responder = ScriptedResponder(persona or builtin_persona())
        self._rules = tuple(rules)

    async def answer(self, question: Question) -> AsyncGenerator[str | Use]:
        """The answer as it forms: words, and uses of tools, which come last.

        Without a conversation it greets. Who wants an answer after tools were used asks again,
        with their results among the turns.
        """
        since_user = _since_user(question.turns)
        rule = self._rule_for(question)
        if rule is None:
            async for part in self._scripted(question, done=len(since_user)):
                yield part
            return
        if len(since_user) < rule.rounds * len(rule.uses):
            for word in _words(rule.before):
                yield word
            for use in rule.uses:
                yield use
            return
        results = [turn.tool.result for turn in since_user if turn.tool is not None]
        for word in _words(rule.then.replace("{result}", results[-1] if results else "")):
            yield word

    async def _scripted(self, question: Question, done: int) -> AsyncGenerator[str | Use]:
        if done:
            # A tool of the persona's own, which is the end of the call, has been used.
            return
        history = [turn for turn in question.turns if turn.tool is None]
        asked = history[-1].text if history and history[-1].speaker is Speaker.USER else ""
        keys = _KEYS.search(asked)
        request = ReplyRequest("", history, digits=keys[1] if keys else "")
        async for part in self._responder.reply(request):
            if isinstance(part, str):
                yield part
            elif isinstance(part, HangUp) and END_CALL in question.tools:
                yield Use(END_CALL)

    def _rule_for(self, question: Question) -> ToolRule | None:
        asked = [turn.text for turn in question.turns if turn.speaker is Speaker.USER]
        if not asked:
            return None
        return next(
            (
                rule
                for rule in self._rules
                if rule.matches(asked[-1]) and {use.tool for use in rule.uses} <= question.tools
            ),
            None,
        )


def _since_user(turns: Sequence[Turn]) -> list[Turn]:
    """Uses of tools after the user's last words."""
    since: list[Turn] = []
    for turn in turns:
        if turn.speaker is Speaker.USER:
            since.clear()
        elif turn.tool is not None:
            since.append(turn)
    return since


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*", text)
