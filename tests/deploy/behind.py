"""A call through a proxy: signed webhooks at the public URL, audio on the media port."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from websockets.asyncio.client import connect

from tests.faults.site import site
from tests.hosting import TOKEN, free_port, until
from voicecall.simulator.exchange.party import SimpleParty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.site import Site

BEARER = {"Authorization": f"Bearer {TOKEN}"}
_DEADLINE_S = 25


@dataclass(frozen=True, slots=True)
class Ports:
    """Of the proxy and of the two planes behind it."""

    public: int
    control: int
    media: int

    @classmethod
    def free(cls) -> Ports:
        return cls(free_port(), free_port(), free_port())


async def hold_a_call(public_url: str, ports: Ports, folder: Path, ca: Path | None = None) -> None:
    """Hold a call of a simulated Twilio through the proxy at `public_url`, and look closely.

    Args:
        public_url: what the carrier is told.
        ports: the server's own are used for it.
        folder: for the server's calls.
        ca: whom clients believe, for https.
    """
    settings = {
        "publicUrl": public_url,
        "serve": {"port": ports.control},
        "streaming": {"enabled": True, "port": ports.media},
        "webhookSecurity": {"trustedProxyIPs": ["127.0.0.1"]},
        "ringTimeoutMs": 60_000,
    }
    party = SimpleParty(stays=True)
    tls = ssl.create_default_context(cafile=ca) if ca else True
    async with (
        site("twilio", party, folder / "calls", settings=settings) as held,
        httpx.AsyncClient(base_url=public_url, verify=tls, timeout=_DEADLINE_S) as http,
    ):
        if ca is not None:
            await _believe(held, tls)
        await _refuses_strangers(http)
        changes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        following = asyncio.create_task(_follow(http, changes))
        try:
            assert (await changes.get())["type"] == "hello"
            await _call(held, party, ports, http, changes)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await _over_a_websocket(public_url, tls if ca else None)


async def look_at_what_arrives(public_url: str, ports: Ports, ca: Path | None = None) -> None:
    """Send a request with claims of its own through the proxy, and see what the server gets."""
    arrived: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        arrived.put_nowait((writer.get_extra_info("sockname")[1], head))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    tls = ssl.create_default_context(cafile=ca) if ca else True
    async with (
        await asyncio.start_server(take, "127.0.0.1", ports.control),
        await asyncio.start_server(take, "127.0.0.1", ports.media),
        httpx.AsyncClient(base_url=public_url, verify=tls, timeout=_DEADLINE_S) as http,
    ):
        for path, port in (
            ("/voice/webhook?a=%2F+b&&c", ports.control),
            ("/voice/streams", ports.control),
            ("/voice/stream", ports.media),
            ("/voice/stream/0123abc?d=e", ports.media),
        ):
            claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "elsewhere"}
            assert (await http.get(path, headers=claims)).status_code == 204
            taken, head = await arrived.get()
            request, *lines = head.splitlines()
            assert (taken, request) == (port, f"GET {path} HTTP/1.1")
            named = (line.partition(": ") for line in lines if line)
            headers = {name.lower(): value for name, _, value in named}
            scheme, _, host = public_url.partition("://")
            assert headers["host"] == headers["x-forwarded-host"] == host
            assert headers["x-forwarded-proto"] == scheme
            assert headers["x-forwarded-for"] == "127.0.0.1"


async def _believe(held: Site, tls: Any) -> None:
    """Have the simulated carrier's webhooks believe a certificate that nobody else does."""
    webhooks = held.exchange.webhooks
    await webhooks._client.aclose()
    webhooks._client = httpx.AsyncClient(verify=tls, timeout=None, trust_env=False)  # noqa: S113


async def _refuses_strangers(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "alive"}
    assert (await http.get("/readyz")).json()["ready"] is True
    # On this machine, but not of it.
    assert (await http.get("/metrics")).status_code == 401
    assert (await http.get("/metrics", headers=BEARER)).status_code == 200
    assert (await http.post("/rpc", content=b"{}")).status_code == 401
    forged = {"x-twilio-signature": "forged", "x-forwarded-for": "127.0.0.1"}
    assert (await http.post("/voice/webhook", headers=forged)).status_code == 401
    # What is merely similar to the stream's path is the control plane's, which does not know it.
    assert (await http.get("/voice/streams")).status_code == 404


async def _call(
    held: Site,
    party: SimpleParty,
    ports: Ports,
    http: httpx.AsyncClient,
    changes: asyncio.Queue[dict[str, Any]],
) -> None:
    assert await held.call() is None
    record = await held.talking()
    # The events came while the answer to `/events` goes on: nobody holds them back.
    while (await changes.get())["type"] != "call.answered":
        pass
    assert party.phone is not None
    await until(lambda: any(each.speaker.value == "bot" for each in record.transcript), _DEADLINE_S)
    # One socket, at the media port.
    assert len(list(_connections_to(ports.media))) == 1
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "voicecall.end",
        "params": {"callId": record.call_id},
    }
    assert "result" in (await http.post("/rpc", json=body, headers=BEARER)).json()
    webhooks = held.exchange.webhooks
    await until(lambda: any(each.name == "completed" for each in webhooks.deliveries), _DEADLINE_S)
    record = await held.record()
    assert record.end_reason is not None
    assert record.end_reason.value == "hangup-bot"
    deliveries = list(webhooks.deliveries)
    assert {each.name for each in deliveries} >= {"ringing", "answered", "voice"}
    assert [each for each in deliveries if each.status not in (200, 204)] == []
    assert all(each.url.startswith(str(http.base_url).rstrip("/")) for each in deliveries)


async def _follow(http: httpx.AsyncClient, changes: asyncio.Queue[dict[str, Any]]) -> None:
    async with http.stream("GET", "/events", headers=BEARER) as events:
        # It may be long until there is one; that the way is open shows in the answer's head.
        assert events.status_code == 200
        changes.put_nowait({"type": "hello"})
        async for line in events.aiter_lines():
            if line.startswith("data: "):
                change = json.loads(line.removeprefix("data: "))
                changes.put_nowait(dict(change.get("params", change)))


async def _over_a_websocket(public_url: str, tls: Any) -> None:
    url = public_url.replace("http", "ws", 1) + "/rpc/ws"
    async with connect(url, additional_headers=BEARER, ssl=tls, proxy=None) as socket:
        await socket.send('{"jsonrpc": "2.0", "id": 7, "method": "voicecall.status"}')
        async with asyncio.timeout(_DEADLINE_S):
            answer = json.loads(await socket.recv())
    assert answer["id"] == 7
    assert isinstance(answer["result"]["calls"], list)


def _connections_to(port: int) -> Iterator[str]:
    """Connections that a listener on `port` of this machine has taken, as the system lists them."""
    established = "01"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == established and int(local.partition(":")[2], 16) == port:
            yield line
