"""What a Deepgram account says of its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.diagnosis.scene import network, run
from tests.hosting import free_port
from tests.simulator.models.serving import serving
from voicecall.diagnosis.services import Account, Service
from voicecall.diagnosis.vendors.deepgram import look_at_deepgram
from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from voicecall.diagnosis.check import Finding

pytestmark = pytest.mark.socket


async def look(base_url: str, key: str | None) -> Finding:
    account = Account("deepgram.apiKey", SecretStr(key) if key else None, base_url)
    return await look_at_deepgram(Service("deepgram", account), network())


def test_a_key_is_tried() -> None:
    async def case() -> None:
        async with serving() as (server, _):
            url = server.base_url.removesuffix("/v1")
            assert (await look(url, server.world.api_key)).status == "ok"
            # As it is written for the sockets of the same server.
            assert (await look(f"{url}/v1", server.world.api_key)).status == "ok"
            refused = await look(url, "wrong")
            assert refused.status == "fail"
            assert "DEEPGRAM_API_KEY" in str(refused.remedy)
            assert (await look(f"{url}/nowhere", server.world.api_key)).status == "warn"
            assert (await look(url, None)).status == "fail"
        with pytest.raises(SpeechError, match="does not answer"):
            await look(f"http://127.0.0.1:{free_port()}", "any")

    run(case())
