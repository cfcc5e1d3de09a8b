"""What an ElevenLabs account says of its key and its voice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.diagnosis.scene import network, run
from tests.diagnosis.vendors.accounts import answering
from tests.hosting import free_port
from tests.simulator.models.serving import serving
from voicecall.diagnosis.services import Account, Service
from voicecall.diagnosis.vendors.elevenlabs import look_at_elevenlabs
from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from voicecall.diagnosis.check import Finding

pytestmark = pytest.mark.socket

VOICE_ID = "21m00Tcm4TlvDq8ikWAM"


async def look(base_url: str, key: str | None, voice: str = VOICE_ID) -> Finding:
    account = Account("elevenlabs.apiKey", SecretStr(key) if key else None, base_url)
    service = Service("elevenlabs", account, (("tts.elevenlabs.voiceId", voice),))
    return await look_at_elevenlabs(service, network())


def test_key_and_voice_are_tried() -> None:
    async def case() -> None:
        async with serving() as (server, _):
            url = server.base_url.removesuffix("/v1")
            assert (await look(url, server.world.api_key)).status == "ok"
            refused = await look(url, "wrong")
            assert refused.status == "fail"
            assert "elevenlabs.apiKey" in refused.found
            assert (await look(url, None)).status == "fail"
            unnamed = await look(url, server.world.api_key, "")
            assert "voiceId is not set" in unnamed.found
        with pytest.raises(SpeechError, match="does not answer"):
            await look(f"http://127.0.0.1:{free_port()}", "any")

    run(case())


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ((401, {"detail": {"status": "missing_permissions"}}), "warn", "may not look at voices"),
        ((401, {"detail": "who are you"}), "fail", "elevenlabs.apiKey is not accepted"),
        ((404, {"detail": {"status": "voice_not_found"}}), "fail", "has no such voice"),
        ((400, {"detail": {"status": "voice_not_found"}}), "fail", "has no such voice"),
        ((503, ["busy"]), "warn", "answered with 503"),
    ],
)
def test_what_it_answers_is_told(answer: tuple[int, object], status: str, told: str) -> None:
    async def case() -> None:
        async with answering(other=answer) as url:
            finding = await look(url, "key")
        assert finding.status == status
        assert told in finding.found
        assert finding.remedy

    run(case())
