"""What each carrier's media look like on a socket: order, code, rate, octets and length."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from tests.media.plane import LISTENERS, Call, Plane, dial, plane, run, until
from voicecall.audio import SILENCE_OCTET, from_pcm16, to_pcm16
from voicecall.carriers.plivo.stream import PlivoDialect
from voicecall.carriers.telnyx.stream import TelnyxDialect
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection

    from voicecall.carriers._stream import Dialect

pytestmark = pytest.mark.socket

PCM16_16K = AudioFormat("pcm16", 16000)
TELNYX_NAMES = {"ulaw": "PCMU", "alaw": "PCMA", "pcm16": "L16"}
PLIVO_NAMES = {"ulaw": "audio/x-mulaw", "pcm16": "audio/x-l16"}


def ramp(milliseconds: int, rate_hz: int) -> bytes:
    """PCM16 whose samples all differ in both octets."""
    samples = (at * 37 % 20011 - 10000 for at in range(milliseconds * rate_hz // 1000))
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


def swapped(pcm: bytes) -> bytes:
    return b"".join(pcm[at : at + 2][::-1] for at in range(0, len(pcm), 2))


def telnyx_start(audio: AudioFormat) -> dict[str, Any]:
    encoding = TELNYX_NAMES[audio.encoding]
    media_format = {"encoding": encoding, "sample_rate": audio.rate_hz, "channels": 1}
    body = {"call_control_id": "CA1", "media_format": media_format}
    return {"event": "start", "stream_id": "s1", "start": body}


def plivo_start(audio: AudioFormat) -> dict[str, Any]:
    media_format = {"encoding": PLIVO_NAMES[audio.encoding], "sampleRate": audio.rate_hz}
    body = {"callId": "CA1", "streamId": "s1", "mediaFormat": media_format}
    return {"event": "start", "start": body, "extra_headers": ""}


def media(chunk: int, octets: bytes, **numbers: Any) -> dict[str, Any]:
    payload = base64.b64encode(octets).decode()
    said = {"track": "inbound", "chunk": str(chunk), "payload": payload}
    return {"event": "media", **numbers, "media": said}


class Socket:
    """The carrier's end: says JSON, and remembers what it is sent."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.messages: list[dict[str, Any]] = []
        self.reading = asyncio.create_task(self._read())

    async def say(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self._connection.send(orjson.dumps(message).decode())

    @property
    def payloads(self) -> list[bytes]:
        """The audio of each media message."""
        said = [message["media"] for message in self.messages if "media" in message]
        return [base64.b64decode(each["payload"], validate=True) for each in said]

    async def _read(self) -> None:
        try:
            async for message in self._connection:
                self.messages.append(orjson.loads(message))
        except ConnectionClosed:
            pass


@asynccontextmanager
async def connected(
    dialect: Dialect, start: dict[str, Any], listener: str = "port", **settings: Any
) -> AsyncIterator[tuple[Plane, Call, Socket]]:
    """A call over a socket in `dialect`; it is over afterwards."""
    async with plane(listener, dialect=dialect, **settings) as tested:
        call, url = tested.call()
        async with dial(url) as connection:
            socket = Socket(connection)
            await socket.say(start)
            await call.opened.wait()
            yield tested, call, socket
            call.path.close()
        await socket.reading


# --- hearing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("listener", LISTENERS)
def test_telnyx_media_out_of_order_are_heard_in_the_order_of_their_chunks(listener: str) -> None:
    async def case() -> None:
        dialect = TelnyxDialect()
        async with connected(dialect, telnyx_start(ULAW_8K), listener) as (tested, call, socket):
            frames = [bytes([seed]) * 160 for seed in range(8)]
            # The numbers of all messages count marks and keys, too, so they have gaps of their own.
            for at, chunk in enumerate((1, 3, 2, 4, 7, 6, 5, 8)):
                await socket.say(
                    media(chunk, frames[chunk - 1], sequence_number=str(3 * chunk), stream_id="s1"),
                    {"event": "mark", "sequence_number": str(100 + at), "mark": {"name": "x"}},
                )
            await until(lambda: len(call.heard) == 8 * 320)
            assert bytes(call.heard) == to_pcm16(b"".join(frames), "ulaw")
            (leg,) = tested.server.legs()
            counted = leg.stream.jitter
            assert (counted.lost, counted.late, leg.stream.concealed) == (0, 0, 0)
            # 3, 6 and 7 came before one that precedes them.
            assert counted.reordered == 3

    run(case())


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("carrier", ["telnyx", "plivo"])
def test_linear_audio_is_heard_in_either_byte_order(carrier: str, big_endian: bool) -> None:
    async def case() -> None:
        pcm = ramp(60, 16000)
        wire = swapped(pcm) if big_endian else pcm
        if carrier == "telnyx":
            telnyx = TelnyxDialect(PCM16_16K, big_endian=big_endian)
            line = connected(telnyx, telnyx_start(PCM16_16K))
        else:
            line = connected(PlivoDialect(big_endian=big_endian), plivo_start(PCM16_16K))
        async with line as (_, call, socket):
            for chunk in range(3):
                await socket.say(media(chunk + 1, wire[640 * chunk : 640 * (chunk + 1)]))
            await until(lambda: len(call.heard) == len(pcm))
            assert bytes(call.heard) == pcm

    run(case())


def test_a_wide_caller_is_heard_at_the_rate_that_is_spoken() -> None:
    async def case() -> None:
        async with connected(TelnyxDialect(), telnyx_start(PCM16_16K)) as (_, call, socket):
            assert call.path.audio == ULAW_8K
            for chunk in range(10):
                await socket.say(media(chunk + 1, swapped(ramp(20, 16000))))
            # 200 ms less what the filter still holds.
            await until(lambda: len(call.heard) >= 2 * 8 * 190)
            assert len(call.heard) <= 2 * 8 * 200

    run(case())


def test_a_call_does_not_go_on_where_other_audio_is_wanted() -> None:
    async def case() -> None:
        async with connected(PlivoDialect(), plivo_start(ULAW_8K)) as (tested, call, socket):
            url = tested.tokens.issue("call-1")
            async with dial(url) as other:
                await other.send(orjson.dumps(plivo_start(PCM16_16K)).decode())
                await until(lambda: sum(leg.stream.faults for leg in tested.server.legs()) == 1)
                await socket.say(media(1, bytes(160)))
                await until(lambda: len(call.heard) == 320)
            assert call.lost == []

    run(case())


# --- speaking --------------------------------------------------------------------------------


@pytest.mark.parametrize("tail_octets", [2, 158, 160, 162])
@pytest.mark.parametrize("audio", [ULAW_8K, ALAW_8K, PCM16_16K], ids=str)
def test_telnyx_is_sent_what_was_asked_for_and_no_message_shorter_than_20_ms(
    audio: AudioFormat, tail_octets: int
) -> None:
    async def case() -> None:
        # The caller's audio is coded otherwise, and says nothing about ours.
        dialect = TelnyxDialect(audio)
        async with connected(dialect, telnyx_start(ULAW_8K)) as (_, call, socket):
            assert call.path.audio == audio
            frame_octets = audio.octets_per_second // 50
            said = from_pcm16(ramp(120, audio.rate_hz), audio.encoding)
            said = said[: 5 * frame_octets + tail_octets]
            utterance = call.path.utterance()
            await utterance.write(said)
            utterance.finish()
            await until(lambda: socket.messages[-1:] != [] and "mark" in socket.messages[-1])
            assert all(audio.duration_ms(len(payload)) >= 20 for payload in socket.payloads)
            sent = b"".join(socket.payloads)
            padded = said.ljust(
                -(-len(said) // frame_octets) * frame_octets, bytes([SILENCE_OCTET[audio.encoding]])
            )
            assert sent == (swapped(padded) if audio == PCM16_16K else padded)

    run(case())


@pytest.mark.parametrize(
    ("dialect", "start", "shortest_ms"),
    [
        (TelnyxDialect(), telnyx_start(ULAW_8K), 20),
        (PlivoDialect(), plivo_start(ULAW_8K), 10),
    ],
)
def test_short_frames_are_lengthened_only_for_a_carrier_that_takes_none(
    dialect: Dialect, start: dict[str, Any], shortest_ms: int
) -> None:
    async def case() -> None:
        short: dict[str, Any] = {"frame_ms": 10, "lead_ms": 10, "group": 1}
        async with connected(dialect, start, **short) as (_, call, socket):
            utterance = call.path.utterance()
            await utterance.write(bytes(30 * 8))
            utterance.finish()
            await until(lambda: len(b"".join(socket.payloads)) >= 30 * 8)
            assert {len(payload) for payload in socket.payloads} == {shortest_ms * 8}

    run(case())


@pytest.mark.parametrize("audio", [ULAW_8K, PCM16_8K, PCM16_16K], ids=str)
def test_plivo_is_sent_what_its_start_says_with_its_name_and_rate(audio: AudioFormat) -> None:
    async def case() -> None:
        async with connected(PlivoDialect(), plivo_start(audio)) as (_, call, socket):
            said = from_pcm16(ramp(100, audio.rate_hz), audio.encoding)
            utterance = call.path.utterance()
            await utterance.write(said)
            utterance.finish()
            await until(lambda: len(b"".join(socket.payloads)) == len(said))
            assert b"".join(socket.payloads) == said
            for message in socket.messages:
                if message["event"] == "playAudio":
                    media = message["media"]
                    named = PLIVO_NAMES[audio.encoding], audio.rate_hz
                    assert (media["contentType"], media["sampleRate"]) == named

    run(case())


# --- keys ------------------------------------------------------------------------------------


def pressed(digit: str, at: str) -> dict[str, Any]:
    moment = f"2026-01-01T00:00:{at}Z"
    return {"event": "dtmf", "stream_id": "s1", "occurred_at": moment, "dtmf": {"digit": digit}}


@pytest.mark.parametrize("listener", LISTENERS)
def test_keys_of_telnyx_are_told_in_the_order_in_which_they_were_pressed(listener: str) -> None:
    async def case() -> None:
        dialect = TelnyxDialect()
        async with connected(dialect, telnyx_start(ULAW_8K), listener) as (_, call, socket):
            await socket.say(pressed("3", "02.500000"), pressed("1", "02.000000"))
            await socket.say(pressed("2", "02.250000"))
            await until(lambda: len(call.digits) == 3)
            assert call.digits == ["1", "2", "3"]

    run(case())


def test_keys_without_a_time_are_told_at_once() -> None:
    async def case() -> None:
        start = telnyx_start(ULAW_8K)
        async with connected(TelnyxDialect(), start, jitter_ms=1000) as (_, call, socket):
            await socket.say({"event": "dtmf", "stream_id": "s1", "dtmf": {"digit": "7"}})
            await until(lambda: call.digits == ["7"], within_s=0.5)

    run(case())


def test_keys_that_are_held_outlive_the_socket_and_not_the_call() -> None:
    async def case() -> None:
        start = telnyx_start(ULAW_8K)
        async with connected(TelnyxDialect(), start, jitter_ms=200) as (tested, call, socket):
            await socket.say(pressed("1", "02.000000"), {"event": "stop"})
            (leg,) = tested.server.legs()
            await until(lambda: leg.stream.messages == 3)
            leg.close()
            await until(lambda: call.digits == ["1"])
            async with dial(tested.tokens.issue("call-1")) as again:
                await again.send(orjson.dumps(start).decode())
                await again.send(orjson.dumps(pressed("2", "03.000000")).decode())
                await until(lambda: tested.server._paths["call-1"]._key_order.due_ns is not None)
                call.path.close()
            assert call.digits == ["1"]

    run(case())


# --- clearing --------------------------------------------------------------------------------


def test_plivo_says_once_that_it_cleared_and_no_waiter_is_left_behind() -> None:
    async def case() -> None:
        async with connected(PlivoDialect(), plivo_start(ULAW_8K)) as (_, call, socket):
            utterance = call.path.utterance()
            await utterance.write(bytes(8000))
            utterance.finish()
            waiting = asyncio.create_task(utterance.played())
            await until(lambda: socket.messages != [])
            call.path.clear()
            assert (await waiting).interrupted
            await until(lambda: socket.messages[-1]["event"] == "clearAudio")
            # What is said next is not cut by the answer.
            after = call.path.utterance()
            await after.write(bytes(800))
            after.finish()
            await socket.say({"event": "clearedAudio", "streamId": "s1"})
            await until(lambda: socket.messages[-1]["event"] == "checkpoint")
            name = socket.messages[-1]["name"]
            await socket.say({"event": "playedStream", "streamId": "s1", "name": name})
            played = await after.played()
            assert (played.interrupted, played.heard_ms) == (False, 100)

    run(case())


def test_a_checkpoint_that_plivo_clears_by_itself_releases_its_waiter() -> None:
    async def case() -> None:
        async with connected(PlivoDialect(), plivo_start(ULAW_8K)) as (_, call, socket):
            utterance = call.path.utterance()
            await utterance.write(bytes(800))
            utterance.finish()
            await until(lambda: socket.messages[-1:] != [] and "name" in socket.messages[-1])
            await socket.say({"event": "clearedAudio", "streamId": "s1"})
            # Far sooner than a checkpoint that never comes is given up.
            played = await asyncio.wait_for(utterance.played(), 1)
            assert played.interrupted
            assert played.heard_ms <= 100

    run(case())


def test_what_plivo_clears_before_the_call_is_known_changes_nothing() -> None:
    async def case() -> None:
        async with plane("port", dialect=PlivoDialect()) as tested:
            _, url = tested.call()
            async with dial(url) as connection:
                await connection.send(orjson.dumps({"event": "clearedAudio"}).decode())
                (leg,) = tested.server.legs()
                await until(lambda: leg.stream.messages == 1)
                assert leg.stream.faults == 0

    run(case())
