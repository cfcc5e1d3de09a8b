"""What an OpenAI account says of its key and its models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.diagnosis.scene import run
from tests.diagnosis.vendors.accounts import answering
from tests.hosting import free_port
from tests.simulator.models.serving import serving
from voicecall.diagnosis.services import Account, Service
from voicecall.diagnosis.vendors.openai import look_at_openai

if TYPE_CHECKING:
    from voicecall.diagnosis.check import Finding

pytestmark = pytest.mark.socket


async def look(base_url: str | None, key: str | None, *models: str) -> Finding:
    account = Account("openai.apiKey", SecretStr(key) if key else None, base_url)
    uses = tuple(("responseModel", model) for model in models)
    return await look_at_openai(Service("openai", account, uses), 10)


def test_a_key_that_is_accepted_and_models_that_are_there_are_told() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            models = [model.id async for model in client.models.list()]
            finding = await look(server.base_url, server.world.api_key, models[0])
            assert finding.status == "ok"
            assert models[0] in finding.found
            missing = await look(server.base_url, server.world.api_key, "gpt-0")
            assert missing.status == "fail"
            assert "gpt-0" in missing.found

    run(case())


def test_a_key_that_is_not_accepted_is_told_and_not_shown() -> None:
    async def case() -> None:
        async with serving() as (server, _):
            finding = await look(server.base_url, "sk-secret", "gpt-6-luna")
            assert finding.status == "fail"
            assert "openai.apiKey is not accepted" in finding.found
            assert "sk-secret" not in f"{finding}"

    run(case())


def test_without_a_key_nobody_is_asked() -> None:
    async def case() -> None:
        finding = await look(None, None, "gpt-6-luna")
        assert finding.status == "fail"
        assert "OPENAI_API_KEY" in str(finding.remedy)

    run(case())


def test_a_compatible_server_may_list_its_models_only() -> None:
    async def case() -> None:
        listed = {"object": "list", "data": [{"id": "llama", "object": "model"}]}
        async with answering(models=(200, listed)) as url:
            assert (await look(url, None, "llama")).status == "ok"
            missing = await look(url, None, "llama", "gpt-6-luna")
        assert (missing.status, missing.found) == (
            "fail",
            "responseModel: there is no model gpt-6-luna",
        )

    run(case())


@pytest.mark.parametrize(
    ("status", "found", "told", "remedy"),
    [
        (404, "warn", "has no list of models", "voicecall smoke"),
        (403, "warn", "may not look at models", "voicecall smoke"),
        (401, "fail", "openai.apiKey is not accepted", "OPENAI_API_KEY"),
        (500, "fail", "", "openai.baseUrl"),
    ],
)
def test_a_server_that_does_not_tell_is_told_by_its_answer(
    status: int, found: str, told: str, remedy: str
) -> None:
    async def case() -> None:
        async with answering(other=(status, {"error": {"message": "no"}})) as url:
            finding = await look(url, "sk-1", "gpt-6-luna")
        assert finding.status == found
        assert told in finding.found
        assert remedy in str(finding.remedy)

    run(case())


def test_nobody_there_is_told_with_what_to_check() -> None:
    async def case() -> None:
        finding = await look(f"http://127.0.0.1:{free_port()}/v1", "sk-1", "gpt-6-luna")
        assert finding.status == "fail"
        assert "openai.baseUrl and the network" in str(finding.remedy)

    run(case())
