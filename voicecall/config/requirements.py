"""What the chosen carrier and speech services need, all of it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from voicecall.config.environment import VARIABLES, variables_for
from voicecall.config.paths import value_at
from voicecall.config.public_key import ed25519_public_key

if TYPE_CHECKING:
    from collections.abc import Mapping

CARRIER_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "twilio": ("twilio.accountSid", "twilio.authToken", "fromNumber"),
    "telnyx": ("telnyx.apiKey", "telnyx.connectionId", "telnyx.publicKey", "fromNumber"),
    "plivo": ("plivo.authId", "plivo.authToken", "fromNumber"),
}
_SPEECH_KEYS: Final[Mapping[tuple[str, str], str]] = {
    ("stt", "openai"): "openai.apiKey",
    ("stt", "deepgram"): "deepgram.apiKey",
    ("tts", "openai"): "openai.apiKey",
    ("tts", "elevenlabs"): "elevenlabs.apiKey",
}


def missing(settings: Mapping[str, Any]) -> list[str]:
    """Problems with what the carrier needs: one for each key that is missing or unusable.

    A configuration that is switched off needs nothing.

    Args:
        settings: plain settings, the environment's included.
    """
    provider = settings.get("provider", "mock")
    if settings.get("enabled") is False or not isinstance(provider, str):
        return []
    variables = variables_for(provider)
    problems = []
    for path in CARRIER_NEEDS.get(provider, ()):
        value = value_at(settings, path)
        if path == "telnyx.publicKey" and settings.get("skipSignatureVerification") is True:
            continue
        if value is None:
            variable = f" or in {variables[path]}" if path in variables else ""
            problems.append(
                f'{path}: is required for provider "{provider}"; set it in the file{variable}'
            )
        elif path == "telnyx.publicKey":
            problems += _unusable_public_key(path, value)
    return problems


def _unusable_public_key(path: str, value: object) -> list[str]:
    try:
        ed25519_public_key(value if isinstance(value, str) else "")
    except ValueError as error:
        return [f"{path}: {error}"]
    return []


def unready_speech(settings: Mapping[str, Any]) -> list[str]:
    """Warnings about speech services and a language model that have no key.

    Not errors: a compatible server may need none, and calls without media streaming use the
    carrier's own speech.

    Args:
        settings: plain settings with all derived defaults.
    """
    return [
        f"{kind}.{service}.apiKey: is not set; {kind} needs it, here or in {VARIABLES[source]}"
        for (kind, service), source in _SPEECH_KEYS.items()
        if value_at(settings, f"{kind}.provider") == service
        and value_at(settings, f"{kind}.{service}.apiKey") is None
        and value_at(settings, f"{kind}.{service}.baseUrl") is None
    ]
