"""The servers compared with ours do what their table in benchmarks/peers/README.md says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks.peers import environment, ready, run
from benchmarks.peers.tone import tone_pcm16
from voicecall.audio import from_pcm16

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.asyncio.client import ClientConnection

pytestmark = [pytest.mark.socket, pytest.mark.timed]

ROOT = Path(__file__).resolve().parents[2]
START_S = 30
STOP_S = 5
ANSWER_S = 5
CALL_S = 3
STREAMS = 2
FRAME_OCTETS = 160
SILENCE = base64.b64encode(b"\xff" * FRAME_OCTETS).decode()

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def needs_environment(name: str) -> Any:
    """A parameter that is left out until the peer's own environment has been made."""
    reason = f"made by `python -m benchmarks.peers.run {name} --port 0`"
    return pytest.param(
        name, marks=pytest.mark.skipif(not environment.is_ready(name), reason=reason)
    )


TONES = [needs_environment("starlette"), needs_environment("pipecat")]
ECHOES = [
    pytest.param(("picows_echo", "--here"), id="picows_echo"),
    pytest.param(("c_epoll",), id="c_epoll", marks=needs_cc),
]


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[dict[str, Any]]:
    """Start a peer, give its ready line, end it with SIGTERM and see that it ends well."""
    command = [sys.executable, "-m", "benchmarks.peers.run", *arguments, "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  (our own module)
        assert process.stdout is not None
        too_slow = threading.Timer(START_S, process.kill)
        too_slow.start()
        line = process.stdout.readline()
        too_slow.cancel()
        try:
            yield json.loads(line)
        finally:
            process.terminate()
            try:
                status = process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert status == 0


def url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/voice/stream"


def frame(payload: bytes, first: int = 0x81, mask: bytes = b"\x01\x80\xff\x37") -> bytes:
    """One masked client frame; `first` is the octet with FIN and the opcode."""
    octets = len(payload)
    length = bytes([0x80 | octets]) if octets < 126 else b"\xfe" + octets.to_bytes(2, "big")
    repeated = (mask * (octets // 4 + 1))[:octets]
    hidden = bytes(a ^ b for a, b in zip(payload, repeated, strict=True))
    return bytes([first]) + length + mask + hidden


def answer(payload: bytes, first: int = 0x81) -> bytes:
    """The unmasked server frame for the same payload."""
    octets = len(payload)
    length = bytes([octets]) if octets < 126 else b"\x7e" + octets.to_bytes(2, "big")
    return bytes([first]) + length + payload


UPGRADE = (
    b"GET /voice/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"sec-websocket-key:   dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# The answer to that key is the example of RFC 6455, section 1.3.
ACCEPTED = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


def receive(peer: socket.socket, octets: int) -> bytes:
    """Exactly that much, or what came before the end."""
    received = bytearray()
    while len(received) < octets:
        piece = peer.recv(octets - len(received))
        if not piece:
            break
        received += piece
    return bytes(received)


def receive_upgrade(peer: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = peer.recv(1)
        assert octet
        head += octet
    return head


@contextlib.contextmanager
def raw_connection(port: int) -> Iterator[socket.socket]:
    """A socket whose handshake is done."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as peer:
        peer.sendall(UPGRADE)
        assert receive_upgrade(peer).endswith(ACCEPTED)
        yield peer


@pytest.mark.parametrize("arguments", ECHOES)
def test_an_echo_answers_every_text_frame_with_itself_and_a_close_with_a_close(
    arguments: tuple[str, ...],
) -> None:
    messages = ["", *(f"{octets}:".ljust(octets, "x") for octets in (7, 125, 126, 300, 16000))]

    async def talk(port: int) -> None:
        async with asyncio.timeout(ANSWER_S), connect(url(port), proxy=None) as peer:
            for message in messages:
                await peer.send(message)
            assert [await peer.recv() for _ in messages] == messages
            await (await peer.ping())
            await peer.close(1000)
            assert peer.close_code == 1000

    async def case(port: int) -> None:
        await asyncio.gather(*(talk(port) for _ in range(STREAMS)))

    with serving(*arguments) as server:
        assert server["name"] == arguments[0]
        asyncio.run(case(server["port"]))


@needs_cc
def test_the_c_server_takes_a_handshake_and_frames_in_any_pieces() -> None:
    text = b"in many pieces"
    with (
        serving("c_epoll") as server,
        socket.create_connection(("127.0.0.1", server["port"]), timeout=ANSWER_S) as peer,
    ):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in UPGRADE + frame(text):
            peer.send(bytes([octet]))
        assert receive_upgrade(peer).endswith(ACCEPTED)
        assert receive(peer, len(answer(text))) == answer(text)
        peer.sendall(frame(b"on", first=0x01) + frame(b"e", first=0x80) + frame(b"?", first=0x89))
        expected = answer(b"on", first=0x01) + answer(b"e", first=0x80) + answer(b"?", first=0x8A)
        assert receive(peer, len(expected)) == expected


@needs_cc
def test_the_c_server_stops_reading_a_peer_that_does_not_read_and_loses_nothing() -> None:
    one = frame(bytes(range(200)) * 20)
    expected = answer(bytes(range(200)) * 20)
    with serving("c_epoll") as server, raw_connection(server["port"]) as peer:
        peer.setblocking(False)
        sent = 0
        # Full for longer than a few scheduling slices: both directions of the connection are full.
        full_since: float | None = None
        while full_since is None or time.monotonic() - full_since < 0.2:
            try:
                sent += peer.send((one * 8)[sent % len(one) :])
                full_since = None
            except BlockingIOError:
                full_since = full_since or time.monotonic()
        peer.settimeout(ANSWER_S)
        whole, part = divmod(sent, len(one))
        assert receive(peer, whole * len(expected)) == expected * whole
        if part:
            peer.sendall(one[part:])
            assert receive(peer, len(expected)) == expected


@needs_cc
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(answer(b"hello"), id="not masked"),
        pytest.param(b"\x81\xff" + bytes(12), id="a length of 64 bits"),
        pytest.param(b"\x81\xfe\xff\xff" + bytes(4), id="longer than the buffer"),
    ],
)
def test_the_c_server_drops_a_peer_that_breaks_the_rules_and_serves_the_others(bad: bytes) -> None:
    with (
        serving("c_epoll") as server,
        raw_connection(server["port"]) as other,
        raw_connection(server["port"]) as peer,
    ):
        peer.sendall(bad)
        with contextlib.suppress(ConnectionResetError):
            assert peer.recv(1) == b""
        other.sendall(frame(b"still here"))
        assert receive(other, 12) == answer(b"still here")


async def call(port: int, number: int) -> tuple[bytes, list[float]]:
    """Hold one call for CALL_S: the audio that came, and when each message came."""
    stream_sid = f"MZ{number}"
    audio = bytearray()
    arrivals_s: list[float] = []

    async def hear(peer: ClientConnection) -> None:
        async for text in peer:
            message = json.loads(text)
            assert message["streamSid"] == stream_sid
            arrivals_s.append(time.monotonic())
            audio.extend(base64.b64decode(message["media"]["payload"]))

    async def speak(peer: ClientConnection) -> None:
        start = {"streamSid": stream_sid, "callSid": f"CA{number}", "customParameters": {}}
        start_message = {"event": "start", "streamSid": stream_sid, "start": start}
        await peer.send(json.dumps({"event": "connected", "protocol": "Call"}))
        await peer.send(json.dumps(start_message))
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        for sent in range(CALL_S * 50):
            media = {"track": "inbound", "timestamp": str(sent * 20), "payload": SILENCE}
            await peer.send(json.dumps({"event": "media", "streamSid": stream_sid, "media": media}))
            await asyncio.sleep(start_s + (sent + 1) * 0.020 - loop.time())

    async with asyncio.timeout(CALL_S + ANSWER_S), connect(url(port), proxy=None) as peer:
        hearing = asyncio.create_task(hear(peer))
        await speak(peer)
        hearing.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
            await hearing
    return bytes(audio), arrivals_s


@pytest.mark.parametrize("name", TONES)
def test_a_tone_peer_says_the_tone_to_every_call_in_real_time(name: str) -> None:
    async def case(port: int) -> list[tuple[bytes, list[float]]]:
        return await asyncio.gather(*(call(port, number) for number in range(STREAMS)))

    with serving(name) as server:
        assert set(server["versions"]) >= {"python", "uvicorn", "uvloop"}
        calls = asyncio.run(case(server["port"]))
    expected = np.frombuffer(tone_pcm16(), dtype="<i2").astype(float)
    codes = np.frombuffer(from_pcm16(tone_pcm16(), "ulaw"), dtype=np.uint8)
    level = {int(code): value for code, value in zip(codes, expected, strict=True)}
    for audio, arrivals_s in calls:
        took_s = arrivals_s[-1] - arrivals_s[0]
        ahead_s = len(audio) / 8000 - took_s
        assert len(audio) % FRAME_OCTETS == 0
        assert took_s > CALL_S - 1
        # The largest lead is 160 ms and nine frames; the rest is what a busy machine adds.
        assert 0 < ahead_s < 0.25
        heard = np.array([level.get(code, 0.0) for code in audio])
        error = heard - expected[: len(heard)]
        assert np.sqrt(np.mean(error**2)) < 0.05 * np.sqrt(np.mean(expected**2))


@needs_cc
def test_a_peer_stays_on_its_core() -> None:
    core = min(os.sched_getaffinity(0))
    with serving("c_epoll", "--core", str(core)) as server:
        assert os.sched_getaffinity(server["pid"]) == {core}


def test_every_peer_pins_what_it_asks_for_exactly() -> None:
    for name in run.MODULES:
        lines = environment.requirements(name).read_text().splitlines()
        assert lines
        assert [line for line in lines if not ready.PIN.match(line)] == []


def test_the_picows_peer_runs_the_picows_that_we_build_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = environment.requirements("picows_echo").read_text().splitlines()
    assert [pin for pin in pins if pin.startswith("picows")] == [
        pin for pin in project["dependencies"] if re.match(r"picows\b", pin)
    ]
    assert ready.versions("picows_echo")["python"] == platform.python_version()


def test_an_environment_is_used_again_only_for_the_same_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installs: list[tuple[str | Path, ...]] = []

    def pretend(*command: str | Path) -> None:
        installs.append(command)
        (tmp_path / "build" / "envs" / "one").mkdir(parents=True, exist_ok=True)

    pins = tmp_path / "envs" / "one.txt"
    pins.parent.mkdir()
    pins.write_text("picows==2.3.0\n")
    monkeypatch.setattr(environment, "FOLDER", tmp_path)
    monkeypatch.setattr(environment, "BUILD", tmp_path / "build")
    monkeypatch.setattr(environment, "_call", pretend)
    first = environment.environment("one")
    made = len(installs)
    assert made == 2
    assert environment.environment("one") == first
    assert len(installs) == made
    pins.write_text("picows==2.3.1\n")
    assert not environment.is_ready("one")
    environment.environment("one")
    assert len(installs) == 2 * made
