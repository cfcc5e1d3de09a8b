from __future__ import annotations

import pytest

from voicecall.clock import ManualClock
from voicecall.simulator.models.brain import Brain
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.world import MAX_RECEIVED, World

pytestmark = pytest.mark.unit


def a_world() -> World:
    return World(InstantEngines(), Brain(), ManualClock(), "key")


def test_requests_are_remembered_by_service_the_oldest_forgotten_first() -> None:
    world = a_world()
    world.note("speech", "/s", {"n": -1}, {})
    for number in range(MAX_RECEIVED):
        world.note("chat", "/c", {"n": number}, {})
    assert world.received("speech") == []
    chats = world.received("chat")
    assert [chats[0].body["n"], chats[-1].body["n"]] == [0, MAX_RECEIVED - 1]


def test_only_the_key_is_the_key() -> None:
    world = a_world()
    assert world.authorized({"authorization": "Bearer key"})
    assert not world.authorized({"authorization": "Bearer other"})
    assert not world.authorized({})
