from __future__ import annotations

import asyncio

import openai
import pytest

from tests.simulator.models.serving import serving
from voicecall.simulator.models.faults import Refuse

pytestmark = pytest.mark.socket


def test_models_are_listed_with_their_last_day() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            models = {model.id: model async for model in client.models.list()}
            assert models["gpt-realtime-2.1"].shutdown_date is None
            assert models["gpt-4o-mini-tts"].shutdown_date == "2027-01-06"
            assert (await client.models.retrieve("gpt-6-luna")).owned_by == "simulated"
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("no-such-model")

    asyncio.run(case())


def test_the_list_needs_the_key_and_can_be_refused() -> None:
    async def case() -> None:
        async with serving(api_key="wrong") as (_, client):
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        async with serving() as (server, client):
            server.faults.add("models", Refuse(500))
            with pytest.raises(openai.InternalServerError):
                await client.models.list()

    asyncio.run(case())
