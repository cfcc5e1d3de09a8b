from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import SecretStr

from tests.diagnosis.scene import loaded, run
from tests.hosting import free_port
from voicecall.config.schema import Config
from voicecall.diagnosis.host import Host, stand_in
from voicecall.errors import ConfigError, RemoteError, ServeError
from voicecall.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from voicecall.config.load import LoadedConfig

pytestmark = pytest.mark.socket

TOKEN = "a token of sufficient length"


def configured(folder: Path, token: str = TOKEN, **more: object) -> LoadedConfig:
    settings = {
        "serve": {"port": free_port()},
        "streaming": {"port": free_port()},
        "stt": {"provider": "scripted"},
        "tts": {"provider": "scripted"},
        "store": ":memory:",
        "rpc": {"token": token},
    }
    return loaded(folder, **{**settings, **more})


def test_the_running_server_is_found_and_gives_challenges(tmp_path: Path) -> None:
    async def case() -> None:
        config = configured(tmp_path)
        async with Server(config.config) as server, Host(config) as host:
            assert await host.runs()
            assert (await host.look()).found == f"runs at {server.control_url}"
            challenge = await host.challenge()
            async with httpx.AsyncClient(trust_env=False) as http:
                url = f"{server.control_url}/voice/webhook"
                answer = await http.get(url, params={"challenge": challenge.question})
            assert answer.text == challenge.answer
            assert await host.public_url() is None
        # It is not the host's to stop.
        assert server.control_url

    run(case())


def test_a_server_is_run_while_it_is_needed_that_keeps_nothing(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls.sqlite3"
        config = configured(tmp_path, store=str(path), publicUrl="https://calls.example.com")
        async with Host(config) as host:
            assert not await host.runs()
            assert "one was started" in (await host.look()).found
            assert host.control_url.endswith(f":{config.config.serve.port}")
            assert host.media_url() == f"http://127.0.0.1:{config.config.streaming.port}"
            assert (await host.challenge()).question
            assert await host.public_url() == "https://calls.example.com"
        assert not path.exists()
        async with Host(config) as host:
            assert not await host.runs()

    run(case())


def test_a_server_may_take_any_port_and_have_a_certificate(tmp_path: Path, ca: trustme.CA) -> None:
    async def case() -> None:
        certificate = ca.issue_cert("calls.example.com")
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        certificate.cert_chain_pems[0].write_to_path(str(cert))
        certificate.private_key_pem.write_to_path(str(key))
        tls = {"cert": str(cert), "key": str(key)}
        config = configured(
            tmp_path, serve={"port": 0, "tls": tls}, streaming={"enabled": True, "port": 0}
        )
        async with Host(config) as host:
            await host.look()
            assert host.control_url.startswith("https://127.0.0.1:")
            assert host.media_url() == host.control_url
            assert (await host.challenge()).answer

    run(case())


def test_a_server_with_another_token_is_told_from_no_server(tmp_path: Path) -> None:
    async def case() -> None:
        config = configured(tmp_path)
        mine = configured(tmp_path, "another token", serve={"port": config.config.serve.port})
        async with Server(config.config), Host(mine) as host:
            with pytest.raises(
                ConfigError, match=r"rpc\.token: the voicecall server at .* another"
            ):
                await host.runs()

    run(case())


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    async def case() -> None:
        config = configured(tmp_path, mock={"phone": "off"}, streaming={"enabled": False})
        async with Host(config) as host:
            with pytest.raises(ServeError, match="streaming"):
                await host.look()
            with pytest.raises(RemoteError, match="no server"):
                await host.challenge()

    run(case())


def test_a_stand_in_takes_no_calls_and_loads_no_models() -> None:

    config = Config.model_validate(
        {
            "inboundPolicy": "open",
            "store": "calls.sqlite3",
            "realtime": {"enabled": True},
            "responseModel": "openai/gpt-6-luna",
            "serve": {"path": "/hooks"},
        }
    )
    other = stand_in(config, SecretStr("x"))
    assert (other.inbound_policy, other.store) == ("disabled", ":memory:")
    assert (other.stt.provider, other.tts.provider) == ("scripted", "scripted")
    assert (other.realtime.enabled, other.response_model) == (False, "scripted/builtin")
    assert other.serve.path == "/hooks"
