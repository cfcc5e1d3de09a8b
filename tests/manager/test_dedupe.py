from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.manager.dedupe import SeenKeys

pytestmark = pytest.mark.unit


def test_a_key_is_new_once() -> None:
    seen = SeenKeys[str](10)
    assert seen.add("a")
    assert not seen.add("a")
    assert "a" in seen
    assert "b" not in seen


def test_the_oldest_key_makes_room() -> None:
    seen = SeenKeys[int](3)
    assert all(seen.add(n) for n in range(4))
    assert [n in seen for n in range(4)] == [False, True, True, True]


def test_a_memory_needs_room() -> None:
    with pytest.raises(ValueError, match="room"):
        SeenKeys[str](0)


@given(st.lists(st.integers(0, 8)), st.integers(1, 5))
def test_it_knows_exactly_the_newest_keys(keys: list[int], capacity: int) -> None:
    seen, slow = SeenKeys[int](capacity), list[int]()
    for key in keys:
        assert seen.add(key) == (key not in slow)
        slow = [*slow, *([] if key in slow else [key])][-capacity:]
        assert len(seen) == len(slow) <= capacity
