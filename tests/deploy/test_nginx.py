"""deploy/nginx/voicecall.conf in a real nginx, in front of a live call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deploy.behind import Ports, hold_a_call, look_at_what_arrives
from tests.deploy.programs import DEPLOY, certificate, check, program, running
from tests.hosting import free_port, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

# The rest of a configuration, as Debian's has it, with everything in one folder.
_MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/voicecall.conf;
}}
"""


def configure(folder: Path, ports: Ports, made: Path, key: Path) -> str:
    """Write the configuration as it is, but for ports, names and the certificate."""
    text = (DEPLOY / "nginx/voicecall.conf").read_text("utf-8")
    for shipped, here in {
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "listen 443 ssl;": f"listen 127.0.0.1:{ports.public} ssl;",
        "calls.example.com;": "localhost;",
        "/etc/letsencrypt/live/calls.example.com/fullchain.pem": str(made),
        "/etc/letsencrypt/live/calls.example.com/privkey.pem": str(key),
        "server 127.0.0.1:3334;": f"server 127.0.0.1:{ports.control};",
        "server 127.0.0.1:3335;": f"server 127.0.0.1:{ports.media};",
    }.items():
        assert shipped in text, shipped
        text = text.replace(shipped, here)
    (folder / "voicecall.conf").write_text(text)
    main = folder / "nginx.conf"
    main.write_text(_MAIN.format(folder=folder))
    return str(main)


def test_nginx_says_who_is_there_and_leaves_urls_alone(tmp_path: Path) -> None:
    nginx = program("nginx", "nginx-light")
    made, key = certificate(tmp_path)
    ports = Ports.free()
    main = configure(tmp_path, ports, made, key)

    async def case() -> None:
        command = (nginx, "-c", main, "-p", str(tmp_path))
        async with running(*command, port=ports.public, log=tmp_path / "log"):
            await look_at_what_arrives(f"https://localhost:{ports.public}", ports, made)

    run(case(), within_s=60)


def test_a_signed_call_goes_through_nginx_and_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nginx = program("nginx", "nginx-light")
    made, key = certificate(tmp_path)
    ports = Ports.free()
    main = configure(tmp_path, ports, made, key)
    assert "test is successful" in check(nginx, "-t", "-c", main, "-p", str(tmp_path))
    # The simulated carrier believes whom the system believes.
    monkeypatch.setenv("SSL_CERT_FILE", str(made))

    async def case() -> None:
        command = (nginx, "-c", main, "-p", str(tmp_path))
        async with running(*command, port=ports.public, log=tmp_path / "log"):
            await hold_a_call(f"https://localhost:{ports.public}", ports, tmp_path, made)

    run(case(), within_s=90)
