"""Everything that callers do to a server in the course of a bad month, drawn by lot.

Each behaviour knows which answers are right; any other is a failure, however flat the memory stays.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from benchmarks.soak.caller import SILENCE, Caller
from benchmarks.soak.carrier import CallRefused, Carrier, Dialled
from benchmarks.soak.websocket import (
    ABNORMAL,
    BINARY,
    CLOSE,
    CONTINUATION,
    DEADLINE_S,
    PING,
    TEXT,
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
    from collections.abc import AsyncIterator, Awaitable, Callable

BEHAVIOUR_S = 40.0
FAILURES_KEPT = 20
STREAM_PATH = "/voice/stream"
LONG_WORDS = "incomprehensibilities and counterrevolutionaries"
FULL = 503
# The single-port fallback cannot choose the status it refuses a WebSocket with.
FALLBACK_REFUSED = 403


class WrongAnswer(Exception):
    """The server did something else than it should."""


@dataclass(slots=True)
class Site:
    """Where callers call, and what came of it.

    Attributes:
        carrier: the control plane.
        media_url: the stream path of the media port.
        outcomes: how often each behaviour came to which end.
        failures: the first wrong answers.
        failed: how many there were.
    """

    carrier: Carrier
    media_url: str
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    failed: int = 0

    @property
    def fallback_url(self) -> str:
        """The stream path of the control port."""
        return self.carrier.control_url.replace("http", "ws", 1) + STREAM_PATH


Behaviour: TypeAlias = "Callable[[Site, random.Random], Awaitable[str]]"


def expect(answer: int, *right: int) -> str:
    """`answer` as text, when it is one of the right ones."""
    if answer not in right:
        raise WrongAnswer(f"answered with {answer} instead of {' or '.join(map(str, right))}")
    return str(answer)


@asynccontextmanager
async def answered(site: Site, message: str) -> AsyncIterator[Dialled]:
    """An answered call; it is not left behind when the caller fails."""
    call = await site.carrier.place(message)
    try:
        await site.carrier.report(call, "call.answered")
        yield call
    except BaseException:
        await _hung_up(site, call)
        raise


async def _hung_up(site: Site, call: Dialled, reason: str = "completed") -> None:
    await site.carrier.report(call, "call.ended", reason=reason)


async def _over(site: Site, call: Dialled, *reasons: str) -> str:
    """Wait until the server has ended the call; the reason, which has to be one of `reasons`."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            record = await site.carrier.record(call.call_id)
            if record.get("endReason"):
                break
            await asyncio.sleep(0.1)
    reason = str(record["endReason"])
    if reason not in reasons:
        raise WrongAnswer(f"a call ended as {reason} instead of {' or '.join(reasons)}")
    return reason


def _url(site: Site, call: Dialled, rng: random.Random) -> str:
    """The call's URL on one of the two ports."""
    token = call.url.rpartition("/")[2]
    return f"{site.fallback_url if rng.random() < 0.2 else site.media_url}/{token}"


def _closed(site: Site, url: str, code: int, right: int = 1000) -> str:
    """Check the code of a socket that the server has closed.

    On the control plane's port it may be missing: granian 2.8 ends the connection right behind its
    close frame, and what the caller is sending then makes the kernel reset it.
    """
    return expect(code, right, *((ABNORMAL,) if url.startswith(site.fallback_url) else ()))


# --- calls --------------------------------------------------------------------------------------


async def talk(site: Site, rng: random.Random) -> str:
    """Speak when the bot is silent, until it says goodbye."""
    async with answered(site, "Hi") as call:
        url = _url(site, call, rng)
        async with await Caller.open(call, url) as caller:
            caller.start()
            while not caller.closed.done():
                await caller.hears()
                await asyncio.sleep(0.4)
                await caller.say(rng.choice((200, 300)))
            _closed(site, url, await caller.ended())
        return await _over(site, call, "hangup-bot")


async def barge_in(site: Site, rng: random.Random) -> str:
    """Interrupt a long answer, then hang up as a carrier does."""
    async with answered(site, "Hi") as call:
        async with await Caller.open(call, _url(site, call, rng)) as caller:
            caller.start()
            await caller.hears()
            await asyncio.sleep(0.4)
            saying = asyncio.create_task(
                site.carrier.ask("speak", callId=call.call_id, message=LONG_WORDS)
            )
            # More than what may be left of the greeting: otherwise this would be the caller's turn.
            await caller.hears(400)
            await caller.say(500)
            await saying
            caller.send(caller.wire.stop())
            caller.socket.send(struct.pack("!H", 1000), CLOSE)
            await caller.ended()
            await _hung_up(site, call)
            if not caller.clears:
                record = await site.carrier.record(call.call_id)
                raise WrongAnswer(
                    f"nothing was cleared when the caller interrupted: {caller} {record}"
                )
        # Or the report came more than two seconds after the connection was closed.
        return await _over(site, call, "completed", "hangup-user")


