"""The file of the host that the original lived in works as it is: a call goes out with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosting import free_port, run
from voicecall.config.load import load
from voicecall.server import Server
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.twilio import TwilioExchange
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.server import ModelServer

pytestmark = pytest.mark.e2e

SAMPLE = Path(__file__).with_name("openclaw.json5")
MESSAGE = "Hello from the host."


def test_what_the_host_keeps_for_calls_is_understood_and_the_rest_is_named(tmp_path: Path) -> None:
    loaded = load(SAMPLE, environ={"OPENAI_API_KEY": "sk-1"}, cwd=tmp_path, home=tmp_path)
    config = loaded.config
    assert (config.provider, config.to_number) == ("twilio", "+15550005678")
    # The part for calls lies on top of the host's own.
    assert (config.tts.openai.model, config.tts.openai.voice) == ("gpt-4o-mini-tts", "coral")
    assert loaded.ignored == ("tts.auto",)
    assert loaded.warnings == ()


def test_a_call_goes_out_with_it_to_the_number_in_it(tmp_path: Path) -> None:
    async def case() -> None:
        account = {"account_sid": "ACxxxxxxxx", "auth_token": "your_token"}
        async with (
            ModelServer(engines=InstantEngines()) as models,
            TwilioExchange(lambda _: SimpleParty(), **account) as carrier,
        ):
            # The machine is another: its ports, and who is reached from it.
            control, media = free_port(), free_port()
            here = f"""
                publicUrl: "http://127.0.0.1:{control}/voice/webhook",
                twilio: {{ apiBaseUrl: "{carrier.base_url}", """
            path = tmp_path / "openclaw.json5"
            sample = SAMPLE.read_text().replace("port: 3334", f"port: {control}")
            sample = sample.replace("streaming: {", f"streaming: {{ port: {media},")
            path.write_text(sample.replace("twilio: {", here, 1))
            environ = {
                "OPENAI_API_KEY": models.world.api_key,
                "OPENAI_BASE_URL": models.base_url,
            }
            loaded = load(path, environ=environ, cwd=tmp_path, home=tmp_path)
            async with Server(loaded.config) as server:
                call = await server.calls.initiate(MESSAGE)
                record = await call.ended()
            assert (record.to_number, record.end_reason) == ("+15550005678", "hangup-bot")
            assert [entry.text for entry in record.transcript] == [MESSAGE]

    run(case(), 40)
