"""Webhooks and upgrades that nobody should believe, drawn by lot; each knows its right answers."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlencode, urlsplit

from twilio.request_validator import RequestValidator

from benchmarks.soak.caller import ACCOUNT_SID
from benchmarks.soak.guarded import AUTH_TOKEN, NUMBER, PUBLIC_URL
from benchmarks.soak.websocket import (
    UpgradeRefused,
    WebSocket,
    abort,
    connect,
    handshake,
    status_of,
)
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.twilio import TwilioWire

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping

PATH = "/voice/webhook"
STREAM_PATH = "/voice/stream"
URL = f"{PUBLIC_URL}{PATH}"
FORM = "application/x-www-form-urlencoded"
SOURCES = 200
FAILURES_KEPT = 20
ATTACK_S = 20.0
CROWDS = 3
# The server's own limits: octets of a body, seconds for it, and unproven requests of one source.
BODY_MAX_OCTETS = 64 * 1024
BODY_S = 5.0
UNPROVEN_MAX = 8
TOO_MANY, SLOW, UNPROVEN, TOO_LONG = 429, 408, 401, 413


class Accepted(Exception):
    """The server has taken what it should have refused, or refused in another way."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A request as its carrier would send it.

    Attributes:
        query: behind the path, with its question mark.
        headers: the signature among them.
        body: of the form.
    """

    query: str
    headers: Mapping[str, str]
    body: bytes

    def octets(self, source: str, **changed: str) -> bytes:
        """The whole request, as a proxy passes it on for `source`."""
        headers = {
            **self.headers,
            "Host": "voice.example.org",
            "X-Forwarded-For": source,
            "Content-Length": str(len(self.body)),
            "Connection": "close",
            **changed,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
        return f"POST {PATH}{self.query} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + self.body


def webhook(call_sid: str, status: str, caller: str = "+15550007777", query: str = "") -> Webhook:
    """What Twilio says of an inbound call, in its signature's shelter."""
    fields = {
        "AccountSid": ACCOUNT_SID,
        "CallSid": call_sid,
        "CallStatus": status,
        "Direction": "inbound",
        "From": caller,
        "To": NUMBER,
    }
    signature = RequestValidator(AUTH_TOKEN).compute_signature(f"{URL}{query}", fields)
    headers = {"Content-Type": FORM, "X-Twilio-Signature": signature}
    return Webhook(query, headers, urlencode(fields).encode())


@dataclass(slots=True)
class Site:
    """What is attacked, and what came of it.

    Attributes:
        control_url: of the control plane.
        media_url: the stream path of the media port.
        call_sid: the carrier's id of the live call.
        arrival: the webhook that opened it, genuine and used.
        answer: what that was answered.
        revoked: the stream token of a call that is over.
        outcomes: how often each attack was answered how.
        failures: the first wrong answers.
        failed: how many there were.
    """

    control_url: str
    media_url: str
    call_sid: str
    arrival: Webhook
    answer: bytes
    revoked: str
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    failed: int = 0


Attack: TypeAlias = "Callable[[Site, random.Random], Awaitable[str]]"


def source(rng: random.Random) -> str:
    """One of the addresses that attackers come from."""
    number = rng.randrange(SOURCES)
    return f"198.51.100.{number}"


def refused(status: int, *right: int) -> str:
    """`status` as text, when it is one of the right ones; too many at once is always right."""
    if status not in {*right, TOO_MANY}:
        raise Accepted(f"answered with {status} instead of {' or '.join(map(str, right))}")
    return str(status)


async def exchange(url: str, *pieces: bytes) -> int:
    """Send octets on a connection of its own; the status of the answer, 0 for none."""
    host = urlsplit(url)
    reader, writer = await connect(host.hostname or "", host.port or 0)
    try:
        for piece in pieces:
            writer.write(piece)
        return await status_of(reader)
    finally:
        abort(writer)


# --- webhooks --------------------------------------------------------------------------------


async def unsigned(site: Site, rng: random.Random) -> str:
    """A webhook without any signature, its body announced and never sent."""
    octets = site.arrival.octets(source(rng), **{"X-Twilio-Signature": ""})
    head, _, _ = octets.partition(b"\r\n\r\n")
    return refused(await exchange(site.control_url, head + b"\r\n\r\n"), UNPROVEN)


async def forged(site: Site, rng: random.Random) -> str:
    """A new call, signed with another key or with nonsense."""
    signature = rng.choice(
        (
            base64.b64encode(rng.randbytes(20)).decode(),
            "",
            "x" * rng.randrange(1, 2000),
            f"{site.arrival.headers['X-Twilio-Signature']}, {'A' * 28}",
            "\xff\xfe=",
        )
    )
    told = webhook(f"CA{rng.getrandbits(128):032x}", "ringing")
    octets = told.octets(source(rng), **{"X-Twilio-Signature": signature})
    return refused(await exchange(site.control_url, octets), UNPROVEN)


