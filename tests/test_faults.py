"""Errors that travel to a client are the same there."""

from __future__ import annotations

import inspect

import pytest

from voicecall import errors
from voicecall.control.errors import fault_of
from voicecall.faults import FAULTS, error_of, fault_for

pytestmark = pytest.mark.unit

RAISED = [
    *(
        kind("it went wrong", call_id="c-1")
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.CallError) and kind is not errors.CallError
    ),
    errors.CarrierError("busy", status=429, retryable=True),
    errors.CarrierError("gone", retryable=False),
    errors.SpeechError("no voice", retryable=True),
    errors.StoreError("the disk is full"),
    errors.RemoteError("something else"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_what_is_raised_at_the_server_is_raised_at_the_client(error: errors.VoicecallError) -> None:
    again = error_of(fault_of(error).to_json())
    assert type(again) is type(error)
    assert str(again) == str(error)
    for name in ("call_id", "status", "retryable", "code"):
        assert getattr(again, name, None) == getattr(error, name, None)


def test_names_and_numbers_are_unambiguous() -> None:
    assert all(FAULTS[name].name == name for name in FAULTS)
    own = [fault.number for fault in FAULTS.values() if fault.number > -32100]
    assert len(own) == len(set(own))
    assert all(-32099 <= number <= -32000 for number in own)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"code": -32602, "message": "params"}, errors.InvalidRequest),
        ({"code": -32601, "message": "no such method"}, errors.RemoteError),
        ({"code": 7, "message": "from the future", "data": {"code": "new"}}, errors.RemoteError),
        ({}, errors.RemoteError),
        ({"message": "x", "data": {"code": ["a"], "callId": 7}}, errors.RemoteError),
        ({"message": "x", "data": {"code": "unknown_call", "callId": 7}}, errors.UnknownCall),
    ],
)
def test_the_best_is_made_of_what_is_not_known(
    body: dict[str, object], kind: type[Exception]
) -> None:
    assert type(error_of(body)) is kind


def test_every_error_has_a_fault() -> None:
    assert fault_for(errors.ConfigError("x")).name == "failed"