async def reset(site: Site, rng: random.Random) -> str:
    """Lose the connection in the middle of a word; only sometimes does the carrier report it."""
    async with answered(site, LONG_WORDS) as call:
        async with await Caller.open(call, _url(site, call, rng)) as caller:
            caller.start()
            await asyncio.sleep(rng.uniform(0, 0.6))
            caller.socket.abort()
        if rng.random() < 0.5:
            await _hung_up(site, call)
            # Or the report came more than two seconds after the connection was lost.
            return await _over(site, call, "completed", "hangup-user")
        return await _over(site, call, "hangup-user")


async def half_close(site: Site, rng: random.Random) -> str:
    """Send FIN in the middle of a word, and wait."""
    async with answered(site, LONG_WORDS) as call:
        socket = await WebSocket.open(_url(site, call, rng))
        try:
            begin(socket, call)
            await asyncio.sleep(rng.uniform(0, 0.4))
            socket.half_close()
            await socket.ended()
        finally:
            socket.abort()
        return await _over(site, call, "hangup-user")


async def vanish(site: Site, rng: random.Random) -> str:
    """Neither send nor read nor close any more, as behind a network that broke."""
    async with answered(site, LONG_WORDS) as call:
        socket = await WebSocket.open(_url(site, call, rng), receive_octets=4096)
        try:
            begin(socket, call)
            await asyncio.sleep(rng.uniform(0, 1.0))
            await site.carrier.ask("end", callId=call.call_id)
            reason = await _over(site, call, "hangup-bot")
            # Longer than a socket may take to say goodbye.
            await asyncio.sleep(1.2)
        finally:
            socket.abort()
        return reason


async def close_without_stop(site: Site, rng: random.Random) -> str:
    """Close the WebSocket in order, but without a word of the carrier's."""
    async with answered(site, "Hi") as call:
        socket = await WebSocket.open(_url(site, call, rng))
        try:
            begin(socket, call)
            await asyncio.sleep(rng.uniform(0, 0.4))
            expect(await socket.goodbye(), 1000)
        finally:
            socket.abort()
        return await _over(site, call, "hangup-user")


async def reconnect(site: Site, rng: random.Random) -> str:
    """Lose the connection and be back within the grace, twice; then be replaced by another."""
    async with answered(site, LONG_WORDS) as call:
        for _ in range(2):
            async with await Caller.open(call, _url(site, call, rng)) as caller:
                caller.start()
                await caller.hears()
        first, second = _url(site, call, rng), _url(site, call, rng)
        async with await Caller.open(call, first) as older:
            older.start()
            await older.hears()
            async with await Caller.open(call, second) as newer:
                newer.start()
                _closed(site, first, await older.ended())
                await newer.say(100)
                await _hung_up(site, call)
                _closed(site, second, await newer.ended())
        return await _over(site, call, "completed")


async def ring_in_vain(site: Site, rng: random.Random) -> str:
    """Do not answer; the carrier reports it, too often and in a strange order."""
    call = await site.carrier.place("Hi")
    reason = rng.choice(("busy", "no-answer", "failed", "voicemail"))
    reports = [("call.ringing", {}), *[("call.ended", {"reason": reason})] * 2]
    for kind, fields in reports:
        await site.carrier.report(call, kind, **fields)
    await site.carrier.report(call, "call.answered")
    return await _over(site, call, reason)


async def press_keys(site: Site, rng: random.Random) -> str:
    """Press keys, and hang up by RPC in the middle."""
    async with answered(site, "Hi") as call:
        url = _url(site, call, rng)
        async with await Caller.open(call, url) as caller:
            caller.start()
            for digit in "15*#":
                caller.send(caller.wire.dtmf(digit))
                await asyncio.sleep(rng.uniform(0, 0.1))
            await site.carrier.ask("end", callId=call.call_id)
            _closed(site, url, await caller.ended())
        return await _over(site, call, "hangup-bot")


async def silent_start(site: Site, rng: random.Random) -> str:
    """Connect with a good token and never say what for."""
    async with answered(site, "Hi") as call:
        socket = await WebSocket.open(_url(site, call, rng))
        try:
            answer = expect(await socket.ended(), 1008)
        finally:
            socket.abort()
        await _hung_up(site, call)
        return answer


# --- sockets nobody wants -----------------------------------------------------------------------


