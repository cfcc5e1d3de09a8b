"""Deep-merging."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.config.merge import FORBIDDEN_KEYS, deep_merge

pytestmark = pytest.mark.unit

_keys = st.sampled_from(["a", "b", "c", *sorted(FORBIDDEN_KEYS)])
_trees = st.recursive(
    st.none() | st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)
_objects = st.dictionaries(_keys, _trees, max_size=4)


def keys_of(value: object) -> set[str]:
    if not isinstance(value, dict):
        return set()
    return set(value) | {key for inner in value.values() for key in keys_of(inner)}


def test_objects_merge_key_by_key_and_everything_else_is_replaced() -> None:
    base = {"openai": {"voice": "nova", "speed": 1}, "list": [1, 2], "only": 1}
    over = {"openai": {"voice": "echo"}, "list": [3], "new": {"x": 1}}
    assert deep_merge(base, over) == {
        "openai": {"voice": "echo", "speed": 1},
        "list": [3],
        "only": 1,
        "new": {"x": 1},
    }


def test_an_object_and_a_plain_value_replace_each_other() -> None:
    assert deep_merge({"a": {"b": 1}}, {"a": 2}) == {"a": 2}
    assert deep_merge({"a": 2}, {"a": {"b": 1}}) == {"a": {"b": 1}}


@pytest.mark.parametrize("key", sorted(FORBIDDEN_KEYS))
def test_forbidden_keys_are_never_merged(key: str) -> None:
    harmful = {"tts": {key: {"polluted": True}, "openai": {key: 1, "voice": "x"}}}
    wanted = {"tts": {"openai": {"voice": "x"}}}
    assert deep_merge({}, harmful) == wanted
    assert deep_merge(harmful, {}) == wanted
    assert deep_merge({"tts": {"openai": {"voice": "y"}}}, harmful) == wanted


@given(_objects, _objects)
def test_no_forbidden_key_survives_at_any_depth(base: dict[str, Any], over: dict[str, Any]) -> None:
    assert not keys_of(deep_merge(base, over)) & FORBIDDEN_KEYS


@given(_objects)
def test_merging_copies_and_merging_with_itself_changes_nothing(tree: dict[str, Any]) -> None:
    copy = deep_merge(tree, {})
    assert deep_merge(tree, tree) == copy
    for key, value in copy.items():
        if isinstance(value, dict):
            assert value is not tree[key]
