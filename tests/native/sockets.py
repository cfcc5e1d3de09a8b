"""A poller served by hand, sockets on it whose owners remember everything, and their peers."""

from __future__ import annotations

import gc
import select
import socket
import struct
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.native.reference.stream import MediaStream as SlowMediaStream
from tests.native.reference.websocket import read
from voicecall._codec import MediaStream, SocketPoller, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
REQUEST = b"GET /voice/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
WITHIN_S = 5.0
PIECE_OCTETS = 16384
WAY_OCTETS = 65536

Replies = list[tuple[int, bytes]]


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    final: bool = True,
    key: bytes = b"\xa1\x52\x03\xf4",
    form: int = 0,
) -> bytes:
    """A client's frame, its length written in at least form 1 (16 bits) or 2 (64 bits)."""
    head = bytes([0x80 * final | opcode])
    masked = bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))
    return head + length_field(len(payload), form) + key + masked


def length_field(octets: int, form: int = 0) -> bytes:
    if octets < 126 and form == 0:
        return bytes([0x80 | octets])
    if octets < 1 << 16 and form < 2:
        return b"\xfe" + octets.to_bytes(2, "big")
    return b"\xff" + octets.to_bytes(8, "big")


def frames_in(octets: bytes) -> Replies:
    """Opcodes and payloads of frames as a server has to send them."""
    found: Replies = []
    while octets:
        width = {126: 2, 127: 8}.get(octets[1], 0)
        begin = 2 + width
        length = int.from_bytes(octets[2:begin], "big") if width else octets[1]
        assert octets[0] in {0x80 | opcode for opcode in (TEXT, CLOSE, PING, PONG)}
        assert len(octets) >= begin + length
        found.append((octets[0] & 15, octets[begin : begin + length]))
        octets = octets[begin + length :]
    return found