async def refused_upgrade(site: Site, rng: random.Random) -> str:
    """Come with a wrong token, to a wrong path, or with a call's token after its end."""
    base = rng.choice((site.media_url, site.fallback_url))
    kind = rng.choice(("token", "path", "over"))
    path = {"token": "/" + "0" * 32, "path": "/../elsewhere/1/2", "over": ""}[kind]
    if kind == "over":
        call = await site.carrier.place("Hi")
        await _hung_up(site, call, "busy")
        path = "/" + call.url.rpartition("/")[2]
    try:
        socket = await WebSocket.open(base + path)
    except UpgradeRefused as refusal:
        return f"{kind} {expect(refusal.status, 403, 404, FULL)}"
    socket.abort()
    raise WrongAnswer(f"a socket with a wrong {kind} was let in")


async def garbage(site: Site, rng: random.Random) -> str:
    """Send what is no upgrade, or half of one, to the media port."""
    host = urlsplit(site.media_url)
    good = handshake(host.netloc, host.path)
    kind, data = rng.choice(
        (
            ("noise", rng.randbytes(400) + b"\r\n\r\n"),
            ("no upgrade", b"GET /voice/stream HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("post", b"POST /voice/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"),
            ("no key", good.replace(b"Sec-WebSocket-Key", b"X-Other")),
            ("half", good[: len(good) // 2]),
            ("endless", b"GET /" + b"a" * 20_000),
            ("nothing", b""),
        )
    )
    reader, writer = await connect(host.hostname or "", host.port or 0)
    try:
        writer.write(data)
        if kind in {"half", "nothing", "endless"}:
            await asyncio.sleep(rng.uniform(0, 0.2))
        else:
            status = await status_of(reader)
            if status == 101:
                raise WrongAnswer(f"{kind} was taken for an upgrade")
    finally:
        abort(writer)
    return kind


async def crowd_without_token(site: Site, rng: random.Random) -> str:
    """Come in numbers without a token: most are turned away, the others never start."""
    base = rng.choice((site.media_url, site.fallback_url))
    answers = Counter(await asyncio.gather(*(_pending(base) for _ in range(12))))
    expect_all(answers, {1008, 1013, FULL, FALLBACK_REFUSED})
    return "+".join(str(answer) for answer in sorted(answers))


def expect_all(answers: Counter[int], right: set[int]) -> None:
    """Check many answers at once."""
    for answer in answers:
        expect(answer, *sorted(right))


async def _pending(url: str) -> int:
    try:
        socket = await WebSocket.open(url)
    except UpgradeRefused as refusal:
        return refusal.status
    try:
        return await socket.ended()
    finally:
        socket.abort()


async def crowd_with_token(site: Site, rng: random.Random) -> str:
    """Open more sockets than the server takes, all with one good token, and drop them."""
    async with answered(site, "Hi") as call:
        url = f"{site.media_url}/{call.url.rpartition('/')[2]}"
        opened: list[WebSocket] = []
        refused = 0
        try:
            for _ in range(rng.choice((20, 120))):
                try:
                    opened.append(await WebSocket.open(url))
                except UpgradeRefused as refusal:
                    expect(refusal.status, FULL)
                    refused += 1
        finally:
            for socket in opened:
                socket.abort()
        await _hung_up(site, call)
        return "over the limit" if refused else "within the limit"


async def malformed(site: Site, rng: random.Random) -> str:
    """Start a stream properly, then send nothing usable until it is ended."""
    async with answered(site, "Hi") as call:
        url = _url(site, call, rng)
        socket = await WebSocket.open(url)
        try:
            begin(socket, call)
            for _ in range(25):
                _send_nonsense(socket, rng)
            answer = _closed(site, url, await socket.ended(), 1008)
        finally:
            socket.abort()
        await _hung_up(site, call)
        return answer


def _send_nonsense(socket: WebSocket, rng: random.Random) -> None:
    match rng.randrange(6):
        case 0:
            socket.send(b'{"event":"media","media":{"payload":"***"}}')
        case 1:
            socket.send(rng.randbytes(100), BINARY)
        case 2:
            socket.send(b'{"event":"media"' + b" " * 70_000 + b"}")
        case 3:
            socket.send(b"{" * 1000)
        case 4:
            socket.send(b'{"event":', TEXT, fin=False)
            socket.send(b"nothing", CONTINUATION)
        case _:
            socket.send(b"[]")


async def broken_frames(site: Site, rng: random.Random) -> str:
    """Break the WebSocket protocol itself."""
    async with answered(site, "Hi") as call:
        socket = await WebSocket.open(f"{site.media_url}/{call.url.rpartition('/')[2]}")
        try:
            begin(socket, call)
            match rng.randrange(3):
                case 0:
                    socket.send(b"", opcode=0x7)
                case 1:
                    socket.send_raw(b"\x81\xff" + struct.pack("!Q", 1 << 40) + bytes(4))
                case _:
                    socket.send(b"\x00", CLOSE)
            await socket.ended()
        finally:
            socket.abort()
        await _hung_up(site, call)
        return "ended"


async def flood_unread(site: Site, rng: random.Random) -> str:
    """Have the server answer more and more without ever reading."""
    del rng
    async with answered(site, LONG_WORDS) as call:
        socket = await WebSocket.open(
            f"{site.media_url}/{call.url.rpartition('/')[2]}", receive_octets=4096
        )
        try:
            begin(socket, call)
            ping = b"?" * 125
            for _ in range(60_000):
                socket.send(ping, PING)
                await socket.drain()
            reason = await _over(site, call, "hangup-user")
        except ConnectionError:
            reason = await _over(site, call, "hangup-user")
        finally:
            socket.abort()
        return reason


# --- the control plane --------------------------------------------------------------------------


async def refused_call(site: Site, rng: random.Random) -> str:
    """Call a server that takes no calls from outside."""
    name = f"refused-{rng.getrandbits(64):x}"
    event = {"type": "call.ringing", "direction": "inbound", "providerCallId": name}
    return expect(await site.carrier.post({"event": event}), 200)


async def wrong_webhook(site: Site, rng: random.Random) -> str:
    """Report nonsense."""
    body: object = rng.choice(
        ({"event": {"type": "call.born"}}, [], {"events": []}, {"event": "x" * 99})
    )
    return expect(await site.carrier.post(body), 400)


async def huge_webhook(site: Site, rng: random.Random) -> str:
    """Report more than anybody has to say."""
    del rng
    return expect(await site.carrier.post({"event": "x" * 70_000}), 413)


async def drop_events(site: Site, rng: random.Random) -> str:
    """Follow the changes for a moment and lose the connection."""
    following = asyncio.create_task(_follow(site))
    await asyncio.sleep(rng.uniform(0.1, 0.5))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return "dropped"


async def _follow(site: Site) -> None:
    async for _ in site.carrier.changes(asyncio.Event()):
        pass


def begin(socket: WebSocket, call: Dialled) -> None:
    """Start a stream that nobody reads, with a little audio."""
    wire = TwilioWire(StreamIdentity(call.provider_call_id, "AC" + "0" * 32))
    messages = wire.opening()
    for frame in range(5):
        messages += wire.media(SILENCE, frame * 20)
    for message in messages:
        socket.send(message)


# --- drawing ------------------------------------------------------------------------------------

WEIGHTS: dict[Behaviour, int] = {
    talk: 10,
    barge_in: 6,
    reset: 10,
    half_close: 5,
    vanish: 4,
    close_without_stop: 5,
    reconnect: 5,
    ring_in_vain: 6,
    press_keys: 5,
    silent_start: 4,
    refused_upgrade: 8,
    garbage: 10,
    crowd_without_token: 2,
    crowd_with_token: 1,
    malformed: 5,
    broken_frames: 5,
    flood_unread: 1,
    refused_call: 4,
    wrong_webhook: 4,
    huge_webhook: 2,
    drop_events: 3,
}


async def behave(site: Site, behaviour: Behaviour, rng: random.Random) -> None:
    """Do one thing, and note how it ended."""
    name = getattr(behaviour, "__name__", "")
    try:
        async with asyncio.timeout(BEHAVIOUR_S):
            site.outcomes[f"{name}: {await behaviour(site, rng)}"] += 1
    except (CallRefused, UpgradeRefused) as refusal:
        # Somebody's crowd fills the server just now.
        site.outcomes[f"{name}: no room"] += 1
        if isinstance(refusal, UpgradeRefused) and refusal.status not in {FULL, FALLBACK_REFUSED}:
            _fail(site, f"{name}: {refusal!r}")
    except Exception as error:  # noqa: BLE001  (a task's boundary: whatever it is, it is told)
        _fail(site, f"{name}: {error!r}")


def _fail(site: Site, text: str) -> None:
    site.failed += 1
    print(f"wrong: {text}", flush=True)
    if len(site.failures) < FAILURES_KEPT:
        site.failures.append(text)


async def churn(site: Site, callers: int, seed: int, until_s: float) -> None:
    """Let callers behave badly side by side, until `until_s` on the event loop's clock."""
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(_caller(site, random.Random(f"{seed}/{number}"), until_s))


async def _caller(site: Site, rng: random.Random, until_s: float) -> None:
    behaviours, weights = list(WEIGHTS), list(WEIGHTS.values())
    loop = asyncio.get_running_loop()
    while loop.time() < until_s:
        (behaviour,) = rng.choices(behaviours, weights)
        await behave(site, behaviour, rng)