async def tampered(site: Site, rng: random.Random) -> str:
    """A genuine signature over other words."""
    arrival = site.arrival
    changed = rng.choice(
        (
            Webhook("", arrival.headers, arrival.body.replace(b"ringing", b"completed")),
            Webhook("", arrival.headers, arrival.body + b"&CallStatus=completed"),
            Webhook("?callId=another", arrival.headers, arrival.body),
            Webhook("", arrival.headers, arrival.body.replace(b"%2B", b"%2B0")),
        )
    )
    return refused(await exchange(site.control_url, changed.octets(source(rng))), UNPROVEN)


async def malformed(site: Site, rng: random.Random) -> str:
    """A body that parsers choke on; none may see it."""
    body, kind = rng.choice(
        (
            (rng.randbytes(2000), FORM),
            (b"&".join(b"k%d=v" % n for n in range(5000)), FORM),
            (b"%" * 3000, FORM),
            (b"[" * 20_000, "application/json"),
            (b"--x\r\n" * 2000, "multipart/form-data; boundary=x"),
            (b"", FORM),
        )
    )
    headers = {**site.arrival.headers, "Content-Type": kind}
    octets = Webhook("", headers, body).octets(source(rng))
    return refused(await exchange(site.control_url, octets), UNPROVEN)


async def oversized(site: Site, rng: random.Random) -> str:
    """A body longer than any webhook's, announced or in chunks."""
    if rng.random() < 0.5:
        octets = site.arrival.octets(
            source(rng), **{"Content-Length": str(BODY_MAX_OCTETS + rng.randrange(1, 1 << 40))}
        )
        return refused(await exchange(site.control_url, octets), TOO_LONG)
    head = site.arrival.octets(
        source(rng), **{"Content-Length": "", "Transfer-Encoding": "chunked"}
    ).partition(b"\r\n\r\n")[0]
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    status = await exchange(site.control_url, head + b"\r\n\r\n", *([chunk] * 5))
    # It may break the connection while we still send; then its answer may be lost.
    return refused(status, TOO_LONG, 0)


async def replayed(site: Site, rng: random.Random) -> str:
    """A genuine webhook that was taken before: it is answered as it was, and has no effect."""
    host = urlsplit(site.control_url)
    reader, writer = await connect(host.hostname or "", host.port or 0)
    try:
        writer.write(site.arrival.octets(source(rng)))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        abort(writer)
    status = int(head.split(b" ", 2)[1])
    if status == 200 and body != site.answer:
        raise Accepted("a replayed webhook was answered differently")
    return refused(status, 200)


async def misdirected(site: Site, rng: random.Random) -> str:
    """The wrong method, or a path that is merely similar."""
    octets = site.arrival.octets(source(rng))
    method, path, status = rng.choice(
        ((b"GET", b"", 405), (b"DELETE", b"", 405), (b"POST", b"x", 404), (b"POST", b"//", 404))
    )
    changed = octets.replace(b"POST " + PATH.encode(), method + b" " + PATH.encode() + path, 1)
    return refused(await exchange(site.control_url, changed), status)


async def no_http(site: Site, rng: random.Random) -> str:
    """Octets that are no request, or the beginning of one, dropped."""
    octets = rng.choice(
        (
            rng.randbytes(rng.randrange(1, 4000)) + b"\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST "
            + PATH.encode()
            + b" HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"POST " + PATH.encode() + b" HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n",
        )
    )
    status = await exchange(rng.choice((site.control_url, site.media_url)), octets)
    if status in {101, 200}:
        raise Accepted("nonsense was taken for a request")
    return str(status)


async def dropped(site: Site, rng: random.Random) -> str:
    """A request that breaks off anywhere."""
    octets = site.arrival.octets(source(rng))
    host = urlsplit(rng.choice((site.control_url, site.media_url)))
    _, writer = await connect(host.hostname or "", host.port or 0)
    writer.write(octets[: rng.randrange(len(octets))])
    await asyncio.sleep(0)
    abort(writer)
    return "gone"


async def slow(site: Site, rng: random.Random) -> str:
    """A body that drips, until the server's patience is over or ours."""
    writer, reading = await _dripping(site, source(rng))
    patience_s = rng.choice((0.1, 0.1, 0.5, 0.5, BODY_S + 3))
    try:
        async with asyncio.timeout(patience_s):
            while not reading.done():
                writer.write(b"a")
                await asyncio.wait({reading}, timeout=0.3)
        return refused(await reading, SLOW)
    except TimeoutError:
        if patience_s > BODY_S:
            raise Accepted("a body that never ends is waited for") from None
        return "gone"
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        abort(writer)


async def _dripping(site: Site, where: str) -> tuple[asyncio.StreamWriter, asyncio.Task[int]]:
    """A request whose body has only begun, and its answer in time to come."""
    host = urlsplit(site.control_url)
    reader, writer = await connect(host.hostname or "", host.port or 0)
    head = site.arrival.octets(where, **{"Content-Length": "1000"}).partition(b"\r\n\r\n")[0]
    writer.write(head + b"\r\n\r\nA")
    return writer, asyncio.create_task(status_of(reader))