class Owner:
    """Opens what is requested and closes on a violation, unless a test wants something else.

    Args:
        does: what is done on being told something, by its name or the message's event.

    Attributes:
        does: likewise, to be added to.
        told: the names and events in order, and `violation` followed by its code.
        messages: what the stream hands on.
    """

    def __init__(self, bench: Bench, fd: int, **does: Callable[[Owner], object]) -> None:
        self.told: list[str | int] = []
        self.heads: list[bytes] = []
        self.failures: list[Exception] = []
        self.messages: list[dict[str, Any]] = []
        self.does = does
        self.stream = MediaStream(bench.workspace, self)
        self.socket = bench.poller.add(fd, self)

    def on_request(self, head: bytes) -> None:
        self.heads.append(head)
        self._tell("request", lambda owner: owner.socket.open(RESPONSE, owner.stream))

    def on_violation(self, code: int) -> None:
        self._tell("violation", lambda owner: owner.socket.close(code), code)

    def on_stalled(self) -> None:
        self._tell("stalled")

    def on_failure(self, error: Exception) -> None:
        self.failures.append(error)
        self._tell("failure")

    def on_disconnected(self) -> None:
        self.stream.close()
        self._tell("disconnected")

    def on_message(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self._tell(message["event"])

    def on_faults(self) -> None:
        self._tell("faults")

    def _tell(
        self, name: str, usual: Callable[[Owner], object] = lambda _: None, *more: int
    ) -> None:
        self.told += [name, *more]
        self.does.get(name, usual)(self)


class Peer:
    """The other end of a socket: sends frames, and reads those that come.

    Attributes:
        ended: whether the connection is gone, as far as was read.
    """

    def __init__(self, bench: Bench, end: socket.socket) -> None:
        self._bench = bench
        self.end = end
        self.end.setblocking(False)
        self.ended = False
        self._octets = bytearray()

    def send(self, octets: bytes) -> None:
        """Send at once, in one write: not more than a socket holds."""
        assert self.end.send(octets) == len(octets)

    def say(self, octets: bytes) -> None:
        """Send however much, and have it read."""
        for at in range(0, len(octets), PIECE_OCTETS):
            self.send(octets[at : at + PIECE_OCTETS])
            self._bench.serve()

    def read(self, count: int = 1 << 22) -> bytes:
        """What has come, at most `count` octets of it; taken away."""
        while len(self._octets) < count and not self.ended:
            try:
                got = self.end.recv(min(count, 1 << 16))
            except BlockingIOError:
                break
            except ConnectionError:
                got = b""
            self.ended = not got
            self._octets += got
        taken = bytes(self._octets[:count])
        del self._octets[:count]
        return taken

    def wait(self) -> None:
        """Wait until something can be read."""
        assert select.select([self.end], [], [], WITHIN_S)[0], "nothing comes"

    def frames(self) -> Replies:
        """The frames that have come, all of them whole."""
        return frames_in(self.read())

    def reset(self) -> None:
        """End a TCP connection without saying goodbye."""
        self.end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end.close()


class Bench:
    """One poller and the peers of its sockets."""

    def __init__(self) -> None:
        self.poller = SocketPoller()
        self.workspace = Workspace()
        self._peers: list[Peer] = []

    def pair(self, *, tcp: bool = False) -> tuple[int, Peer]:
        """A descriptor to be served, and the other end of it."""
        ours, theirs = _tcp_pair() if tcp else socket.socketpair()
        ours.setblocking(False)
        peer = Peer(self, theirs)
        self._peers.append(peer)
        return ours.detach(), peer

    def connect(
        self, *, opened: bool = True, tcp: bool = False, **does: Callable[[Owner], object]
    ) -> tuple[Owner, Peer]:
        """A socket and its peer, which has sent its request already unless told otherwise."""
        fd, peer = self.pair(tcp=tcp)
        owner = Owner(self, fd, **does)
        if opened:
            peer.send(REQUEST)
            self.serve_until(lambda: bool(owner.told))
            peer.wait()
            assert peer.read() == RESPONSE
            assert owner.told == ["request"]
            owner.told.clear()
        return owner, peer

    def serve(self) -> None:
        """Serve until nothing is left to do."""
        while self.poller.poll():
            pass

    def serve_until(self, condition: Callable[[], bool]) -> None:
        """Serve what the poller wakes for, until `condition` holds."""
        limit_s = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < limit_s, "nothing of that kind happens"
            if select.select([self.poller], [], [], 0.01)[0]:
                self.poller.poll()

    def close(self) -> None:
        self.poller.close()
        for peer in self._peers:
            with suppress(OSError):
                peer.end.close()


@contextmanager
def bench() -> Iterator[Bench]:
    """A bench that has to leave no descriptor behind."""
    gc.collect()
    before = descriptors()
    made = Bench()
    try:
        yield made
    finally:
        made.close()
    assert len(made.poller) == 0
    assert not descriptors() - before


def descriptors() -> frozenset[str]:
    """What this process has open; threads of other tests may close something at any time."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(f"{path.name} {path.readlink()}")
    return frozenset(found)


def check_reading(pieces: Sequence[bytes]) -> None:
    """Whatever comes behind an upgrade is read as the slow reading reads it, in any pieces."""
    with closing(Bench()) as made:
        owner, peer = made.connect()
        # The socket may be gone before the last piece.
        with suppress(BrokenPipeError):
            for piece in pieces:
                peer.say(piece)
        replies = peer.frames()
    reading = read(b"".join(pieces))
    messages: list[dict[str, Any]] = []
    stream = SlowMediaStream(messages.append, jitter_ms=60)
    for text in reading.texts:
        stream.receive(text or b"", now_ns=0)
    assert owner.messages == messages
    assert (owner.stream.messages, owner.stream.faults) == (stream.messages, stream.faults)
    assert owner.told.count("faults") == stream.fault_alarms
    if reading.violation is not None:
        reading.replies.append((CLOSE, reading.violation.to_bytes(2, "big")))
    assert replies == reading.replies
    assert peer.ended == reading.closed
    assert not owner.failures


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    # Little room on the way, where otherwise 4 MiB are lost to sight.
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WAY_OCTETS)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WAY_OCTETS)
    return ours, theirs
