"""What a language model is told before it speaks on the telephone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

PERSONA: Final = "You are a friendly, helpful assistant."
"""Who the bot is when nobody has said so."""

_MANNERS: Final = """\
You are on the telephone. Whatever you write is spoken aloud, word for word.
- Be brief: one or two short sentences, unless the other person asks for more.
- Write as people talk. No lists, headings, markdown, emoji, web addresses or stage directions.
- Write numbers, times, dates and prices the way they are said: half past three, twelve dollars \
fifty. Give codes and telephone numbers digit by digit.
- Ask one thing at a time and wait for the answer.
- What you read was heard over a telephone line and may be misheard: when it makes no sense, ask.
- Speak the other person's language.
- Square brackets tell you what happened on the line. Nobody said that; never use them yourself."""

_DIRECTIONS: Final = {
    "inbound": "The other person called you.",
    "outbound": "You called the other person.",
}
_ON_TOOLS: Final = (
    "Use your tools without talking about them, and claim only what a tool has told you."
)
_ON_ENDING: Final = (
    "When the conversation is over, say goodbye and call end_call in the same answer. Never call "
    "it before you have said goodbye, and never only say that you hang up."
)


def system_prompt(
    instructions: str | None, *, direction: str = "", tools: Collection[str] = ()
) -> str:
    """Everything a model is told before a conversation.

    Args:
        instructions: who it is and what it is to do; a friendly assistant when None.
        direction: of the call, `inbound` or `outbound`; anything else is not mentioned.
        tools: names of the tools it has.
    """
    lines = [(instructions or "").strip() or PERSONA, _MANNERS]
    if direction in _DIRECTIONS:
        lines.append(_DIRECTIONS[direction])
    if tools:
        lines.append(_ON_TOOLS)
    if "end_call" in tools:
        lines.append(_ON_ENDING)
    return "\n\n".join(lines)