# --- upgrades --------------------------------------------------------------------------------


async def wrong_token(site: Site, rng: random.Random) -> str:
    """A media socket with a token that was never made, or of a call that is over."""
    token = rng.choice((site.revoked, f"{rng.getrandbits(128):x}", "%00", "a" * 3000))
    base = rng.choice((site.media_url, f"{site.control_url}{STREAM_PATH}"))
    return await _not_upgraded(base, f"{STREAM_PATH}/{token}", 403)


async def wrong_path(site: Site, rng: random.Random) -> str:
    """A media socket where there are none."""
    path = rng.choice(("/", f"{STREAM_PATH}x", f"{STREAM_PATH}/a/b", "/rpc/ws"))
    base = rng.choice((site.media_url, site.control_url))
    # The control plane refuses WebSockets without a choice of the status.
    return await _not_upgraded(base, path, 401, 403, 404)


async def _not_upgraded(base: str, path: str, *right: int) -> str:
    host = urlsplit(base)
    return refused(await exchange(base, handshake(host.netloc, path)), *right)


async def half_an_upgrade(site: Site, rng: random.Random) -> str:
    """An upgrade that lacks something."""
    host = urlsplit(site.media_url)
    whole = handshake(host.netloc, f"{STREAM_PATH}/{site.revoked}")
    lines = whole.rstrip().split(b"\r\n")
    del lines[rng.randrange(2, len(lines))]
    octets = b"\r\n".join((*lines, b"", b""))
    return refused(await exchange(site.media_url, octets), 400, 403, 426)


async def no_token(site: Site, rng: random.Random) -> str:
    """A media socket that names the live call and shows no token: it never carries it."""
    base = rng.choice((site.media_url, f"{site.control_url}{STREAM_PATH}".replace("http", "ws", 1)))
    try:
        socket = await WebSocket.open(base)
    except UpgradeRefused as refusal:
        return refused(refusal.status, 403, 503)
    try:
        wire = TwilioWire(StreamIdentity(site.call_sid, ACCOUNT_SID))
        for message in wire.opening():
            socket.send(message)
        return refused(await socket.ended(), 1006, 1008, 1013)
    finally:
        socket.abort()


# --- drawing ---------------------------------------------------------------------------------

WEIGHTS: dict[Attack, int] = {
    unsigned: 20,
    forged: 20,
    tampered: 10,
    malformed: 10,
    oversized: 6,
    replayed: 10,
    misdirected: 5,
    no_http: 5,
    dropped: 5,
    slow: 1,
    wrong_token: 10,
    wrong_path: 5,
    half_an_upgrade: 5,
    no_token: 3,
}


async def attack(site: Site, kind: Attack, rng: random.Random) -> None:
    """Do one thing, and note how it was answered."""
    name = getattr(kind, "__name__", "")
    try:
        async with asyncio.timeout(ATTACK_S):
            site.outcomes[f"{name}: {await kind(site, rng)}"] += 1
    except (ConnectionResetError, BrokenPipeError):
        site.outcomes[f"{name}: reset"] += 1
    except Exception as error:  # noqa: BLE001  (a task's boundary: whatever it is, it is told)
        fail(site, f"{name}: {error!r}")


def fail(site: Site, text: str) -> None:
    """Note a wrong answer."""
    site.failed += 1
    if len(site.failures) < FAILURES_KEPT:
        site.failures.append(text)


async def crowd(site: Site) -> None:
    """One source with more unproven requests than it may have: only itself is kept waiting.

    On a machine that is slow, requests are over before so many are open: it is tried again.
    """
    for number in range(CROWDS):
        try:
            await _crowd(site, f"203.0.113.{number}")
        except TimeoutError:
            continue
        return
    fail(site, "crowd: not kept out, or not let in again")


async def _crowd(site: Site, source: str) -> None:
    told = site.arrival.octets(source, **{"X-Twilio-Signature": "x"})
    elsewhere = site.arrival.octets("198.51.100.1", **{"X-Twilio-Signature": "x"})
    begun = [await _dripping(site, source) for _ in range(UNPROVEN_MAX)]
    try:
        await _until_answered(site, told, TOO_MANY, BODY_S)
        answers = [await exchange(site.control_url, each) for each in (told, elsewhere)]
        if answers != [TOO_MANY, UNPROVEN]:
            fail(site, f"crowd: answered with {answers}")
        ended = Counter(await asyncio.gather(*(reading for _, reading in begun)))
        if ended != {SLOW: UNPROVEN_MAX}:
            fail(site, f"crowd: ended with {dict(ended)}")
        await _until_answered(site, told, UNPROVEN, ATTACK_S)
        site.outcomes["crowd: kept out"] += 1
    finally:
        for writer, reading in begun:
            reading.cancel()
            abort(writer)
        await asyncio.gather(*(reading for _, reading in begun), return_exceptions=True)


async def _until_answered(site: Site, octets: bytes, status: int, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if await exchange(site.control_url, octets) == status:
                return
            await asyncio.sleep(0.02)
