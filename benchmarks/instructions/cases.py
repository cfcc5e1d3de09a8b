"""What is counted: calls into the compiled core as a live call makes them, 20 ms at a time."""

from __future__ import annotations

import base64
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from voicecall import _codec
from voicecall._codec import (
    CallableOutlet,
    DtmfDetector,
    JitterBuffer,
    MediaStream,
    Pacer,
    Resampler,
    Ticker,
    WireFormat,
    Workspace,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# Measured calls in the shorter run: whole blocks of a deque (64) and whole messages of 5 frames.
ROUND = 320
# A warm-up, the shorter run and the longer one.
CALLS = 4 * ROUND

NS_PER_MS = 1_000_000
FRAME_OCTETS = 160
FRAME_MS = 20
GROUP = 5
LEAD_FRAMES = 8
LEGS = 64
ULAW_SILENCE = 0xFF
STREAM_ID = "MZ" + "0123456789abcdef" * 2


@dataclass(slots=True, frozen=True)
class Case:
    """One thing whose cost is watched.

    Attributes:
        name: its key in the budget.
        call: what is called.
        columns: one sequence of CALLS values for each argument of it.
        units: how many of what is counted one call does.
    """

    name: str
    call: Callable[..., object]
    columns: tuple[Sequence[object], ...]
    units: int = 1


class Handler:
    """Hears of everything but audio, of which there is none here."""

    def on_message(self, message: dict[str, Any]) -> None:
        raise AssertionError(message)

    def on_faults(self) -> None:
        """A stream that has not begun takes no audio: the scanner's case."""

    def on_failure(self, error: Exception) -> None:
        raise error


def sink() -> Callable[[object], object]:
    """A listener that keeps nothing and costs next to nothing."""
    return deque[object](maxlen=0).append


def noise(octets: int) -> bytes:
    """Line audio: any octet is a mu-law and an A-law code."""
    return random.Random(octets).randbytes(octets)


def speech(samples: int) -> bytes:
    """PCM16 at the level of speech."""
    source = random.Random(samples)
    levels = [round(source.gauss(0, 2000)) for _ in range(samples)]
    return b"".join(level.to_bytes(2, "little", signed=True) for level in levels)


def every(ms: int, calls: int = CALLS) -> list[int]:
    """Times of a monotonic clock, `ms` apart."""
    return [10**15 + i * ms * NS_PER_MS for i in range(calls)]


def media_message(number: int, audio: bytes) -> bytes:
    """An audio message with Twilio's keys in Twilio's order."""
    media = {
        "track": "inbound",
        "chunk": str(number),
        "timestamp": str(number * FRAME_MS),
        "payload": base64.b64encode(audio).decode(),
    }
    message = {"event": "media", "sequenceNumber": str(number + 1), "media": media}
    return orjson.dumps({**message, "streamSid": STREAM_ID})


def messages(audio: bytes) -> list[bytes]:
    """A minute into a call, where the running numbers have the digits they mostly have."""
    return [media_message(number, audio) for number in range(3000, 3000 + CALLS)]


def wire() -> WireFormat:
    """Twilio's wording."""
    head = b'{"event":"%s","streamSid":"' + STREAM_ID.encode() + b'"'
    return WireFormat(
        head % b"media" + b',"media":{"payload":"',
        b'"}}',
        head % b"mark" + b',"mark":{"name":"',
        b'"}}',
        head % b"clear" + b"}",
    )


def line(workspace: Workspace, group: int = GROUP) -> MediaStream:
    """A stream that has begun, with room for all that a case sends."""
    stream = MediaStream(workspace, Handler())
    stream.connect(CallableOutlet(sink()))
    pacer = Pacer(8000, ULAW_SILENCE, FRAME_MS, LEAD_FRAMES * FRAME_MS, group, capacity_ms=600_000)
    stream.begin("ulaw", wire(), pacer)
    return stream


def inbound() -> Iterator[Case]:
    """A caller's audio message, from its text to the listener."""
    arrivals = (messages(noise(FRAME_OCTETS)), every(FRAME_MS))

    heard = line(Workspace())
    heard.listen(sink())
    yield Case("in_heard", heard.receive, arrivals)

    coded = line(Workspace())
    coded.listen(sink(), coded=True)
    yield Case("in_heard_coded", coded.receive, arrivals)

    decoded = line(Workspace())
    decoded.decode_always = True
    yield Case("in_decoded_unheard", decoded.receive, arrivals)

    yield Case("in_unheard", line(Workspace()).receive, arrivals)

    # Without audio and on a stream that has not begun little is left but the scanner.
    scanned = MediaStream(Workspace(), Handler())
    yield Case("in_scan_media", scanned.receive, (messages(b""), every(FRAME_MS)))


def talking(group: int) -> Case:
    """One message of `group` frames, from the pacer's queue to the outlet."""
    stream = line(Workspace(), group)
    times = every(group * FRAME_MS)
    for _ in range(CALLS + LEAD_FRAMES):
        if not stream.pacer or not stream.pacer.write(noise(group * FRAME_OCTETS), times[0]):
            raise AssertionError("the pacer has no room for the case")
    return Case(f"out_message_of_{group}", stream.pump, (times,))


def writing() -> Case:
    """100 ms of speech handed to a stream that has enough at the carrier already."""
    stream = line(Workspace())
    start = every(FRAME_MS)[0]
    stream.write(noise(LEAD_FRAMES * FRAME_OCTETS), start)
    pieces = [noise(FRAME_OCTETS * GROUP)] * CALLS
    return Case("out_write_of_5", stream.write, (pieces, [start] * CALLS))


def ticking(name: str, queued: bytes) -> Case:
    """A tick without anything to send, over many legs and counted for one."""
    ticker = Ticker()
    workspace = Workspace()
    start = every(FRAME_MS)[0]
    for _ in range(LEGS):
        stream = line(workspace)
        if queued:
            stream.write(queued, start)
        ticker.add(stream)
    return Case(name, ticker.tick, ([start] * CALLS,), LEGS)


def outbound() -> Iterator[Case]:
    """Our audio, from where it is queued to the outlet."""
    yield talking(1)
    yield talking(GROUP)
    yield writing()
    yield ticking("tick_idle_leg", b"")
    yield ticking("tick_waiting_leg", noise(FRAME_OCTETS * 2 * GROUP))


def jitter() -> Iterator[Case]:
    """Messages in order, and with every second pair swapped."""
    numbers = list(range(CALLS))
    swapped = [number ^ 1 for number in numbers]
    audio = [noise(FRAME_OCTETS)] * CALLS
    yield Case("jitter_in_order", JitterBuffer().push, (numbers, audio, every(FRAME_MS)))
    yield Case("jitter_swapped", JitterBuffer().push, (swapped, audio, every(FRAME_MS)))


def codecs() -> Iterator[Case]:
    """One frame through each coder."""
    codes = noise(FRAME_OCTETS)
    chars = base64.b64encode(codes)
    pcm = speech(FRAME_OCTETS)
    for name, given in (
        ("ulaw_encode", pcm),
        ("ulaw_decode", codes),
        ("alaw_encode", pcm),
        ("alaw_decode", codes),
    ):
        yield Case(name, getattr(_codec, name), ([given] * CALLS,))
    for name, given in (("base64_encode", codes), ("base64_decode", chars)):
        verb = name.removeprefix("base64_")
        room = bytearray(len(chars))
        call = getattr(_codec, f"{verb}_base64_into")
        yield Case(name, call, ([given] * CALLS, [room] * CALLS))


def signals() -> Iterator[Case]:
    """One frame through what works on linear audio."""
    yield Case("dtmf_detect", DtmfDetector().feed, ([speech(FRAME_OCTETS)] * CALLS,))
    for in_hz, out_hz in ((24_000, 8_000), (8_000, 16_000)):
        resampler = Resampler(in_hz, out_hz)
        pcm = speech(in_hz // 1000 * FRAME_MS)
        name = f"resample_{in_hz // 1000}k_to_{out_hz // 1000}k"
        yield Case(name, resampler.process, ([pcm] * CALLS,))


def cases() -> Iterator[Case]:
    """Everything that is counted; each starts afresh."""
    for part in (inbound, outbound, jitter, codecs, signals):
        yield from part()
