"""The network as the checks see it: names, connections, and whom to believe."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import httpx

from voicecall.errors import RemoteError

TIMEOUT_S: Final = 8.0

Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, those of version 4 first; of an address, itself.

    Raises:
        RemoteError: there is none; says why.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise RemoteError(f"{host} has no address: {why}") from error
    found.sort(key=lambda each: each[0] is not socket.AF_INET)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True, slots=True)
class Network:
    """How the network is used.

    Attributes:
        resolve: finds the addresses of a name, as the function of this module does.
        trust: whose certificates are believed; those that the system believes.
        timeout_s: how long a request may take.
    """

    resolve: Resolve = resolve
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    timeout_s: float = TIMEOUT_S

    def client(self) -> httpx.AsyncClient:
        """An HTTP client that asks once and goes where it is told, as carriers do."""
        return httpx.AsyncClient(
            timeout=self.timeout_s, verify=self.trust, follow_redirects=False, trust_env=False
        )
