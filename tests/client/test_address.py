"""Where the server is that runs with a configuration, and what it wants to see and show."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.control.fakes import TOKEN, services, serving
from tests.hosting import run
from voicecall.client import Client
from voicecall.client.address import address_of, server_url
from voicecall.config.load import LoadedConfig
from voicecall.config.schema import Config
from voicecall.config.state import keep_rpc_token
from voicecall.control.app import create_app
from voicecall.control.listen import ControlListener, TlsFiles
from voicecall.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket


def configured(folder: Path, port: int, **settings: Any) -> LoadedConfig:
    serve = {"port": port, **settings.pop("serve", {})}
    usual = {"serve": serve, "rpc": {"token": TOKEN}, "streaming": {"port": 0}}
    config = Config.model_validate(usual | settings)
    return LoadedConfig(config, None, folder, (), (), {})


async def calls_at(loaded: LoadedConfig) -> list[Any]:
    async with Client.from_loaded(loaded) as client:
        return list(await client.calls())


def test_the_server_is_asked_with_the_configured_token(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(services()) as served:
            assert await calls_at(configured(tmp_path, served.port)) == []

    run(case())


def test_a_token_that_the_server_has_made_is_found(tmp_path: Path) -> None:
    async def case() -> None:
        token = keep_rpc_token(tmp_path).get_secret_value()
        async with serving(services(rpc_token=token)) as served:
            assert await calls_at(configured(tmp_path, served.port, rpc={})) == []

    run(case())


def test_without_a_token_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="voicecall serve"):
        address_of(configured(tmp_path, 3334, rpc={}))


def test_a_token_is_not_shown(tmp_path: Path) -> None:
    assert TOKEN not in repr(address_of(configured(tmp_path, 3334)))


def test_what_lasts_as_long_as_people_speak_has_longer_than_they_may(tmp_path: Path) -> None:
    loaded = configured(tmp_path, 3334, transcriptTimeoutMs=400_000, maxDurationSeconds=300)
    assert address_of(loaded).call_timeout_s > 400


def test_the_configuration_file_leads_to_the_server(tmp_path: Path) -> None:
    path = tmp_path / "voicecall.json5"

    async def case() -> None:
        async with serving(services()) as served:
            path.write_text(f'{{serve: {{port: {served.port}}}, rpc: {{token: "{TOKEN}"}}}}')
            async with Client.from_config(path, {"HOME": str(tmp_path)}) as client:
                assert client.url == f"http://127.0.0.1:{served.port}"
                assert await client.calls() == []

    run(case())


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3334"),
        ("0.0.0.0", "http://127.0.0.1:3334"),  # noqa: S104  (nothing is bound)
        ("::", "http://[::1]:3334"),
        ("::1", "http://[::1]:3334"),
        ("voice.example.com", "http://voice.example.com:3334"),
    ],
)
def test_the_server_is_where_it_listens(tmp_path: Path, bind: str, url: str) -> None:
    assert server_url(configured(tmp_path, 3334, serve={"bind": bind}).config) == url


def test_a_server_on_whatever_port_was_free_cannot_be_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"serve\.port"):
        server_url(configured(tmp_path, 0).config)


def test_the_certificate_in_the_configuration_is_believed_and_no_other(tmp_path: Path) -> None:
    own, other = certificate(tmp_path, "own"), certificate(tmp_path, "other")

    async def case() -> None:
        listener = ControlListener(create_app(services()), "127.0.0.1", 0, TlsFiles(*own))
        await listener.start()
        try:
            for cert, key in (own, other):
                tls = {"cert": str(cert), "key": str(key)}
                loaded = configured(tmp_path, listener.port, serve={"tls": tls})
                if (cert, key) == own:
                    assert await calls_at(loaded) == []
                else:
                    with pytest.raises(RemoteError, match="certificate"):
                        await calls_at(loaded)
        finally:
            await listener.stop(grace_s=1)

    run(case())


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_a_certificate_of_nobody_known_is_not_believed(tmp_path: Path, scheme: str) -> None:
    own = certificate(tmp_path, "own")

    async def case() -> None:
        listener = ControlListener(create_app(services()), "127.0.0.1", 0, TlsFiles(*own))
        await listener.start()
        try:
            async with Client(f"{scheme}://127.0.0.1:{listener.port}", TOKEN) as client:
                with pytest.raises(RemoteError, match="certificate"):
                    await client.calls()
        finally:
            await listener.stop(grace_s=1)

    run(case())


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    tls = {"cert": str(tmp_path / "gone.pem"), "key": str(tmp_path / "gone.pem")}
    with pytest.raises(ConfigError, match=r"serve\.tls\.cert"):
        address_of(configured(tmp_path, 3334, serve={"tls": tls}))


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    made = (
        f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=a.example -keyout {key} -out {cert}"
    )
    subprocess.run([openssl, *made.split()], check=True, capture_output=True)  # noqa: S603
    return cert, key
