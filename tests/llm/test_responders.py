from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from voicecall.errors import ConfigError
from voicecall.llm.persona import builtin_persona
from voicecall.llm.responders import responder
from voicecall.ports import ReplyRequest

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.ports import Responder

pytestmark = pytest.mark.unit


def greeting(answering: Responder) -> str:
    async def case() -> str:
        return "".join([str(part) async for part in answering.reply(ReplyRequest("c-1", ()))])

    return asyncio.run(case())


def test_the_built_in_persona_answers() -> None:
    assert greeting(responder("scripted/builtin")) == builtin_persona().greeting


def test_a_persona_file_answers(tmp_path: Path) -> None:
    file = tmp_path / "persona.json5"
    file.write_text("{greeting: 'Ahoy.'}")
    assert greeting(responder(f"scripted/{file}")) == "Ahoy."


def test_a_persona_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nobody.json5"
    with pytest.raises(ConfigError, match=r"nobody\.json5: cannot be read"):
        responder(f"scripted/{file}")


def test_a_service_that_is_not_there_is_named_with_what_is() -> None:
    with pytest.raises(ConfigError, match="responseModel: openai is not in this version; use"):
        responder("openai/some-model")
