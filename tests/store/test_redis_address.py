from __future__ import annotations

import pytest

from voicecall.errors import ConfigError
from voicecall.store.redis_address import RedisAddress

pytestmark = pytest.mark.unit


def parsed(url: str) -> RedisAddress:
    return RedisAddress.parse(url, server="calls-1:3334")


def test_everything_but_the_host_may_be_left_out() -> None:
    address = parsed("redis://db.example.com")
    assert (address.host, address.port, address.database) == ("db.example.com", 6379, 0)
    assert (address.username, address.password, address.tls) == (None, None, False)
    assert (address.prefix, address.server) == ("voicecall:", "calls-1:3334")
    assert address.place == "redis://db.example.com:6379/0"
    assert parsed("valkey://db.example.com/") == address


def test_everything_may_be_given() -> None:
    address = parsed(
        "rediss://calls:s%40cret@[::1]:6380/3?prefix=eu:&server=one"
        "&ssl_ca_certs=/ca.pem&ssl_certfile=/me.pem&ssl_keyfile=/me.key"
    )
    assert (address.host, address.port, address.database) == ("::1", 6380, 3)
    assert (address.username, address.password, address.tls) == ("calls", "s@cret", True)
    assert (address.prefix, address.server) == ("eu:", "one")
    assert (address.ca_file, address.certificate_file, address.key_file) == (
        "/ca.pem",
        "/me.pem",
        "/me.key",
    )
    assert address.place == "rediss://[::1]:6380/3"


def test_neither_password_nor_user_is_shown() -> None:
    address = parsed("redis://calls:hidden@db/1")
    assert "hidden" not in repr(address) + str(address) + address.place
    assert "calls@" not in address.place


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://", "names no host"),
        ("redis://:hidden@", "names no host"),
        ("redis://hidden@db:port/0", "is no URL"),
        ("redis://:hidden@db:70000/0", "is no URL"),
        ("redis://:hidden@[db/0", "is no URL"),
        ("redis://:hidden@db/one", "the number of a database"),
        ("redis://:hidden@db/0?timeout=3", "unknown option timeout; there are prefix, server"),
        ("redis://:hidden@db/0?ssl_ca_certs=x", "only rediss:// speaks"),
        ("redis://:hidden@db/0?prefix=", "has a prefix that is empty"),
        ("redis://:hidden@db/0?server=a%23b", "has a server that is"),
    ],
)
def test_what_is_wrong_is_said_without_secrets(url: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parsed(url)
    assert str(refused.value).startswith("store: the URL ")
    assert why in str(refused.value)
    assert "hidden" not in str(refused.value)
