"""Each action does its one thing."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from tests.agent.fakes import FakeControl, record, run
from voicecall.agent import actions
from voicecall.agent.actions import ACTIONS
from voicecall.call.record import CallState
from voicecall.errors import CallHasEnded, InvalidRequest, NotConnected

pytestmark = pytest.mark.unit


def act(name: str, control: FakeControl, **given: Any) -> dict[str, Any]:
    result = run(ACTIONS[name](control, given))
    jsonschema.validate(result, ACTIONS[name].result)
    return result


@pytest.mark.parametrize(
    ("name", "given", "asked", "result"),
    [
        (
            "initiate_call",
            {"message": " Hello. ", "to": "+15550002222", "mode": "conversation"},
            ("initiate", "Hello.", "+15550002222", "conversation"),
            {"callId": "c-1", "initiated": True},
        ),
        (
            "initiate_call",
            {"message": "Hello.", "to": None},
            ("initiate", "Hello.", None, None),
            {"callId": "c-1", "initiated": True},
        ),
        (
            "continue_call",
            {"callId": "c-1", "message": "Well?"},
            ("ask", "c-1", "Well?"),
            {"success": True, "transcript": "Fine."},
        ),
        (
            "speak_to_user",
            {"callId": "c-1", "message": "Bye."},
            ("speak", "c-1", "Bye."),
            {"success": True},
        ),
        (
            "send_dtmf",
            {"callId": "c-1", "digits": "1w#"},
            ("dtmf", "c-1", "1w#"),
            {"success": True},
        ),
        (
            "transfer_call",
            {"callId": "c-1", "to": "+15550003333"},
            ("transfer", "c-1", "+15550003333"),
            {"success": True},
        ),
        ("end_call", {"callId": "c-1"}, ("end", "c-1"), {"success": True}),
    ],
)
def test_an_action_does_its_one_thing(
    name: str, given: dict[str, Any], asked: tuple[str, ...], result: dict[str, Any]
) -> None:
    control = FakeControl(record())
    assert act(name, control, **given) == result
    assert control.asked == [asked]


def test_the_status_of_one_call_has_its_transcript_and_the_list_has_none() -> None:
    control = FakeControl(record(), record("c-2", state=CallState.BUSY))
    one = act("get_status", control, callId="c-2")
    assert one["found"] is True
    assert (one["call"]["callId"], one["call"]["ended"]) == ("c-2", True)
    assert len(one["call"]["transcript"]) == 2
    live = act("get_status", control)
    assert [each["callId"] for each in live["calls"]] == ["c-1"]
    assert "transcript" not in live["calls"][0]
    assert act("get_status", control, callId="c-9") == {"found": False}


@pytest.mark.parametrize("name", [name for name in ACTIONS if name != "get_status"])
def test_what_is_required_is_asked_for_and_nothing_is_done_without(name: str) -> None:
    action = ACTIONS[name]
    control = FakeControl(record())
    with pytest.raises(InvalidRequest, match=f"^{' and '.join(action.required)} required$"):
        run(action(control, {}))
    assert control.asked == []


def test_fields_of_other_actions_are_left_alone_but_unknown_ones_refused() -> None:
    control = FakeControl(record())
    assert act("end_call", control, callId="c-1", message=None, to="", digits="5")["success"]
    with pytest.raises(InvalidRequest, match=r"^unknown: mod; initiate_call takes message, to, mo"):
        run(ACTIONS["initiate_call"](control, {"message": "Hi.", "mod": "conversation"}))
    assert control.asked == [("end", "c-1")]


# --- a phone that still rings --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["continue_call", "speak_to_user", "send_dtmf"])
def test_what_needs_an_answered_call_waits_while_the_phone_rings(name: str) -> None:
    control = FakeControl(record(state=CallState.RINGING, answered_at=None))
    control.raises = [NotConnected("not answered yet"), NotConnected("not answered yet")]
    assert act(name, control, callId="c-1", message="Hi.", digits="1")["success"] is True
    assert len(control.asked) == 3
    assert len(set(control.asked)) == 1


def test_a_call_that_nobody_takes_ends_the_waiting() -> None:
    control = FakeControl(record(state=CallState.RINGING, answered_at=None))
    control.raises = [NotConnected("not answered yet"), CallHasEnded("it has ended")]
    with pytest.raises(CallHasEnded):
        run(ACTIONS["continue_call"](control, {"callId": "c-1", "message": "Hi."}))


def test_an_answered_call_on_which_nothing_can_be_said_is_tried_once_more_only() -> None:
    control = FakeControl(record())
    control.raises = [NotConnected("no media")] * 9
    with pytest.raises(NotConnected):
        run(ACTIONS["speak_to_user"](control, {"callId": "c-1", "message": "Hi."}))
    assert len(control.asked) == 2


def test_a_phone_that_rings_for_ever_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "ANSWER_WAIT_S", 0.0)
    control = FakeControl(record(state=CallState.RINGING, answered_at=None))
    control.raises = [NotConnected("not answered yet")] * 9
    with pytest.raises(NotConnected):
        run(ACTIONS["continue_call"](control, {"callId": "c-1", "message": "Hi."}))
    assert len(control.asked) == 1


# --- what models are told ------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_schemas_are_valid_and_match_what_is_taken(action: actions.Action) -> None:
    for schema in (action.schema(), action.result):
        jsonschema.Draft202012Validator.check_schema(schema)
    assert set(action.required) <= {param.name for param in action.params}
    assert set(action.schema()["properties"]) == {param.name for param in action.params}


def test_only_looking_changes_nothing_and_only_dialling_anew_is_never_harmless() -> None:
    assert [action.name for action in ACTIONS.values() if action.read_only] == ["get_status"]
    assert not ACTIONS["initiate_call"].idempotent
    assert ACTIONS["end_call"].idempotent
    assert ACTIONS["end_call"].destructive


@pytest.mark.parametrize("name", ["initiate_call", "transfer_call"])
@pytest.mark.parametrize(
    ("number", "fits"),
    [
        ("+15550001234", True),
        ("sip:desk@example.com", True),
        ("911", False),
        ("+911", False),
        ("5550001234", False),
        ("Jo", False),
    ],
)
def test_the_schema_knows_a_number_when_it_sees_one(name: str, number: str, fits: bool) -> None:
    schema = ACTIONS[name].schema()["properties"]["to"]
    assert jsonschema.Draft202012Validator(schema).is_valid(number) is fits
