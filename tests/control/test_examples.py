"""Examples are consistent with each other; `test_describe` runs them."""

from __future__ import annotations

import pytest

from voicecall.control import examples
from voicecall.control.examples import Example
from voicecall.control.methods import METHODS

pytestmark = pytest.mark.unit


def test_every_example_belongs_to_a_method() -> None:
    made = [value for value in vars(examples).values() if isinstance(value, Example)]
    used = [example for method in METHODS.values() for example in method.examples]
    assert {example.name for example in made} == {example.name for example in used}
    assert len(made) == len(used)
