"""Files and keys of the original plugin: they keep working as they are.

Source: the configuration section of the OpenClaw voice-call plugin's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from voicecall.config.merge import deep_merge
from voicecall.config.paths import fill, matching, pop, value_at
from voicecall.errors import ConfigError

ENTRY: Final = 'plugins.entries["voice-call"]'

# What the keys of the original are called here.
RENAMED: Final[Mapping[str, str]] = {
    "twilio.from": "fromNumber",
    "stt.model": "stt.openai.model",
    "streaming.sttProvider": "stt.provider",
    "streaming.sttModel": "stt.openai.model",
    "streaming.openaiApiKey": "stt.openai.apiKey",
    "streaming.silenceDurationMs": "stt.silenceDurationMs",
    "streaming.vadThreshold": "stt.vadThreshold",
}
_STT_PROVIDERS: Final = {"openai-realtime": "openai"}
# Synthesis that gives no telephone audio, by the names the host has had for it.
_UNUSABLE_TTS: Final = ("edge", "microsoft")

_HOST_TTS_KEYS: Final = (
    "auto",
    "enabled",
    "maxTextLength",
    "mode",
    "modelOverrides",
    "persona",
    "personas",
    "prefsPath",
    "providers",
    "summaryModel",
    "timeoutMs",
    "elevenlabs.applyTextNormalization",
    "elevenlabs.languageCode",
    "elevenlabs.seed",
)
# Keys that mean something to the host only. `*` stands for any one key.
HOST_KEYS: Final = (
    "agentId",
    "numbers.*.agentId",
    "realtime.consultPolicy",
    "realtime.fastContext",
    "realtime.providers",
    "realtime.streamPath",
    "realtime.toolPolicy",
    "streaming.provider",
    "streaming.providers",
    *(f"tts.{key}" for key in _HOST_TTS_KEYS),
    *(f"numbers.*.tts.{key}" for key in _HOST_TTS_KEYS),
)
_IGNORED_EVERYWHERE: Final = tuple(
    f"{section}.{name}" for section in ("tts", "numbers.*.tts") for name in _UNUSABLE_TTS
)


def is_host_file(content: Mapping[str, Any]) -> bool:
    """Whether a file is the host's, with our configuration somewhere inside."""
    return "plugins" in content


def unwrap(content: Mapping[str, Any]) -> dict[str, Any]:
    """Our part of a host's file, `tts` laid on the host's `messages.tts`.

    Raises:
        ConfigError: the file has no such part.
    """
    entry = value_at(content, "plugins.entries.voice-call")
    config = entry.get("config") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(config, Mapping):
        raise ConfigError(f"{ENTRY}.config: must be an object; it holds the configuration")
    base: dict[str, Any] = {}
    host_tts = value_at(content, "messages.tts")
    if isinstance(host_tts, Mapping):
        base["tts"] = host_tts
    settings = deep_merge(base, config)
    if entry.get("enabled") is False:
        settings["enabled"] = False
    return settings


def drop_host_keys(settings: dict[str, Any], *, host_file: bool) -> list[str]:
    """Take keys out, in place, that mean nothing here; the paths of those there were."""
    patterns = (*HOST_KEYS, *_IGNORED_EVERYWHERE) if host_file else _IGNORED_EVERYWHERE
    dropped = [path for pattern in patterns for path in matching(settings, pattern)]
    for path in dropped:
        pop(settings, path)
    return dropped


def modernise(settings: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Turn the original's names and values into ours, in place.

    Returns:
        The old key by the new one it was read as, and a warning for each change.
    """
    moved, warnings = {}, []
    if value_at(settings, "provider") == "log":
        settings["provider"] = "mock"
        warnings.append('provider: "log" is deprecated, it is read as "mock"')
    for old, new in RENAMED.items():
        if not matching(settings, old):
            continue
        value = pop(settings, old)
        if old == "streaming.sttProvider":
            value = _STT_PROVIDERS.get(value, value) if isinstance(value, str) else value
        if fill(settings, new, value):
            moved[new] = old
            warnings.append(f"{old}: is read as {new}, please rename it")
        else:
            warnings.append(f"{old}: is ignored because {new} is set")
    for path in (
        *matching(settings, "tts.provider"),
        *matching(settings, "numbers.*.tts.provider"),
    ):
        if value_at(settings, path) in _UNUSABLE_TTS:
            name = pop(settings, path)
            warnings.append(f'{path}: "{name}" cannot make telephone audio and is ignored')
    return moved, warnings
