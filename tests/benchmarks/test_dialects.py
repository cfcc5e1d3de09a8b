"""The generator's callers talk as each carrier does."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed

from benchmarks.load.target import DIALECTS
from tests.benchmarks.serving import FRAME_OCTETS, FRAME_S, FRAMES, WARMUP_S, WINDOW_S, put
from voicecall.carriers._stream import StreamCleared, StreamMark, StreamStopped
from voicecall.ports import ULAW_8K, StreamStart
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.plivo import PlivoWire
from voicecall.simulator.wire.telnyx import TelnyxWire
from voicecall.simulator.wire.twilio import TwilioWire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from websockets.asyncio.server import ServerConnection

    from voicecall.carriers._stream import StreamMessage, Wording
    from voicecall.simulator.wire import Wire

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
pytestmark = [pytest.mark.socket, needs_cc, pytest.mark.timed]
each_dialect = pytest.mark.parametrize("dialect", DIALECTS)

WIRES: Mapping[str, Callable[[StreamIdentity], Wire]] = {
    "twilio": TwilioWire,
    "telnyx": TelnyxWire,
    "plivo": PlivoWire,
}
STREAM_ID_KEYS = ("streamSid", "stream_id", "streamId")
SEQUENCE_KEYS = ("sequenceNumber", "sequence_number")
# What has to be the same word for word, and not of the same kind only.
LITERAL_KEYS = frozenset({"event", "protocol", "version", "track", "encoding", "extra_headers"})


class Line:
    """A server's end of one caller's socket.

    Attributes:
        heard: the caller's messages.
    """

    def __init__(self, connection: ServerConnection, dialect: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self._connection = connection
        self._dialect = DIALECTS[dialect]()

    async def read(self) -> StreamMessage | None:
        """What the caller's next message says to the server; None for audio and greetings."""
        self.heard.append(json.loads(await self._connection.recv()))
        return self._dialect.read(self.heard[-1])

    async def said(self) -> StreamMessage:
        """The next thing it says besides audio."""
        while True:
            message = await self.read()
            if message is not None:
                return message

    async def started(self) -> tuple[StreamStart, Wording]:
        """How it begins, and how to talk to it."""
        start = await self.said()
        assert isinstance(start, StreamStart)
        return start, self._dialect.wording(start)

    async def play(self, wording: Wording, audio: bytes) -> None:
        """Send one message of audio."""
        payload = base64.b64encode(audio)
        await self.send(wording.media_head + payload + wording.media_tail)

    async def mark(self, wording: Wording, name: bytes) -> None:
        """Ask to be told when everything so far is played."""
        await self.send(wording.mark_head + name + wording.mark_tail)

    async def send(self, message: bytes) -> None:
        """Send a text message."""
        await self._connection.send(message, text=True)

    async def hear_the_rest(self) -> list[StreamMessage]:
        """Everything it says besides audio until it hangs up."""
        rest: list[StreamMessage] = []
        try:
            while True:
                rest.append(await self.said())
        except ConnectionClosed:
            return rest


def shape(value: object) -> object:
    """A message without what differs from one to the next."""
    if isinstance(value, dict):
        return {key: v if key in LITERAL_KEYS else shape(v) for key, v in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, str):
        return "digits" if value.isdecimal() else "text"
    return type(value).__name__


