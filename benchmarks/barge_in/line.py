"""A carrier and a telephone in virtual time: what we send is played, and what is said comes back.

Between the session and the line are our own media plane's path, playout and pacer; only the sockets
are left out.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import orjson

from benchmarks.barge_in.sounds import RATE_HZ, noise
from voicecall._codec import CallableOutlet, MediaStream, Pacer, WireFormat, Workspace, ulaw_encode
from voicecall.audio import SILENCE_OCTET, to_pcm16
from voicecall.carriers.twilio.stream import TwilioDialect
from voicecall.media.keys import KeyOrder
from voicecall.media.path import CallPath
from voicecall.ports import ULAW_8K, StreamStart
from voicecall.simulator.playout import FRAME_OCTETS, PlayoutBuffer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.barge_in.sounds import Sound
    from benchmarks.barge_in.virtual import VirtualClock
    from voicecall.media.leg import Leg
    from voicecall.ports import PathEvents

_FRAME_S = 0.02
_LEAD_MS = 160


@dataclass(frozen=True, slots=True)
class Surrounding:
    """What the caller's telephone adds to what he says.

    Attributes:
        echo_db: how loud our own voice comes back; None for not at all.
        echo_ms: how late.
        noise_dbfs: how loud it hisses.
    """

    echo_db: float | None = None
    echo_ms: int = 150
    noise_dbfs: float = -62.0


class Line:
    """One call's line.

    Args:
        events: the call's conversation.
        surrounding: what comes back besides what the caller says.
        clock: virtual time.
        rng: for the noise.

    Attributes:
        path: the conversation's side.
        cleared_ns: when our side asked for silence.
    """

    def __init__(
        self,
        events: PathEvents,
        surrounding: Surrounding,
        clock: VirtualClock,
        rng: np.random.Generator,
    ) -> None:
        self._surrounding = surrounding
        self._clock = clock
        self._rng = rng
        self.cleared_ns: list[int] = []
        self._buffer = PlayoutBuffer(clock.now_ns())
        self._played: Sound = np.zeros(RATE_HZ * 120)
        self._said: Sound = np.zeros(RATE_HZ * 120)
        self._position = 0
        self._sequence = 0
        self._stream = MediaStream(Workspace(), self)
        start = StreamStart("line", "call", ULAW_8K, None, {})
        wording = TwilioDialect().wording(start)
        self._wire = WireFormat(
            wording.media_head,
            wording.media_tail,
            wording.mark_head,
            wording.mark_tail,
            wording.clear,
        )
        pacer = Pacer(ULAW_8K.octets_per_second, SILENCE_OCTET["ulaw"], 20, _LEAD_MS)
        self._stream.connect(CallableOutlet(self._receive))
        self._stream.begin("ulaw", self._wire, pacer)
        self.path = CallPath(
            "call", events, ULAW_8K, pacer, KeyOrder(60), clock, on_closed=lambda _: None
        )
        self.stream = self._stream
        self.path.carry_on(cast("Leg", self), ULAW_8K)

    def say(self, sound: Sound, after_ms: float) -> int:
        """Have the caller say `sound` in a while; the moment of its first sample."""
        start = self._position + round(after_ms * RATE_HZ / 1000)
        self._said[start : start + len(sound)] += sound
        return self._clock.now_ns() + round(after_ms * 1e6)

    async def run(self) -> None:
        """Carry audio both ways until cancelled."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            due_s += _FRAME_S
            await asyncio.sleep(due_s - loop.time())
            self._pass_on(self._clock.now_ns())

    def close(self, code: int = 1000, reason: str = "") -> None:
        """The leg's part: nothing is to be closed."""
        del code, reason

    def on_message(self, message: Mapping[str, Any]) -> None:
        """The leg's part: nothing but audio is sent from here."""

    def on_room(self) -> None:
        """The leg's part: there is room for more audio."""
        self.path.playout.on_room()

    def _pass_on(self, now_ns: int) -> None:
        self._stream.pump(now_ns)
        for echo in self._buffer.play_until(now_ns):
            self.path.playout.on_mark(echo.name)
        for stretch in self._buffer.take_played():
            pcm = np.frombuffer(to_pcm16(stretch.audio, "ulaw"), "<i2") / 32768
            self._played[stretch.position : stretch.position + len(pcm)] = pcm
        end = self._position + FRAME_OCTETS
        heard = self._said[self._position : end] + self._echo(end)
        heard += noise(FRAME_OCTETS, self._surrounding.noise_dbfs, self._rng)
        self._position = end
        pcm16 = (np.clip(heard, -1, 1) * 32767).astype("<i2").tobytes()
        self._stream.receive(self._message(ulaw_encode(pcm16)), now_ns)

    def _echo(self, end: int) -> Sound:
        late = end - self._surrounding.echo_ms * RATE_HZ // 1000
        if self._surrounding.echo_db is None or late < FRAME_OCTETS:
            return np.zeros(FRAME_OCTETS)
        gain = 10 ** (self._surrounding.echo_db / 20)
        echo: Sound = self._played[late - FRAME_OCTETS : late] * gain
        return echo

    def _message(self, audio: bytes) -> bytes:
        self._sequence += 1
        media = {
            "chunk": str(self._sequence),
            "timestamp": str(self._sequence * 20),
            "payload": base64.b64encode(audio).decode(),
        }
        return orjson.dumps(
            {
                "event": "media",
                "sequenceNumber": str(self._sequence),
                "streamSid": "line",
                "media": {"track": "inbound", **media},
            }
        )

    def _receive(self, message: bytes) -> None:
        now_ns = self._clock.now_ns()
        said = orjson.loads(message)
        match said["event"]:
            case "media":
                self._buffer.receive(base64.b64decode(said["media"]["payload"]), now_ns)
            case "mark":
                self._buffer.mark(said["mark"]["name"], now_ns)
            case "clear":
                self._buffer.clear(now_ns)
                self.cleared_ns.append(now_ns)
