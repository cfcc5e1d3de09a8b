"""What a model passes: untrusted, and to be refused in words that it can act on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from voicecall.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LENGTH: Final = 100_000
"""Characters of arguments in JSON that are looked at; more than anything sensible can be."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter, a string.

    Attributes:
        name: camelCase.
        description: for models.
        max_length: characters, after trimming.
        choices: what it may be; empty for anything.
        pattern: what it has to look like, for models; the server checks it.
    """

    name: str
    description: str
    max_length: int
    choices: tuple[str, ...] = ()
    pattern: str | None = None

    def schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        made: dict[str, Any] = {"type": "string", "description": self.description}
        if self.choices:
            return made | {"enum": list(self.choices)}
        made["maxLength"] = self.max_length
        return made | {"pattern": self.pattern} if self.pattern else made

    def check(self, value: object) -> str:
        """The value, trimmed. Raises InvalidRequest."""
        if not isinstance(value, str):
            raise InvalidRequest(f"{self.name} must be a string")
        text = value.strip()
        if self.choices and text and text not in self.choices:
            raise InvalidRequest(f"{self.name} must be {' or '.join(self.choices)}")
        if len(text) > self.max_length:
            raise InvalidRequest(f"{self.name} must have at most {self.max_length} characters")
        try:
            text.encode()
        except UnicodeEncodeError:
            # Half a pair of surrogates, which JSON can hold and no other text.
            raise InvalidRequest(f"{self.name} holds characters that are none") from None
        return text


def parsed(arguments: object) -> dict[str, object]:
    """Arguments as an object, from JSON or as they are.

    Raises:
        InvalidRequest: they are neither JSON nor an object.
    """
    if isinstance(arguments, str):
        arguments = _decoded(arguments)
    if not isinstance(arguments, Mapping):
        raise InvalidRequest("the arguments must be a JSON object")
    return {str(name): value for name, value in arguments.items()}


def _decoded(text: str) -> object:
    if len(text) > MAX_LENGTH:
        raise InvalidRequest(f"the arguments must have at most {MAX_LENGTH} characters")
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest("the arguments are not valid JSON") from None
    return decoded


def checked(
    given: Mapping[str, object], params: Sequence[Param], required: Sequence[str]
) -> dict[str, str]:
    """The parameters that were given, trimmed; null and empty ones count as not given.

    Args:
        given: by name; names that are no parameters are for the caller to refuse.
        params: those to look at.
        required: names of those that must be given.

    Raises:
        InvalidRequest: one is missing, or not what it has to be.
    """
    values: dict[str, str] = {}
    for param in params:
        value = given.get(param.name)
        if value is not None and (text := param.check(value)):
            values[param.name] = text
    if any(name not in values for name in required):
        raise InvalidRequest(f"{' and '.join(required)} required", call_id=values.get("callId"))
    return values
