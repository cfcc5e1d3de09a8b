from __future__ import annotations

import os
import socket

import pytest

from tests.diagnosis.scene import run
from tests.hosting import free_port
from voicecall.config.schema import Config
from voicecall.diagnosis.ports import look_at_ports

pytestmark = pytest.mark.socket


def config(control: int, media: int) -> Config:
    return Config.model_validate({"serve": {"port": control}, "streaming": {"port": media}})


def test_free_ports_are_fine() -> None:
    async def case() -> None:
        control, media = free_port(), free_port()
        finding = await look_at_ports(config(control, media), running=False)
        assert finding.found == f"{control} and {media}: free"
        assert (await look_at_ports(config(0, 0), running=False)).found.startswith("any that are")

    run(case())


def test_a_port_that_somebody_has_is_red_and_says_who_and_how_to_get_it() -> None:
    async def case() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            taken = listener.getsockname()[1]
            finding = await look_at_ports(config(free_port(), taken), running=False)
        assert finding.status == "fail"
        assert f"{taken} is taken by " in finding.found
        assert f"(pid {os.getpid()})" in finding.found
        assert finding.remedy == f"kill {os.getpid()}    (or set streaming.port to another one)"

    run(case())


def test_ports_of_the_running_server_are_its_own() -> None:
    async def case() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            finding = await look_at_ports(config(port, 0), running=True)
        assert finding.status == "ok"
        assert "the running server's" in finding.found

    run(case())
