"""The file of the host that the original lived in works as it is: a call goes out with it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import json5
import pytest

from tests.exposure.standins import ngrok
from tests.hosting import free_port, run
from voicecall.config.load import load
from voicecall.errors import ServeError
from voicecall.server import Server
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.plivo import PlivoExchange
from voicecall.simulator.exchange.telnyx import TelnyxExchange
from voicecall.simulator.exchange.twilio import TwilioExchange
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.simulator.exchange.exchange import Exchange

pytestmark = pytest.mark.e2e

DEADLINE_S = 60
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


@pytest.mark.parametrize("carrier", ["twilio", "telnyx", "plivo"])
def test_a_call_goes_out_with_it_to_the_number_in_it(carrier: str, tmp_path: Path) -> None:
    async def case() -> None:
        async with ModelServer(engines=InstantEngines()) as models, exchange(carrier) as there:
            port = free_port()
            url = f"http://127.0.0.1:{port}/voice/webhook"
            path = here(tmp_path, carrier, there, port, publicUrl=url)
            loaded = load(path, environ=environment(models), cwd=tmp_path, home=tmp_path)
            async with Server(loaded.config) as server:
                call = await server.calls.initiate(MESSAGE)
                record = await call.ended()
            assert (record.provider, record.end_reason) == (carrier, "hangup-bot")
            assert record.to_number == "+15550005678"
            assert [entry.text for entry in record.transcript] == [MESSAGE]

    run(case(), DEADLINE_S)


@pytest.mark.parametrize("carrier", ["twilio", "mock"])
def test_the_commands_use_it_with_a_tunnel_of_the_originals(carrier: str, tmp_path: Path) -> None:
    async def case() -> None:
        agent = ngrok(tmp_path)
        async with ModelServer(engines=InstantEngines()) as models, exchange("twilio") as there:
            path = here(tmp_path, carrier, there, free_port(), tunnel={"provider": "ngrok"})
            machine = {"PATH": agent.path, "HOME": str(tmp_path), **environment(models)}
            server = await begun(path, machine, "serve")
            try:
                await said(server, "reached from outside at http")
                call = await begun(path, machine, "call", "--message", MESSAGE, "--mode", "notify")
                printed, complaint = await call.communicate()
                assert call.returncode == 0, complaint.decode()
                record = json.loads(printed)
                assert (record["to"], record["endReason"]) == ("+15550005678", "hangup-bot")
                assert [entry["text"] for entry in record["transcript"]] == [MESSAGE]
                assert there.dials == (1 if carrier == "twilio" else 0)
                server.terminate()
                assert await server.wait() == 0
            finally:
                if server.returncode is None:
                    server.kill()
                await server.communicate()

    run(case(), DEADLINE_S)


def test_without_a_way_in_it_is_said_that_carriers_need_one(tmp_path: Path) -> None:
    loaded = load(SAMPLE, environ={"OPENAI_API_KEY": "sk-1"}, cwd=tmp_path, home=tmp_path)
    with pytest.raises(ServeError, match=r"publicUrl: twilio reports calls .*tunnel\.provider"):
        Server(loaded.config)


def exchange(carrier: str) -> Exchange[Any]:
    """A simulated carrier with the account of the sample, as far as that could be one."""
    if carrier == "telnyx":
        return TelnyxExchange(lambda _: SimpleParty(), api_key="KEYxxxx", connection_id="CONNxxxx")
    if carrier == "plivo":
        return PlivoExchange(lambda _: SimpleParty(), auth_token="your_token")
    return TwilioExchange(
        lambda _: SimpleParty(), account_sid="ACxxxxxxxx", auth_token="your_token"
    )


def here(folder: Path, carrier: str, there: Exchange[Any], port: int, **sections: Any) -> Path:
    """The sample on this machine: other ports, and where the carrier is found and its key."""
    content = json5.loads(SAMPLE.read_text())
    config = content["plugins"]["entries"]["voice-call"]["config"]
    config["serve"]["port"] = port
    config["streaming"]["port"] = free_port()
    if carrier != "mock":
        config[carrier] |= there.account
    config |= {"provider": carrier, **sections}
    path = folder / "openclaw.json"
    path.write_text(json.dumps(content))
    return path


def environment(models: ModelServer) -> dict[str, str]:
    return {"OPENAI_API_KEY": models.world.api_key, "OPENAI_BASE_URL": models.base_url}


async def begun(
    path: Path, machine: Mapping[str, str], *arguments: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voicecall", "--config", str(path), *arguments),
        env=machine,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def said(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stderr is not None
    lines = []
    async for line in process.stderr:
        lines.append(line.decode())
        if text in lines[-1]:
            return
    raise AssertionError("".join(lines))
