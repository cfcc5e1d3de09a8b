"""Which responder a configuration asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from voicecall.errors import ConfigError
from voicecall.llm.persona import builtin_persona, load_persona
from voicecall.llm.scripted import ScriptedResponder

if TYPE_CHECKING:
    from voicecall.ports import Responder


def responder(model: str) -> Responder:
    """The responder behind `model`, `<service>/<model>` as `responseModel` has it.

    Raises:
        ConfigError: this version has no such service, or its persona cannot be read.
    """
    service, _, name = model.partition("/")
    if service != "scripted":
        raise ConfigError(
            f"responseModel: {service} is not in this version; use scripted/builtin or "
            "scripted/<persona file>"
        )
    persona = builtin_persona() if name == "builtin" else load_persona(Path(name))
    return ScriptedResponder(persona)
