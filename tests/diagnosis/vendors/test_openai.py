"""What an OpenAI account says of its key and its models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.diagnosis.scene import run
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
