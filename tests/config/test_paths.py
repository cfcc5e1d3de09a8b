"""Settings addressed by dotted paths."""

from __future__ import annotations

from typing import Any

import pytest

from voicecall.config.paths import fill, leaves, matching, pop, value_at

pytestmark = pytest.mark.unit


def test_a_value_is_found_by_its_path() -> None:
    settings = {"a": {"b": {"c": 1}}, "d": [1]}
    assert value_at(settings, "a.b.c") == 1
    assert value_at(settings, "a.x.c") is None
    assert value_at(settings, "d.0") is None


def test_filling_makes_sections_but_never_overwrites() -> None:
    settings: dict[str, Any] = {"a": {"kept": 0}, "b": 3, "n": None}
    assert fill(settings, "a.new.x", 1)
    assert not fill(settings, "a.kept", 1)
    assert not fill(settings, "b.x", 1)
    assert fill(settings, "n.x", 1)
    assert settings == {"a": {"kept": 0, "new": {"x": 1}}, "b": 3, "n": {"x": 1}}


def test_a_star_matches_any_one_key() -> None:
    settings = {"numbers": {"+1": {"tts": {"auto": 1}}, "+2": {"tts": {}}, "+3": 5}}
    assert matching(settings, "numbers.*.tts") == ["numbers.+1.tts", "numbers.+2.tts"]
    assert matching(settings, "numbers.*.tts.auto") == ["numbers.+1.tts.auto"]
    assert matching(settings, "tts.auto") == []


def test_popping_takes_one_value_out() -> None:
    settings: dict[str, Any] = {"a": {"b": 1}, "c": 2}
    assert pop(settings, "a.b") == 1
    assert pop(settings, "c") == 2
    assert pop(settings, "x.y") is None
    assert settings == {"a": {}}


def test_leaves_are_all_values_that_are_not_objects() -> None:
    settings = {"a": {"b": 1, "c": {}}, "d": [{"e": 1}]}
    assert list(leaves(settings)) == [("a.b", 1), ("d", [{"e": 1}])]
