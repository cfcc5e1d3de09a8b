from __future__ import annotations

from itertools import product
from typing import get_args, get_type_hints

import pytest
from telnyx.types.call_hangup import Payload
from telnyx.types.calls.action_reject_params import ActionRejectParams

from voicecall.simulator.exchange import telnyx_hangup
from voicecall.simulator.exchange.line import Direction, Ending
from voicecall.simulator.exchange.party import Pickup
from voicecall.simulator.exchange.telnyx_hangup import ENDINGS, REJECTED, UNREACHED

pytestmark = pytest.mark.unit

EVERY = [
    *ENDINGS.values(),
    *UNREACHED.values(),
    *REJECTED.values(),
    telnyx_hangup.TIMEOUT,
    telnyx_hangup.TIME_LIMIT,
]


def documented(field: str) -> set[str]:
    optional = Payload.model_fields[field].annotation
    return set(get_args(get_args(optional)[0]))


def test_every_way_to_end_has_words() -> None:
    assert set(ENDINGS) == set(product(get_args(Direction), (True, False), get_args(Ending)))


def test_every_call_that_is_not_answered_has_words() -> None:
    assert set(get_args(Pickup)) - set(UNREACHED) == {"answer", "machine"}


def test_every_documented_rejection_has_words() -> None:
    assert set(REJECTED) == set(get_args(get_type_hints(ActionRejectParams)["cause"]))


def test_the_words_are_documented_ones() -> None:
    assert {hangup.cause for hangup in EVERY} <= documented("hangup_cause")
    assert {hangup.source for hangup in EVERY} <= documented("hangup_source")


def test_every_documented_cause_can_happen() -> None:
    assert {hangup.cause for hangup in EVERY} == documented("hangup_cause")
