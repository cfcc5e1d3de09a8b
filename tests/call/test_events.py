from __future__ import annotations

import dataclasses

import pytest

from tests.call.calls import event
from voicecall.call import events
from voicecall.call.machine import Input

pytestmark = pytest.mark.unit

KINDS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, events.CallEvent) and kind.type != "call"
]


def test_every_kind_of_event_has_a_type_of_its_own_that_the_machine_knows() -> None:
    types = [kind.type for kind in KINDS]
    assert len(set(types)) == len(types)
    assert {known.value.split(",")[0] for known in Input} == set(types)


def test_events_do_not_change() -> None:
    ringing = event(events.CallRinging)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ringing.timestamp = 1  # type: ignore[misc]  # that it is refused is the point
