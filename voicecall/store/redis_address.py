"""Where a call store in Redis or Valkey is, as one URL says it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from voicecall.errors import ConfigError

DEFAULT_PORT: Final = 6379
DEFAULT_PREFIX: Final = "voicecall:"

_EXAMPLE: Final = "redis://user:password@host:6379/0?prefix=voicecall:"
_OPTIONS: Final = ("prefix", "server", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
# What ends up in the names of keys; `#` separates a server's name from its process.
_NAME: Final = re.compile(r"[A-Za-z0-9._:{}@-]{1,128}")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A database of a Redis or Valkey server, and which of its keys are ours.

    Attributes:
        host: name or address.
        port: TCP port.
        database: its number.
        username, password: what the server asks for; None without.
        tls: whether the connection is encrypted, and the server's certificate checked.
        ca_file: whom to believe instead of the system's authorities.
        certificate_file, key_file: who we are, for servers that want to know.
        prefix: what the names of all our keys begin with.
        server: whose the live calls are. Two servers that share a store differ in it; one that is
            started again has it again.
    """

    host: str
    port: int
    database: int
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    tls: bool
    ca_file: str | None
    certificate_file: str | None
    key_file: str | None
    prefix: str
    server: str

    @classmethod
    def parse(cls, url: str, *, server: str) -> RedisAddress:
        """The address that a `redis://`, `rediss://` or `valkey://` URL stands for.

        ::

            rediss://user:password@host:6379/0?prefix=voicecall:&server=one&ssl_ca_certs=ca.pem

        Args:
            url: everything but the host may be left out.
            server: the name of this server if the URL gives none.

        Raises:
            ConfigError: it is malformed. The message holds no secret.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _refused(f"is no URL such as {_EXAMPLE}") from None
        if not parts.hostname:
            raise _refused(f"names no host; write it like {_EXAMPLE}")
        options = _options(parts)
        return cls(
            host=parts.hostname,
            port=DEFAULT_PORT if port is None else port,
            database=_database(parts.path),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "rediss",
            ca_file=options.get("ssl_ca_certs"),
            certificate_file=options.get("ssl_certfile"),
            key_file=options.get("ssl_keyfile"),
            prefix=_name("prefix", options.get("prefix", DEFAULT_PREFIX)),
            server=_name("server", options.get("server", server)),
        )

    @property
    def place(self) -> str:
        """The address for people: without user, password and options."""
        scheme = "rediss" if self.tls else "redis"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/{self.database}"


def _options(parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise _refused(f"has the unknown option {unknown[0]}; there are {', '.join(_OPTIONS)}")
    if parts.scheme != "rediss" and any(name.startswith("ssl_") for name in options):
        raise _refused("has options for TLS, which only rediss:// speaks")
    return options


def _database(path: str) -> int:
    number = path.strip("/")
    if number and not (number.isascii() and number.isdigit()):
        raise _refused("must have the number of a database after the host, such as /0")
    return int(number or 0)


def _name(option: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        allowed = "letters, digits and ._:{}@-"
        raise _refused(f"has a {option} that is empty, too long or not made of {allowed}")
    return value


def _refused(why: str) -> ConfigError:
    return ConfigError(f"store: the URL {why}")
