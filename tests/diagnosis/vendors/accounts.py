"""Accounts with simulated carriers and services."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.diagnosis.scene import loaded
from voicecall.clock import SystemClock
from voicecall.diagnosis.vendors.carrier import questions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from voicecall.config.schema import Config
    from voicecall.diagnosis.vendors.carrier import CarrierQuestions

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
