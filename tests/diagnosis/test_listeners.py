from __future__ import annotations

import os
import socket

import pytest

from voicecall.diagnosis.listeners import Holder, holder, is_free
from voicecall.errors import ServeError

pytestmark = pytest.mark.socket


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_who_listens_on_a_port_is_found(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        port = listener.getsockname()[1]
        assert holder(port) is None
        listener.listen()
        found = holder(port)
        assert found is not None
        assert found.pid == os.getpid()
        assert not is_free(host, port)
    assert holder(port) is None
    assert is_free(host, port)


def test_a_process_is_told_by_its_program_and_number() -> None:
    found = Holder(12, "voicecall serve")
    assert (str(found), found.is_voicecall) == ("voicecall serve (pid 12)", True)
    assert not Holder(13, "nginx").is_voicecall


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(ServeError, match=r"cannot listen on 192\.0\.2\.1 port 3334"):
        is_free("192.0.2.1", 3334)