def number(message: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    return next(int(message[key]) for key in keys if key in message)


@each_dialect
def test_callers_word_their_messages_as_the_carrier_does(dialect: str) -> None:
    wire = WIRES[dialect](StreamIdentity("call", "account"))
    frame = bytes(FRAME_OCTETS)
    said = [*wire.opening(), *wire.media(frame, 20), *wire.mark("m"), *wire.cleared(), *wire.stop()]
    expected = {message["event"]: shape(message) for message in map(json.loads, said)}
    lines: list[Line] = []

    async def provoke(connection: ServerConnection) -> None:
        line = Line(connection, dialect)
        lines.append(line)
        _, wording = await line.started()
        await line.mark(wording, b"m")
        await line.send(wording.clear)
        await line.hear_the_rest()

    put(provoke, dialect=dialect)
    assert len(lines) == 2
    for line in lines:
        assert all(shape(message) == expected[message["event"]] for message in line.heard)
        assert {message["event"] for message in line.heard} == set(expected)


@each_dialect
def test_callers_number_what_they_send_and_are_on_schedule(dialect: str) -> None:
    lines: list[Line] = []
    starts: list[StreamStart] = []

    async def listen(connection: ServerConnection) -> None:
        line = Line(connection, dialect)
        lines.append(line)
        starts.append((await line.started())[0])
        await line.hear_the_rest()

    began_ms = time.time() * 1000
    result = put(listen, dialect=dialect)
    assert len({start.stream_id for start in starts}) == 2
    assert len({start.provider_call_id for start in starts}) == 2
    for start, line in zip(starts, lines, strict=True):
        assert start.audio == ULAW_8K
        numbered = [message for message in line.heard if message["event"] != "connected"]
        numbers = [number(message, SEQUENCE_KEYS) for message in numbered]
        assert numbers == list(range(1, len(numbered) + 1))
        named = [message for message in numbered if message["event"] != "start"]
        names = {message[key] for message in named for key in STREAM_ID_KEYS if key in message}
        assert names == {start.stream_id}
        medias = [message["media"] for message in numbered if message["event"] == "media"]
        assert len(medias) > WINDOW_S / FRAME_S
        first_ms = int(medias[0]["timestamp"])
        for count, media in enumerate(medias):
            assert int(media["chunk"]) == count + 1
            assert int(media["timestamp"]) == first_ms + 20 * count
            assert len(base64.b64decode(media["payload"], validate=True)) == FRAME_OCTETS
        # Plivo says what time it is, the others how long the stream lasts.
        age_ms = first_ms - began_ms if dialect == "plivo" else first_ms
        assert 0 <= age_ms < 10_000
    assert result["sent"]["messages"] == pytest.approx(2 * WINDOW_S / FRAME_S, abs=4)


@each_dialect
def test_a_mark_comes_back_when_what_was_before_it_is_played(dialect: str) -> None:
    waits_s: list[float] = []

    async def marking(connection: ServerConnection) -> None:
        line = Line(connection, dialect)
        _, wording = await line.started()
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        await line.play(wording, b"".join(FRAMES[:10]))
        await line.mark(wording, b"u1.1")
        assert await line.said() == StreamMark("u1.1")
        waits_s.append(loop.time() - sent_s)

    put(marking, dialect=dialect)
    assert len(waits_s) == 2
    assert all(0.255 < wait_s < 0.6 for wait_s in waits_s)


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        ("twilio", StreamMark("end")),
        ("telnyx", StreamMark("end")),
        # The checkpoints that are overtaken are never heard of again.
        ("plivo", StreamCleared()),
    ],
)
def test_a_clear_is_answered_at_once_and_starts_the_player_afresh(
    dialect: str, answer: StreamMessage
) -> None:
    waits_s: list[float] = []
    rests: list[list[StreamMessage]] = []

    async def clearing(connection: ServerConnection) -> None:
        line = Line(connection, dialect)
        _, wording = await line.started()
        loop = asyncio.get_running_loop()
        await line.play(wording, b"".join(FRAMES[:250]))
        await line.mark(wording, b"end")
        sent_s = loop.time()
        await line.send(wording.clear)
        assert await line.said() == answer
        waits_s.append(loop.time() - sent_s)
        # More than is played before the window ends, so that nothing of it is late.
        frames = round((WARMUP_S + 3 * WINDOW_S) / FRAME_S)
        await line.play(wording, b"".join(FRAMES[:frames]))
        rests.append(await line.hear_the_rest())

    heard = put(clearing, dialect=dialect)["regular"]
    assert len(waits_s) == 2
    assert max(waits_s) < 0.5
    assert (heard["late"], heard["overdue"], heard["missing"]) == (0, 0, 0)
    assert all(not rest or rest == [StreamStopped()] for rest in rests)
