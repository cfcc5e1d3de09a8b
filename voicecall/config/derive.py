"""Defaults that depend on other keys.

Works on plain settings with camelCase keys, before they are validated, so that a finished
configuration has nothing left to resolve.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from voicecall.config.merge import deep_merge
from voicecall.config.paths import fill, value_at

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

# A key that is not set takes the value of another one.
INHERITED: Final[Mapping[str, str]] = {
    "streaming.bind": "serve.bind",
    "stt.silenceDurationMs": "silenceTimeoutMs",
    "stt.openai.apiKey": "openai.apiKey",
    "stt.openai.baseUrl": "openai.baseUrl",
    "stt.deepgram.apiKey": "deepgram.apiKey",
    "tts.openai.apiKey": "openai.apiKey",
    "tts.openai.baseUrl": "openai.baseUrl",
    "tts.elevenlabs.apiKey": "elevenlabs.apiKey",
}

# Sections of a number that say only what differs from the general one.
_PER_NUMBER = ("bargeIn", "stt", "tts", "realtime", "tools")
_OF_NUMBER = re.compile(rf"numbers\.[^.]*\.(?P<key>(?:{'|'.join(_PER_NUMBER)})\..*)")

LOCAL_RESPONDER: Final = "scripted/builtin"
REMOTE_RESPONDER: Final = "openai/gpt-6-luna"


def derive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in every default that depends on another key.

    Sections of the wrong type are left alone for validation to report.

    Returns:
        A new dict; `settings` is not changed.
    """
    resolved = deep_merge(settings, {})
    local = resolved.get("provider", "mock") == "mock"
    realtime = value_at(resolved, "realtime.enabled") is True
    speech = "local" if local else "openai"
    fill(resolved, "streaming.enabled", local or realtime)
    fill(resolved, "stt.provider", speech)
    fill(resolved, "tts.provider", speech)
    fill(resolved, "responseModel", LOCAL_RESPONDER if local else REMOTE_RESPONDER)
    for path, source in INHERITED.items():
        inherited = value_at(resolved, source)
        if inherited is not None:
            fill(resolved, path, inherited)
    _merge_sections_of_numbers(resolved)
    return resolved


def source_of(path: str, given: Container[str]) -> str:
    """The key that the value at `path` was taken from: `path` itself if it was given.

    Args:
        path: a key of a finished configuration.
        given: the keys that the file or the environment set.
    """
    if path in given:
        return path
    if in_number := _OF_NUMBER.match(path):
        path = in_number["key"]
    if path not in given and path in INHERITED:
        return INHERITED[path]
    return path


def _merge_sections_of_numbers(resolved: dict[str, Any]) -> None:
    numbers = resolved.get("numbers")
    if not isinstance(numbers, dict):
        return
    for number in numbers.values():
        if isinstance(number, dict):
            for section in _PER_NUMBER:
                general = resolved.get(section, {})
                if isinstance(number.get(section), dict) and isinstance(general, dict):
                    number[section] = deep_merge(general, number[section])
