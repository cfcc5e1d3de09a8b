"""Personas: who a scripted responder is, and what it answers to what.

A persona is a JSON5 file. It needs no model, costs nothing and says the same thing every time, so
demonstrations and tests run on it.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path  # noqa: TC003  (a public signature)
from typing import TYPE_CHECKING, Annotated, Any

import json5
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from voicecall.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_PERSONA_OCTETS = 1024 * 1024
"""Nobody writes a larger one by hand; a wrong path should not fill the memory."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _compilable(phrase: str) -> str:
    if _is_regex(phrase):
        try:
            re.compile(phrase[1:-1])
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
    elif not words(phrase):
        raise ValueError("holds no word")
    return phrase


def _is_regex(phrase: str) -> bool:
    return len(phrase) > 2 and phrase[0] == phrase[-1] == "/"  # noqa: PLR2004  (two slashes)


def words(text: str) -> frozenset[str]:
    """The words of `text`, in lower case and without punctuation, as a set."""
    return frozenset(
        re.findall(r"[\w']+", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    )


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Texts = Annotated[tuple[_Text, ...], BeforeValidator(_as_list)]
_Phrase = Annotated[_Text, AfterValidator(_compilable)]
_Phrases = Annotated[tuple[_Phrase, ...], BeforeValidator(_as_list)]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=_camel, validate_by_name=True
    )


class Rule(_Model):
    """What is answered to one kind of thing the caller may say or press.

    Attributes:
        match: phrases, any of which is enough. All words of a phrase have to occur, in any order;
            a phrase between slashes is a regular expression, searched ignoring case.
        digit: keys that trigger the rule.
        reply: what is said; several are used in order, one each time.
        hang_up: end the call once the reply has been heard. Without a reply the persona's farewell
            is said.
    """

    match: _Phrases = ()
    digit: Annotated[str, StringConstraints(pattern=r"^[0-9A-D*#]+$")] | None = None
    reply: _Texts = ()
    hang_up: bool = False

    @model_validator(mode="after")
    def _is_reachable_and_does_something(self) -> Rule:
        if not self.match and self.digit is None:
            raise ValueError("needs match or digit")
        if not self.reply and not self.hang_up:
            raise ValueError("needs reply or hangUp")
        return self

    def matches(self, text: str) -> bool:
        """Whether the caller's words trigger this rule."""
        said = words(text)
        return any(
            re.search(phrase[1:-1], text, re.IGNORECASE) is not None
            if _is_regex(phrase)
            else words(phrase) <= said
            for phrase in self.match
        )


class Persona(_Model):
    """Who the responder is.

    Attributes:
        greeting: what is said before anybody else has spoken.
        rules: tried in order; the first that matches answers.
        fallback: what is said when none matches; several are used in order.
        farewell: what is said before hanging up when the rule itself says nothing.
    """

    greeting: _Text
    rules: tuple[Rule, ...] = ()
    fallback: Annotated[_Texts, Field(min_length=1)] = ("I am sorry, I did not get that.",)
    farewell: _Text = "Goodbye."


def load_persona(path: Path) -> Persona:
    """Read a persona file.

    Args:
        path: a JSON5 file in UTF-8, at most 1 MiB.

    Returns:
        The persona.

    Raises:
        ConfigError: it cannot be read or is not a persona; says where and why.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PERSONA_OCTETS + 1)
        if len(raw) > MAX_PERSONA_OCTETS:
            raise ConfigError(f"{path}: larger than {MAX_PERSONA_OCTETS} octets")
        return parse_persona(raw.decode(), origin=str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error


def builtin_persona() -> Persona:
    """The receptionist that comes with the package."""
    file = resources.files("voicecall.llm").joinpath("builtin.json5")
    return parse_persona(file.read_text("utf-8"), origin="scripted/builtin")


def parse_persona(text: str, *, origin: str) -> Persona:
    """Make a persona from JSON5 text.

    Args:
        text: the file's content.
        origin: what to call it in errors.

    Raises:
        ConfigError: one problem for each wrong key, each naming its path.
    """
    try:
        data: Any = json5.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: not JSON5: {error}") from error
    try:
        return Persona.model_validate(data)
    except ValidationError as error:
        raise ConfigError(*(_problem(origin, detail) for detail in error.errors())) from error


def _problem(origin: str, detail: ErrorDetails) -> str:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]
    ).lstrip(".")
    return f"{origin}: {path or 'the whole file'}: {detail['msg'].removeprefix('Value error, ')}"
