from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.llm.modelserver import ChatApi, ModelServer, ResponsesApi, events_of, run, sends
from voicecall.config.schema import OpenAIAccount, Tools
from voicecall.errors import ConfigError, SpeechError
from voicecall.llm.persona import builtin_persona
from voicecall.llm.replies import ModelResponder
from voicecall.llm.responders import responder, toolbox
from voicecall.llm.tools import tool
from voicecall.ports import ReplyRequest

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.ports import Responder

pytestmark = pytest.mark.socket

RESPONSES, CHAT = ResponsesApi(), ChatApi()


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
    with pytest.raises(ConfigError, match="responseModel: oracle is not in this version; use open"):
        responder("oracle/some-model")


@pytest.mark.parametrize(
    ("settings", "api"),
    [({}, CHAT), ({"api": "chat"}, CHAT), ({"api": "responses"}, RESPONSES)],
    ids=["auto", "chat", "responses"],
)
def test_a_compatible_server_answers(settings: dict[str, Any], api: Any) -> None:
    async def case() -> None:
        async with ModelServer(sends(*events_of(api, "Ahoy."))) as server:
            account = OpenAIAccount(base_url=server.base_url, **settings)
            answering = responder("openai/some/model", account=account, instructions="A sailor.")
            assert isinstance(answering, ModelResponder)
            await answering.prepare()
            parts = [part async for part in answering.reply(ReplyRequest("c-1", ()))]
            await answering.close()
            (asked,) = server.asked
            assert parts == ["Ahoy."]
            assert asked.path == api.path
            assert api.check(asked)["model"] == "some/model"
            assert "A sailor." in str(asked.body)
            assert "tools" not in asked.body

    run(case())


def test_openai_itself_needs_a_key() -> None:
    with pytest.raises(SpeechError, match=r"openai\.apiKey is not set"):
        greeting(responder("openai/some-model"))


@pytest.mark.parametrize(("api", "kind"), [("auto", "Responses"), ("chat", "Chat")])
def test_openai_itself_is_asked_by_its_own_api(api: Any, kind: str) -> None:
    answering = responder("openai/some-model", account=OpenAIAccount(api=api))
    assert isinstance(answering, ModelResponder)
    assert type(answering._model).__name__ == f"{kind}Model"


def names(settings: Tools, *own: Any) -> list[str]:
    return [spec.name for spec in toolbox(settings, own).specs()]


def test_by_default_a_model_may_end_the_call_and_press_keys() -> None:
    assert names(Tools()) == ["end_call", "send_dtmf"]


def test_what_a_model_may_do_is_configured() -> None:
    settings = Tools(end_call=False, send_dtmf=False, transfer={"sales": "+15550001111"})
    assert names(settings) == ["transfer_call"]
    assert names(Tools(end_call=False, send_dtmf=False)) == []


def test_a_programs_own_tools_are_added() -> None:
    @tool
    async def clock() -> str:
        return "noon"

    assert names(Tools(), clock) == ["end_call", "send_dtmf", "clock"]


def test_a_programs_own_tool_cannot_take_a_name_that_is_taken() -> None:
    @tool
    async def end_call() -> None: ...

    with pytest.raises(ConfigError, match="two of them are named end_call"):
        toolbox(Tools(), [end_call])


def test_servers_of_tools_are_connected_when_it_is_prepared(tmp_path: Path) -> None:
    mcp = {"far": {"command": [str(tmp_path / "nothing")]}}
    box = toolbox(Tools.model_validate({"mcp": mcp}))
    with pytest.raises(SpeechError, match=r"tools\.mcp\.far: cannot be connected"):
        run(box.prepare())
