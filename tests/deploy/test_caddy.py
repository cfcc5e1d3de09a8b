"""deploy/caddy/Caddyfile in a real Caddy, in front of a live call."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.deploy.behind import Ports, hold_a_call, look_at_what_arrives
from tests.deploy.programs import DEPLOY, check, program, running
from tests.hosting import free_port, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.socket

CADDYFILE = str(DEPLOY / "caddy/Caddyfile")
_ARGUMENTS = ("--config", CADDYFILE, "--adapter", "caddyfile")


@asynccontextmanager
async def caddy(folder: Path, ports: Ports) -> AsyncIterator[str]:
    """Caddy in front of the two ports, without certificates, which it would have to make."""
    public_url = f"http://localhost:{ports.public}"
    environ = {
        "HOME": str(folder),
        "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
        "VOICECALL_HOST": public_url,
        "VOICECALL_CONTROL": f"127.0.0.1:{ports.control}",
        "VOICECALL_MEDIA": f"127.0.0.1:{ports.media}",
    }
    command = (program("caddy", "caddy"), "run", *_ARGUMENTS)
    async with running(*command, port=ports.public, log=folder / "log", environ=environ):
        yield public_url


def test_the_file_is_valid_as_it_is(tmp_path: Path) -> None:
    said = check(program("caddy", "caddy"), "validate", *_ARGUMENTS, HOME=str(tmp_path))
    assert "Valid configuration" in said
    assert "not formatted" not in said


def test_caddy_says_who_is_there_and_leaves_urls_alone(tmp_path: Path) -> None:
    async def case() -> None:
        async with caddy(tmp_path, ports := Ports.free()) as public_url:
            await look_at_what_arrives(public_url, ports)

    run(case(), within_s=60)


def test_a_signed_call_goes_through_caddy(tmp_path: Path) -> None:
    async def case() -> None:
        async with caddy(tmp_path, ports := Ports.free()) as public_url:
            await hold_a_call(public_url, ports, tmp_path)

    run(case(), within_s=90)
