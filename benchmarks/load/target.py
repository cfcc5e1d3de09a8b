"""The real media plane as a load target: caps lifted, no speech engines, any call id welcome.

    python -m benchmarks.load.target --port 3335 [--mode tone|tts|echo]
        [--dialect twilio|telnyx|plivo] [--lead-ms 160] [--group 0]

Connect to `ws://127.0.0.1:PORT/voice/stream` in that dialect, without a token. In every mode all
audio that comes in goes through the jitter buffer and is decoded to PCM16. What goes out:

tone    endless mu-law audio, prepared once for all legs, through the playout of a call
tts     the same from 24 kHz PCM, resampled and encoded for each leg and utterance
echo    each inbound frame at once

It prints one JSON line with its process id and port when it is ready, another with what it has
counted on each SIGUSR1, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

import uvloop

from voicecall.audio import Transcoder, from_pcm16
from voicecall.carriers.plivo.stream import PlivoDialect
from voicecall.carriers.telnyx.stream import TelnyxDialect
from voicecall.carriers.twilio.stream import TwilioDialect
from voicecall.clock import SystemClock
from voicecall.isolation.garbage import GarbagePolicy
from voicecall.media.path import CallPath
from voicecall.media.server import MediaServer, MediaSettings
from voicecall.metrics import Reading
from voicecall.ports import ULAW_8K, AudioFormat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from voicecall.carriers._stream import Dialect
    from voicecall.media.playout import SpokenUtterance
    from voicecall.ports import AudioPath, StreamStart

DIALECTS: Final[Mapping[str, Callable[[], Dialect]]] = {
    "twilio": TwilioDialect,
    "telnyx": TelnyxDialect,
    "plivo": PlivoDialect,
}
UNLIMITED = 1 << 20
LOOP_S = 10
UTTERANCE_S = 3
TTS_FORMAT = AudioFormat("pcm16", 24000)
TTS_PIECE_MS = 200
FRAME_OCTETS = 160
SILENCE_OCTET: Final = b"\xff"


def tone_pcm(rate_hz: int, seconds: int) -> bytes:
    """A tone that glides between 300 and 900 Hz at -9 dBFS; it can be looped without a seam.

    It glides up and down once, so that no two frames are the same: a frame tells where it belongs.
    """
    phase = 0.0
    samples = bytearray()
    for n in range(rate_hz * seconds):
        phase += 2 * math.pi * (600 + 300 * math.sin(2 * math.pi * n / rate_hz / seconds)) / rate_hz
        samples += struct.pack("<h", round(11626 * math.sin(phase)))
    return bytes(samples)


class OpenDoor:
    """Believes every socket: its call is the one it names."""

    def url_for(self, token: str | None) -> str:
        """No carrier is told a URL."""
        return token or ""

    def call_for(self, token: str) -> str | None:
        """No token is known here; sockets come without one."""
        return token or None

    def call_of(self, start: StreamStart) -> str | None:
        """The call that `start` names."""
        return start.provider_call_id

    def used(self, call_id: str) -> None:
        """Nothing to remember."""


class LoadCall:
    """One leg under load; `speak` says endlessly what the mode wants."""

    def __init__(
        self, speak: Callable[[CallPath], Awaitable[None]] | None, calls: set[LoadCall]
    ) -> None:
        self._speak = speak
        self._calls = calls
        self._task: asyncio.Task[None] | None = None
        self._path: CallPath | None = None

    def on_path_open(self, path: AudioPath) -> None:
        if not isinstance(path, CallPath):
            raise TypeError("only a path of the media plane has a stream")
        self._path = path
        self._calls.add(self)
        stream = path.leg.stream if path.leg else None
        if stream is not None:
            stream.decode_always = True
        if self._speak is None:
            if stream is not None:
                stream.listen(stream.send_audio, coded=True)
            return
        self._task = asyncio.ensure_future(self._speak(path))

    def on_path_dtmf(self, digit: str) -> None:
        del digit

    def on_path_lost(self, reason: str) -> None:
        del reason
        self._calls.discard(self)
        if self._task is not None:
            self._task.cancel()
        if self._path is not None:
            self._path.close()


class LoadGate:
    """Gives every socket a call of its own."""

    def __init__(self, speak: Callable[[CallPath], Awaitable[None]] | None) -> None:
        self._speak = speak
        self.calls: set[LoadCall] = set()

    def admit(self, call_id: str, start: StreamStart) -> LoadCall:
        del call_id, start
        return LoadCall(self._speak, self.calls)


def speaker(mode: str) -> Callable[[CallPath], Awaitable[None]] | None:
    """What every leg says in `mode`; None when it echoes."""
    if mode == "echo":
        return None
    if mode == "tone":
        audio = reference(mode)
        seconds = [audio[at : at + 8000] for at in range(0, len(audio), 8000)]

        async def play_tone(path: CallPath) -> None:
            utterance = path.utterance()
            while True:
                for second in seconds:
                    await utterance.write(second)

        return play_tone

    pcm = tone_pcm(TTS_FORMAT.rate_hz, UTTERANCE_S)

    async def play_speech(path: CallPath) -> None:
        earlier: SpokenUtterance | None = None
        while True:
            utterance = path.utterance()
            for audio in spoken(pcm, path.audio):
                await utterance.write(audio)
                # What is ahead of real time is written in small steps, as an engine would give it.
                await asyncio.sleep(0)
            utterance.finish()
            # One utterance stays queued behind the one that plays, so that the audio has no holes.
            if earlier is not None:
                await earlier.played()
            earlier = utterance

    return play_speech


def spoken(pcm: bytes, audio: AudioFormat) -> Iterator[bytes]:
    """An utterance in the line's coding, piece by piece, as a speech engine's output becomes it."""
    piece = TTS_FORMAT.octets_per_second * TTS_PIECE_MS // 1000
    transcoder = Transcoder(TTS_FORMAT, audio)
    for at in range(0, len(pcm), piece):
        yield transcoder.convert(pcm[at : at + piece], at + piece >= len(pcm))


def reference(mode: str) -> bytes:
    """The mu-law audio that a leg sends over and over in `mode`; none when it echoes."""
    if mode == "echo":
        return b""
    if mode == "tone":
        return from_pcm16(tone_pcm(ULAW_8K.rate_hz, LOOP_S), "ulaw")
    audio = b"".join(spoken(tone_pcm(TTS_FORMAT.rate_hz, UTTERANCE_S), ULAW_8K))
    return audio + SILENCE_OCTET * (-len(audio) % FRAME_OCTETS)


def counters(server: MediaServer) -> dict[str, Any]:
    """What the media plane has counted since it began, for the harness."""
    result: dict[str, Any] = {"event": "counters"}
    for sample in server.readings():
        if isinstance(sample, Reading):
            label = "".join(f"_{value}" for value in sample.labels.values())
            result[sample.name + label] = sample.value
        else:
            result[sample.name] = {
                "upperBoundsSeconds": list(sample.upper_bounds_s),
                "counts": list(sample.counts),
                "sumSeconds": sample.sum_s,
            }
    return result


async def serve(options: argparse.Namespace) -> None:
    clock = SystemClock()
    settings = MediaSettings(
        max_connections=UNLIMITED,
        max_pending_connections=UNLIMITED,
        max_pending_connections_per_ip=UNLIMITED,
        pre_start_timeout_ms=30000,
        lead_ms=options.lead_ms,
        group=options.group,
    )
    gate = LoadGate(speaker(options.mode))
    dialect = DIALECTS[options.dialect]()
    server = MediaServer(settings, dialect=dialect, door=OpenDoor(), gate=gate, clock=clock)
    port = await server.listen("127.0.0.1", options.port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGUSR1, lambda: print(json.dumps(counters(server)), flush=True)
    )
    garbage = GarbagePolicy(clock)
    garbage.start()
    chosen = {"mode": options.mode, "dialect": options.dialect}
    print(json.dumps({"pid": os.getpid(), "port": port} | chosen), flush=True)
    await stop.wait()
    for call in tuple(gate.calls):
        call.on_path_lost("the target stops")
    await server.close()
    garbage.stop()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=("tone", "tts", "echo"), default="tone")
    parser.add_argument("--dialect", choices=tuple(DIALECTS), default="twilio")
    parser.add_argument("--lead-ms", type=int, default=160)
    parser.add_argument("--group", type=int, default=0, help="frames per message; 0 chooses")
    uvloop.run(serve(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
