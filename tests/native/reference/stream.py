"""A media stream put together from the twins of its parts."""

from collections.abc import Callable
from typing import Any

from tests.native.reference import framing, g711, jitter, pacer
from voicecall import _codec
from voicecall.errors import CodecError
from voicecall.ports import Encoding

FAULTS_MAX = 20
LAST_FRAME_SAMPLES = 320


def decoder(expand: Callable[[int], int]) -> list[bytes]:
    return [expand(code).to_bytes(2, "little", signed=True) for code in range(256)]


PCM = {"ulaw": decoder(g711.ulaw_expand), "alaw": decoder(g711.alaw_expand)}
COMPRESS = {"ulaw": g711.ulaw_compress, "alaw": g711.alaw_compress}


def swapped(audio: bytes) -> bytes:
    """Its 16-bit samples with their octets the other way round."""
    whole = len(audio) // 2 * 2
    samples = (audio[at : at + 2][::-1] for at in range(0, whole, 2))
    return b"".join(samples) + audio[whole:]


class MediaStream:
    """Same methods and counters as `voicecall._codec.MediaStream`; messages go to `sent`.

    Args:
        on_message: as the handler's; CodecError makes the message a fault.
        jitter_ms: see the jitter buffer.
    """

    def __init__(self, on_message: Callable[[dict[str, Any]], object], jitter_ms: int) -> None:
        self._on_message = on_message
        self._buffer = jitter.JitterBuffer(jitter_ms)
        self._encoding: Encoding | None = None
        self._wire: _codec.WireFormat | None = None
        self._pacer: pacer.Pacer | None = None
        self._swaps_in = self._swaps_out = False
        self._listening = False
        self._coded = False
        self._faults_in_row = 0
        self._hole = 0
        self._last = b""
        self._message_samples = 0
        self.sent: list[bytes] = []
        self.heard: list[bytes] = []
        self.fault_alarms = 0
        self.messages = self.faults = self.media_in = self.octets_in = self.concealed = 0
        self.media_out = self.octets_out = 0

    def begin(
        self,
        encoding: Encoding,
        wire: _codec.WireFormat,
        pacer_: pacer.Pacer,
        *,
        swaps_in: bool,
        swaps_out: bool,
    ) -> None:
        self._encoding, self._wire, self._pacer = encoding, wire, pacer_
        self._swaps_in, self._swaps_out = swaps_in and encoding == "pcm16", swaps_out

    def listen(self, *, coded: bool) -> None:
        self._listening, self._coded = True, coded

    def receive(self, message: bytes, now_ns: int) -> None:
        self.messages += 1
        try:
            said = framing.read(message)
            if isinstance(said, framing.Audio):
                self._take(said, now_ns)
            elif isinstance(said, framing.Other):
                self._on_message(said.message)
            self._faults_in_row = 0
        except (framing.UnusableError, CodecError):
            self.faults += 1
            self._faults_in_row += 1
            self.fault_alarms += self._faults_in_row == FAULTS_MAX

    def write(self, audio: bytes, now_ns: int) -> bool:
        if self._pacer is None or not self._pacer.write(audio, now_ns):
            return False
        self.pump(now_ns)
        return True

    def finish(self, now_ns: int, mark: str) -> None:
        if self._pacer is not None:
            self._pacer.finish(now_ns)
            self._pacer.mark(mark)
            self.pump(now_ns)

    def clear(self, now_ns: int) -> None:
        if self._pacer is not None and self._wire is not None:
            self._pacer.clear(now_ns)
            self.sent.append(self._wire.clear)

    def pump(self, now_ns: int) -> None:
        self._hear(self._buffer.expire(now_ns))
        if self._pacer is None or self._wire is None:
            return
        for item in self._pacer.pump(now_ns):
            if isinstance(item, str):
                self.sent.append(self._wire.mark_head + item.encode() + self._wire.mark_tail)
            else:
                self.sent.append(self._wire.media(swapped(item) if self._swaps_out else item))
                self.media_out += 1
                self.octets_out += len(item)

    def _take(self, said: framing.Audio, now_ns: int) -> None:
        if self._encoding is None or (self._encoding == "pcm16" and len(said.octets) % 2):
            raise framing.UnusableError("audio")
        self.media_in += 1
        octets = swapped(said.octets) if self._swaps_in else said.octets
        if said.number < 0:
            self._hear([octets])
        else:
            self._hear(self._buffer.push(said.number, octets, now_ns))

    def _hear(self, items: list[bytes | int]) -> None:
        for item in items:
            if isinstance(item, int):
                self._conceal(item)
                continue
            self.octets_in += len(item)
            self._hole = 0
            if self._listening:
                pcm = self._decoded(item)
                self._message_samples = len(pcm) // 2
                self._last = pcm[-2 * LAST_FRAME_SAMPLES :]
                self.heard.append(item if self._coded else pcm)

    def _conceal(self, frames: int) -> None:
        self.concealed += frames
        for _ in range(frames if self._listening and self._message_samples else 0):
            # Compared with a twin of its own; here it is a part like the others.
            pcm = _codec.conceal(self._last, self._hole, self._message_samples)
            self._hole += 1
            self.heard.append(self._encoded(pcm) if self._coded else pcm)

    def _decoded(self, audio: bytes) -> bytes:
        if self._encoding is None or self._encoding == "pcm16":
            return audio
        table = PCM[self._encoding]
        return b"".join(table[code] for code in audio)

    def _encoded(self, pcm: bytes) -> bytes:
        if self._encoding is None or self._encoding == "pcm16":
            return pcm
        return bytes(map(COMPRESS[self._encoding], memoryview(pcm).cast("h")))
