from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from voicecall.llm.actions import end_call, send_dtmf, transfer_call
from voicecall.llm.toolbox import Toolbox
from voicecall.llm.tools import Outcome, Tool, ToolContext
from voicecall.ports import HangUp, PressKeys, ToolCall, Transfer

if TYPE_CHECKING:
    from typing import Any

pytestmark = pytest.mark.unit

PLACES = {"sales": "+15550001111", "the workshop": "sip:workshop@example.com"}


def use(known: Tool, arguments: dict[str, Any]) -> Outcome:
    async def case() -> Outcome:
        call = ToolCall("1", known.spec.name, json.dumps(arguments))
        return await Toolbox([known]).use(call, ToolContext("c-1"))

    return asyncio.run(case())


def test_ending_the_call_is_an_action() -> None:
    outcome = use(end_call, {})
    assert end_call.spec.name == "end_call"
    assert outcome.action == HangUp()
    assert not outcome.output.startswith("Error")


def test_keys_are_pressed() -> None:
    assert send_dtmf.spec.name == "send_dtmf"
    assert use(send_dtmf, {"digits": "1w2#"}).action == PressKeys("1w2#")


@pytest.mark.parametrize("digits", ["", "abc", "1 2", "1" * 33])
def test_what_is_no_key_is_not_pressed(digits: str) -> None:
    outcome = use(send_dtmf, {"digits": digits})
    assert outcome.action is None
    assert outcome.output.startswith("Error: the arguments are not valid: digits")


def test_a_call_is_handed_on_by_the_name_of_the_place() -> None:
    known = transfer_call(PLACES)
    assert known.spec.name == "transfer_call"
    assert use(known, {"destination": "sales"}).action == Transfer("+15550001111")
    workshop = use(known, {"destination": "the workshop"})
    assert workshop.action == Transfer("sip:workshop@example.com")


def test_the_model_is_told_names_and_no_numbers() -> None:
    spec = transfer_call(PLACES).spec
    assert spec.parameters["properties"]["destination"]["enum"] == ["sales", "the workshop"]
    assert "5550001111" not in str(spec)


def test_a_call_is_handed_on_to_nobody_else() -> None:
    outcome = use(transfer_call(PLACES), {"destination": "+19005550199"})
    assert outcome.action is None
    assert outcome.output.startswith("Error: the arguments are not valid: destination")


def test_a_single_place_is_the_only_choice() -> None:
    known = transfer_call({"sales": "+15550001111"})
    assert use(known, {"destination": "sales"}).action == Transfer("+15550001111")
    assert use(known, {"destination": "Sales"}).action is None
