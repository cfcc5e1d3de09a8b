"""What the environment adds to the file: `${NAME}` in its strings, and credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from voicecall.config.paths import EMPTY_KEY, fill

# Which variable can supply which key. A value in the file wins.
VARIABLES: Final[Mapping[str, str]] = {
    "twilio.accountSid": "TWILIO_ACCOUNT_SID",
    "twilio.authToken": "TWILIO_AUTH_TOKEN",
    "telnyx.apiKey": "TELNYX_API_KEY",
    "telnyx.connectionId": "TELNYX_CONNECTION_ID",
    "telnyx.publicKey": "TELNYX_PUBLIC_KEY",
    "plivo.authId": "PLIVO_AUTH_ID",
    "plivo.authToken": "PLIVO_AUTH_TOKEN",
    "tunnel.ngrokAuthToken": "NGROK_AUTHTOKEN",
    "tunnel.ngrokDomain": "NGROK_DOMAIN",
    "openai.apiKey": "OPENAI_API_KEY",
    "openai.baseUrl": "OPENAI_BASE_URL",
    "elevenlabs.apiKey": "ELEVENLABS_API_KEY",
    "deepgram.apiKey": "DEEPGRAM_API_KEY",
}
FROM_NUMBER_VARIABLES: Final[Mapping[str, str]] = {"twilio": "TWILIO_FROM_NUMBER"}

# `$${NAME}` stands for the text `${NAME}`.
_REFERENCE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def variables_for(provider: object) -> dict[str, str]:
    """Variable by key, for the given carrier."""
    variables = dict(VARIABLES)
    if isinstance(provider, str) and provider in FROM_NUMBER_VARIABLES:
        variables["fromNumber"] = FROM_NUMBER_VARIABLES[provider]
    return variables


def supply(settings: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Fill credentials that `settings` lacks from the environment, in place.

    Blanks around a value are dropped; an empty variable counts as missing.

    Returns:
        The variable used, by key.
    """
    used = {}
    for path, variable in variables_for(settings.get("provider")).items():
        value = environ.get(variable, "").strip()
        if value and fill(settings, path, value):
            used[path] = variable
    return used


def expand(
    settings: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Replace `${NAME}` in every string value.

    Returns:
        A new dict, and by path a sentence for each value with a variable that is not set.
    """
    expansion = _Expansion(environ)
    return expansion.mapping(settings, ""), expansion.problems


class _Expansion:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: dict[str, str] = {}

    def mapping(self, section: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {
            key: self._value(value, f"{prefix}{key or EMPTY_KEY}") for key, value in section.items()
        }

    def _value(self, value: Any, path: str) -> Any:  # noqa: ANN401  (JSON: any type)
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, Mapping):
            return self.mapping(value, f"{path}.")
        if isinstance(value, list):
            return [self._value(item, f"{path}.{index}") for index, item in enumerate(value)]
        return value

    def _text(self, text: str, path: str) -> str:
        def replaced(reference: re.Match[str]) -> str:
            escape, name = reference.groups()
            if escape:
                return reference.group()[1:]
            if name not in self._environ:
                self.problems[path] = f"{path}: the environment variable {name} is not set"
                return reference.group()
            return self._environ[name]

        return _REFERENCE.sub(replaced, text)
