"""Tools that act on the call itself: end it, press keys, hand it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from voicecall.llm.tools import Outcome, Tool, tool
from voicecall.ports import HangUp, PressKeys, Transfer

if TYPE_CHECKING:
    from collections.abc import Mapping

_Keys = Annotated[str, Field(pattern=r"^[0-9*#w]{1,32}$")]


@tool
async def end_call() -> Outcome:
    """End the telephone call. Only after both sides have said goodbye."""
    return Outcome("The call ends once your goodbye has been heard.", HangUp())


@tool
async def send_dtmf(digits: _Keys) -> Outcome:
    """Press keys of the telephone, as for the menu of a machine that answered.

    Args:
        digits: 0 to 9, * and #; each w waits half a second.
    """
    return Outcome(f"The keys {digits} are pressed.", PressKeys(digits))


def transfer_call(destinations: Mapping[str, str]) -> Tool:
    """A tool that hands the call on.

    Args:
        destinations: telephone numbers and SIP addresses by name, at least one. The model knows
            only the names, so that nobody can talk it into calling anybody else.
    """

    async def hand_on(destination: str) -> Outcome:
        """Hand the call on to somebody else. Tell the other person so before.

        Args:
            destination: to whom.
        """
        to = Transfer(destinations[destination])
        return Outcome(f"The call is handed on to {destination}.", to)

    hand_on.__annotations__["destination"] = Literal[tuple(sorted(destinations))]
    return tool(name="transfer_call")(hand_on)
