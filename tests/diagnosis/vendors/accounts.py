"""Accounts with simulated carriers and services."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.diagnosis.scene import loaded
from voicecall.clock import SystemClock
from voicecall.diagnosis.vendors.carrier import questions
from voicecall.simulator.exchange.http import HttpResponse, HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from voicecall.config.schema import Config
    from voicecall.diagnosis.vendors.carrier import CarrierQuestions
    from voicecall.simulator.exchange.http import HttpRequest

US = "+15550001111"
WEBHOOK = "https://calls.example.com/voice/webhook"


def configured(folder: Path, carrier: str, account: Mapping[str, Any], **more: Any) -> Config:
    """A configuration that leads to a simulated carrier."""
    return loaded(
        folder,
        provider=carrier,
        fromNumber=US,
        publicUrl="https://calls.example.com",
        openai={"apiKey": "sk-1"},
        **{carrier: dict(account)},
        **more,
    ).config


@asynccontextmanager
async def asked(config: Config) -> AsyncIterator[CarrierQuestions]:
    asking = questions(config, SystemClock(), 10)
    assert asking is not None
    try:
        yield asking
    finally:
        await asking.close()


@asynccontextmanager
async def answering(**answers: tuple[int, object]) -> AsyncIterator[str]:
    """A server that gives an answer to each path, by its last part; where it is."""

    async def answer(request: HttpRequest) -> HttpResponse:
        name = request.segments[-1].removesuffix(".json").replace("-", "_")
        status, body = answers.get(name, answers.get("other", (404, {})))
        return HttpResponse(status, json.dumps(body).encode())

    async with HttpServer(answer) as server:
        yield server.url
