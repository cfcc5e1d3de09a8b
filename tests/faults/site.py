"""One server and the simulated carrier it calls through, joined by real HTTP and sockets."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import httpx

from tests.hosting import CALLEE, PERSONA, TOKEN, until
from voicecall.call.record import CallState
from voicecall.clock import SystemClock
from voicecall.config.schema import Config
from voicecall.server import Server
from voicecall.simulator.exchange.plivo import PlivoExchange
from voicecall.simulator.exchange.telnyx import TelnyxExchange
from voicecall.simulator.exchange.twilio import TwilioExchange
from voicecall.store.sqlite import SqliteCallStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from voicecall.call.record import CallRecord
    from voicecall.provider import Patience
    from voicecall.simulator.exchange import Line, Party

CarrierName: TypeAlias = Literal["twilio", "telnyx", "plivo"]
AnyExchange: TypeAlias = TwilioExchange | TelnyxExchange | PlivoExchange

CARRIERS: Final[tuple[CarrierName, ...]] = ("twilio", "telnyx", "plivo")

_OURS = "+15550000001"
_GREETING = "Hello."
_TALKING = frozenset({CallState.ACTIVE, CallState.SPEAKING, CallState.LISTENING})
# Below the ports that systems give to those who ask for any.
_FIRST_PORT, _PORTS = 20_000, 10_000
_ports = itertools.count(os.getpid() * 200)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as a client of the server's RPC interface gets it.

    Attributes:
        code: its stable name.
        status: the carrier's own word for it.
        retryable: whether the client may ask again without having called anybody twice.
    """

    code: str
    status: str | int | None
    retryable: bool


class Site:
    """A server that calls one person through a simulated carrier.

    Attributes:
        server: the server, running.
        exchange: the carrier.
    """

    def __init__(self, server: Server, exchange: AnyExchange, http: httpx.AsyncClient) -> None:
        self.server = server
        self.exchange = exchange
        self._http = http

    @property
    def lines(self) -> Sequence[Line]:
        """All calls as the carrier sees them."""
        return list(self.exchange.calls.values())

    async def call(self) -> Refusal | None:
        """Have the server call; what comes of the request."""
        return await self.ask("initiate", message=_GREETING, to=CALLEE, mode="conversation")

    async def ask(self, method: str, **params: str) -> Refusal | None:
        """Make a request as clients do; the error, if any."""
        body = {"jsonrpc": "2.0", "id": 1, "method": f"voicecall.{method}", "params": params}
        answer = (await self._http.post("/rpc", json=body)).json()
        if "error" not in answer:
            return None
        data = answer["error"]["data"]
        return Refusal(data["code"], data.get("status"), data.get("retryable", False))

    async def record(self) -> CallRecord:
        """The record of the only call there was."""
        (record,) = await self.server.manager.recent()
        return self.server.manager.find(record.call_id) or record

    async def answered(self) -> CallRecord:
        """Wait until somebody has picked up and can be talked to."""
        calls = self.server.manager
        await until(lambda: any(record.answered_at for record in calls.live()))
        return await self.record()

    async def talking(self) -> CallRecord:
        """Wait until both sides can hear each other."""
        record = await self.answered()
        await until(lambda: record.state in _TALKING)
        return record

    async def ended(self, within_s: float) -> None:
        """Wait until the call is over for everybody and all was told, or for `within_s` seconds."""
        try:
            await until(self._over, within_s)
            await self.exchange.webhooks.idle(within_s)
        except TimeoutError:
            return

    def _over(self) -> bool:
        calls = self.server.manager
        return not calls.live_count and all(line.ended.is_set() for line in self.lines)


@asynccontextmanager
async def site(
    carrier: CarrierName,
    party: Party,
    store: Path,
    *,
    patience: Patience | None = None,
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[Site]:
    """A server and its carrier, as long as the context lasts.

    Args:
        carrier: through whom is called.
        party: who is called.
        store: where the server keeps its calls.
        patience: how long the carrier may take to answer.
        settings: further ones of the server; camelCase keys.
    """
    async with _EXCHANGES[carrier](party) as exchange:
        config = Config.model_validate(_settings(carrier, exchange, store) | dict(settings or {}))
        async with Server(config, patience=patience) as server:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with httpx.AsyncClient(
                base_url=server.control_url, headers=headers, timeout=30
            ) as http:
                yield Site(server, exchange, http)


async def stored(store: Path) -> Sequence[Mapping[str, Any]]:
    """The calls that a server which is gone has left behind."""
    opened = SqliteCallStore(store, clock=SystemClock())
    await opened.open()
    try:
        return await opened.recent(10)
    finally:
        await opened.close()


def _settings(carrier: CarrierName, exchange: AnyExchange, store: Path) -> dict[str, Any]:
    control, media = _free_port(), _free_port()
    return {
        "provider": carrier,
        "fromNumber": _OURS,
        carrier: exchange.account,
        "publicUrl": f"http://127.0.0.1:{control}",
        "serve": {"port": control},
        "streaming": {
            "enabled": True,
            "port": media,
            "publicUrl": f"http://127.0.0.1:{media}",
        },
        "stt": {"provider": "scripted"},
        "tts": {"provider": "scripted"},
        "responseModel": f"scripted/{PERSONA}",
        "rpc": {"token": TOKEN},
        "store": str(store),
    }


_EXCHANGES: Mapping[CarrierName, Callable[[Party], AnyExchange]] = {
    "twilio": lambda party: TwilioExchange(lambda _: party, pace=1.0),
    "telnyx": lambda party: TelnyxExchange(lambda _: party),
    "plivo": lambda party: PlivoExchange(lambda _: party, pace=1.0),
}


def _free_port() -> int:
    """A port that nobody has; a server has to be told its public URL before it starts.

    Nobody who asks for any port is given one of these, so it is still free a moment later.
    """
    while True:
        port = _FIRST_PORT + next(_ports) % _PORTS
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
