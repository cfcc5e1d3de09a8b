"""The original's files and names."""

from __future__ import annotations

from typing import Any

import pytest

from voicecall.config.openclaw import (
    HOST_KEYS,
    RENAMED,
    drop_host_keys,
    is_host_file,
    modernise,
    unwrap,
)
from voicecall.config.paths import fill, value_at
from voicecall.errors import ConfigError

pytestmark = pytest.mark.unit


def host_file(config: object, **rest: object) -> dict[str, Any]:
    return {"plugins": {"entries": {"voice-call": {"config": config}}}, **rest}


def test_a_host_file_is_known_by_its_plugins() -> None:
    assert is_host_file(host_file({}))
    assert not is_host_file({"provider": "mock"})


def test_our_part_is_taken_out_with_tts_laid_on_the_hosts() -> None:
    content = host_file(
        {"provider": "mock", "tts": {"openai": {"voice": "echo"}}},
        messages={"tts": {"provider": "openai", "openai": {"voice": "nova", "speed": 2}}},
        gateway={"port": 1},
    )
    assert unwrap(content) == {
        "provider": "mock",
        "tts": {"provider": "openai", "openai": {"voice": "echo", "speed": 2}},
    }


def test_forbidden_keys_are_merged_from_neither_side() -> None:
    content = host_file(
        {"tts": {"__proto__": {"provider": "x"}, "openai": {"constructor": 1}}},
        messages={"tts": {"prototype": 1, "openai": {"__proto__": 1, "voice": "nova"}}},
    )
    assert unwrap(content) == {"tts": {"openai": {"voice": "nova"}}}


def test_an_entry_that_the_host_has_switched_off_is_off() -> None:
    content = host_file({"enabled": True})
    content["plugins"]["entries"]["voice-call"]["enabled"] = False
    assert unwrap(content) == {"enabled": False}


@pytest.mark.parametrize(
    "content",
    [
        {"plugins": {}},
        {"plugins": []},
        {"plugins": {"entries": {"other": {"config": {}}}}},
        {"plugins": {"entries": {"voice-call": {"enabled": True}}}},
        {"plugins": {"entries": {"voice-call": {"config": "x"}}}},
    ],
)
def test_a_host_file_without_our_part_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r'plugins\.entries\["voice-call"\]\.config: must be'):
        unwrap(content)


@pytest.mark.parametrize("pattern", HOST_KEYS)
def test_each_host_key_is_dropped_and_listed_in_a_host_file_only(pattern: str) -> None:
    path = pattern.replace("*", "+15550001234")
    settings: dict[str, Any] = {"provider": "mock"}
    fill(settings, path, {"x": 1})
    assert drop_host_keys(settings, host_file=False) == []
    assert drop_host_keys(settings, host_file=True) == [path]
    assert value_at(settings, path) is None
    assert settings["provider"] == "mock"


def test_edge_is_dropped_from_every_file() -> None:
    settings: dict[str, Any] = {"tts": {"edge": {"voice": "x"}, "provider": "edge"}}
    assert drop_host_keys(settings, host_file=False) == ["tts.edge"]
    assert modernise(settings)[1] == [
        'tts.provider: "edge" cannot make telephone audio and is ignored'
    ]
    assert settings == {"tts": {}}


def test_the_log_provider_is_read_as_mock_with_a_warning() -> None:
    settings: dict[str, Any] = {"provider": "log"}
    _, warnings = modernise(settings)
    assert settings == {"provider": "mock"}
    assert warnings == ['provider: "log" is deprecated, it is read as "mock"']


@pytest.mark.parametrize(("old", "new"), list(RENAMED.items()))
def test_each_old_name_is_read_as_the_new_one_with_a_warning(old: str, new: str) -> None:
    settings: dict[str, Any] = {}
    fill(settings, old, "value")
    moved, warnings = modernise(settings)
    assert value_at(settings, new) == "value"
    assert value_at(settings, old) is None
    assert moved == {new: old}
    assert warnings == [f"{old}: is read as {new}, please rename it"]


@pytest.mark.parametrize(("old", "new"), list(RENAMED.items()))
def test_the_new_name_wins_over_the_old_one(old: str, new: str) -> None:
    settings: dict[str, Any] = {}
    fill(settings, new, "new")
    fill(settings, old, "old")
    moved, warnings = modernise(settings)
    assert value_at(settings, new) == "new"
    assert not moved
    assert warnings == [f"{old}: is ignored because {new} is set"]


def test_the_name_of_the_originals_recognition_is_understood() -> None:
    settings: dict[str, Any] = {"streaming": {"sttProvider": "openai-realtime"}}
    modernise(settings)
    assert settings["stt"] == {"provider": "openai"}


def test_nothing_old_gives_no_warning() -> None:
    settings: dict[str, Any] = {"provider": "mock", "stt": {"provider": "local"}, "tts": 3}
    assert modernise(settings) == ({}, [])
    assert settings == {"provider": "mock", "stt": {"provider": "local"}, "tts": 3}
