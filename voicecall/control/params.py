"""Parameters of RPC methods: what they are called, what they mean, and what is taken for one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from voicecall.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# More digits than any number here has; longer ones are not worth converting.
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class Text:
    """A parameter that is a string; it is trimmed, and an empty one counts as not given.

    Attributes:
        name: camelCase.
        description: for people.
        choices: what it may be; empty for anything.
    """

    name: str
    description: str
    choices: tuple[str, ...] = ()

    def schema(self, *, required: bool) -> dict[str, Any]:
        """Its JSON Schema."""
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        return {"type": "string", "pattern": r"\S"} if required else {"type": "string"}

    def read(self, value: object) -> str | None:
        """What was given, None for nothing. Raises InvalidRequest."""
        if not isinstance(value, str):
            raise InvalidRequest(f"{self.name} must be a string")
        text = value.strip()
        if text and self.choices and text not in self.choices:
            raise InvalidRequest(f"{self.name} must be {' or '.join(self.choices)}")
        return text or None


@dataclass(frozen=True, slots=True)
class Number:
    """A parameter that is a whole number; its digits as a string are taken, too.

    Attributes:
        name: camelCase.
        description: for people.
        least: the smallest taken.
        most: the greatest taken.
        default: what it is when it is not given.
    """

    name: str
    description: str
    least: int
    most: int
    default: int

    def schema(self, *, required: bool) -> dict[str, Any]:
        """Its JSON Schema."""
        bounds = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return bounds if required else {**bounds, "default": self.default}

    def read(self, value: object) -> int | None:
        """What was given, None for nothing. Raises InvalidRequest."""
        number = self._number(value)
        if isinstance(value, str) and not value.strip():
            return None
        if number is None or not self.least <= number <= self.most:
            raise InvalidRequest(f"{self.name} must be a whole number, {self.least} to {self.most}")
        return number

    def _number(self, value: object) -> int | None:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
            return int(value)
        return None


Param: TypeAlias = Text | Number


@dataclass(frozen=True, slots=True)
class Given:
    """Checked parameters by name.

    Attributes:
        texts: those that were given.
        numbers: those that were given, and the others' defaults.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)


def checked(
    params: Mapping[str, object], required: Sequence[Param], optional: Sequence[Param]
) -> Given:
    """The parameters that a method has; others are not looked at, and null counts as not given.

    Raises:
        InvalidRequest: a required one is missing or empty, or one is wrong.
    """
    texts: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for param in (*required, *optional):
        value = params.get(param.name)
        read = None if value is None else param.read(value)
        if isinstance(param, Number):
            numbers[param.name] = param.default if read is None else int(read)
        elif read is not None:
            texts[param.name] = str(read)
    names = [param.name for param in required]
    if any(name not in texts and name not in numbers for name in names):
        raise InvalidRequest(f"{' and '.join(names)} required", call_id=texts.get("callId"))
    return Given(texts, numbers)
