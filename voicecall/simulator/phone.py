"""A phone without a person: calls a media server as carriers do, talks, listens and measures."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from voicecall.audio import from_pcm16, to_pcm16
from voicecall.clock import SystemClock
from voicecall.errors import CallHasEnded, CodecError, NotConnected, SpeechError
from voicecall.simulator.earpiece import TalkMeter
from voicecall.simulator.engines import Ears, Heard, local_engines, speak_ulaw
from voicecall.simulator.microphone import Microphone
from voicecall.simulator.playout import FRAME_OCTETS, LINE_HZ, SAMPLE_NS
from voicecall.simulator.recording import CallRecording, Side
from voicecall.simulator.stream import Closing, MediaStream, PhoneStats
from voicecall.simulator.wav import read_wav
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.reading import KEYS
from voicecall.simulator.wire.twilio import TwilioWire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from voicecall.clock import Clock
    from voicecall.simulator.engines import Engines
    from voicecall.simulator.stream import LineAudio
    from voicecall.simulator.wire import Wire

_log = logging.getLogger("voicecall.simulator")

ANY_ACCOUNT_SID = "AC" + "0" * 32

_KEY_INTERVAL_S = 0.2
_MAX_HEARD = 4096
_MAX_SAID = 4096
_DEFAULT_TIMEOUT_MS = 30_000


@dataclass(frozen=True, slots=True)
class Said:
    """One thing the phone said.

    Attributes:
        text: the words; empty for audio that was played.
        began_ns: when its first frame was due.
        ended_ns: when its last frame had been sent.
    """

    text: str
    began_ns: int
    ended_ns: int


@dataclass(eq=False, slots=True)
class _Waiter:
    """Somebody who waits until `condition` holds; looked at every 20 ms."""

    condition: Callable[[], bool]
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Phone:
    """A simulated phone on a simulated carrier; on Twilio, unless it is given another's wire.

    Use it as an async context manager, or call `connect` and `close`. Everything that waits has a
    deadline: it raises `TimeoutError` then, or `CallHasEnded` when the stream ends first.

    Args:
        url: where to connect, `ws://` or `wss://`.
        wire: the first stream; without it Twilio's is made of the next four.
        call_sid: the carrier's id of the call; needed without a wire.
        account_sid: the carrier's id of the customer.
        stream_sid: the carrier's id of the first stream; a fresh one when None.
        parameters: custom parameters for `start`.
        engines: voice and ears, which stay the caller's to close; this machine's own, made at first
            use and closed with the phone, when None.
        clock: monotonic time; the event loop does the waiting.
        tls: how to check the server's certificate; the system's way when None.
        headers: further ones for each handshake, such as a carrier's signature.

    Attributes:
        stats: counters over all streams.
        heard: what was understood, the latest 4096.
        said: what was said, the latest 4096.
        on_heard: called with each transcript.
        on_line: called every 20 ms with what passed over the line.
        on_keys: called with the keys that the other side pressed through the stream.
        keys_heard: all keys the other side pressed. Most carriers have another way for them than
            the stream; then whoever plays the carrier notes them here.
        wire: the present stream.

    Raises:
        ValueError: there is neither a wire nor a `call_sid`.
    """

    def __init__(  # noqa: PLR0913  (named as in the carrier's start message)
        self,
        url: str,
        *,
        wire: Wire | None = None,
        call_sid: str | None = None,
        account_sid: str = ANY_ACCOUNT_SID,
        stream_sid: str | None = None,
        parameters: Mapping[str, str] | None = None,
        engines: Engines | None = None,
        clock: Clock | None = None,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.stats = PhoneStats()
        self.heard: deque[Heard] = deque(maxlen=_MAX_HEARD)
        self.said: deque[Said] = deque(maxlen=_MAX_SAID)
        self.on_heard: Callable[[Heard], None] | None = None
        self.on_line: Callable[[LineAudio], None] | None = None
        self.on_keys: Callable[[str], None] | None = None
        self.keys_heard = ""
        if wire is None and call_sid is None:
            raise ValueError("a phone needs a wire or a call_sid")
        self.wire: Wire = wire or TwilioWire(
            StreamIdentity(call_sid or "", account_sid, stream_sid or "", dict(parameters or {}))
        )
        self._url = url
        self._clock = clock or SystemClock()
        self._tls = tls
        self._headers = headers
        self._owns_engines = engines is None
        self._engines = engines or local_engines(self._clock)
        self._microphone = Microphone()
        self._talking = asyncio.Lock()
        self._meter = TalkMeter(self._clock.now_ns())
        self._ears: Ears | None = None
        self._record_to: Path | None = None
        self._recording: CallRecording | None = None
        self._stream: MediaStream | None = None
        self._replaced: list[MediaStream] = []
        self._waiters: set[_Waiter] = set()
        self._acted_ns = 0

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # --- the connection ----------------------------------------------------------------------

    @property
    def stream_sid(self) -> str:
        """The carrier's id of the present stream."""
        return self.wire.stream_id

    @property
    def closed(self) -> asyncio.Future[Closing]:
        """Done when the present stream has ended.

        Raises:
            NotConnected: `connect` was never called.
        """
        # Shielded: whoever stops waiting must not take the end away from everybody else.
        return asyncio.shield(self._present_stream().closed)

    def record(self, path: Path) -> None:
        """Record both sides to a stereo WAV file; call it before `connect`."""
        self._record_to = path

    async def connect(self) -> None:
        """Connect and start talking to the server, silence at first.

        Raises:
            CarrierError: the server cannot be reached or refused the handshake.
            SpeechError: the ears cannot be opened.
            DependencyMissing: the local engines are not installed.
            OSError: the recording cannot be made.
        """
        if self._engines.ears is not None and self._ears is None:
            ears = Ears(self._engines.ears, self._clock, self._on_transcript)
            await ears.open()
            self._ears = ears
        try:
            await self._open_stream(self._url, self.wire)
        except BaseException:
            await self.close()
            raise

    async def reconnect(
        self,
        url: str | None = None,
        *,
        wire: Wire | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Start another stream of the same call, as after a drop; the present one is hung up.

        Args:
            url: where to connect; the present URL when None.
            wire: the stream; another one like the present one when None.
            headers: for the handshake; the present ones when None.

        Raises:
            CarrierError: the server cannot be reached or refused the handshake.
        """
        await self.hang_up()
        self._headers = self._headers if headers is None else headers
        await self._open_stream(url or self._url, wire or self.wire.again())

    async def replace(self) -> None:
        """Start another stream of the same call beside the present one, and go over to it.

        The older one neither speaks nor plays any more; it stays until the server ends it, or the
        phone is closed.

        Raises:
            NotConnected: `connect` was never called.
            CarrierError: the server cannot be reached or refused the handshake; the present stream
                goes on.
        """
        older = self._present_stream()
        await self._open_stream(self._url, self.wire.again())
        older.retire()
        for ended in [stream for stream in self._replaced if stream.closed.done()]:
            await ended.stop()
            self._replaced.remove(ended)
        self._replaced.append(older)

    async def drop(self) -> None:
        """Break the TCP connection without a word."""
        await self._present_stream().abort()

    async def hang_up(self) -> Closing:
        """End the stream as the carrier does when the caller hangs up; harmless when it is over."""
        stream = self._present_stream()
        await stream.stop()
        return await stream.closed

    async def close(self) -> None:
        """Hang up and free everything; twice is harmless."""
        async with AsyncExitStack() as ending:
            # Last in, first out; what fails does not keep the rest from being closed.
            if self._owns_engines:
                ending.push_async_callback(self._engines.close)
            if self._recording is not None:
                ending.callback(self._recording.close)
            if self._ears is not None:
                ending.push_async_callback(self._ears.close)
                self._ears = None
            for stream in (*self._replaced, self._stream):
                if stream is not None:
                    ending.push_async_callback(stream.stop)
            self._replaced.clear()

    async def _open_stream(self, url: str, wire: Wire) -> None:
        stream = MediaStream(wire, self._microphone, self, self.stats, self._clock)
        await stream.open(url, self._tls, self._headers)
        self._url = url
        self.wire = wire
        self._stream = stream
        stream.closed.add_done_callback(self._on_closed)
        self._acted_ns = stream.origin_ns
        if self._recording is None:
            self._meter = TalkMeter(stream.origin_ns)
            if self._record_to is not None:
                self._recording = CallRecording(self._record_to, stream.origin_ns)

    # --- talking -----------------------------------------------------------------------------

    async def prepare(self, text: str) -> bytes:
        """Synthesize `text` now, to play it at the right moment later.

        Returns:
            PCM16 at 8 kHz, as it will sound on the line.

        Raises:
            SpeechError: there is no voice, or it failed.
        """
        if self._engines.voice is None:
            raise SpeechError("this phone has no voice")
        return to_pcm16(await speak_ulaw(self._engines.voice, text), "ulaw")

    async def say(self, text: str) -> Said:
        """Say `text`; returns when its last frame has been sent.

        Raises:
            SpeechError: there is no voice, or it failed.
            CallHasEnded: the stream ended before.
        """
        return await self._speak(text, await self.prepare(text))

    async def play(self, audio: bytes | Path, text: str = "") -> Said:
        """Play PCM16 at 8 kHz, or a WAV file; returns when its last frame has been sent.

        Args:
            audio: samples, or where they are.
            text: what is said in it, for `said`.

        Raises:
            CodecError: the audio is broken or longer than ten minutes.
            OSError: the file cannot be read.
            CallHasEnded: the stream ended before.
        """
        if not isinstance(audio, bytes):
            audio = await asyncio.to_thread(read_wav, audio, LINE_HZ)
        return await self._speak(text, audio)

    async def press(self, digits: str) -> None:
        """Press keys, five a second.

        Raises:
            CodecError: there is no such key.
            CallHasEnded: the stream is over.
        """
        if not set(digits) <= KEYS:
            raise CodecError("keys are 0-9, *, # and A-D")
        for digit in digits:
            self._live_stream().press(digit)
            self._end_turn()
            await asyncio.sleep(_KEY_INTERVAL_S)

    async def _speak(self, text: str, pcm: bytes) -> Said:
        async with self._talking:
            self._live_stream()
            began_ns = self._clock.now_ns()
            end = self._microphone.speak(from_pcm16(pcm, "ulaw"))
            try:
                await self._until(
                    lambda: self._microphone.sent >= end,
                    len(pcm) * 1000 // (2 * LINE_HZ) + _DEFAULT_TIMEOUT_MS,
                )
            finally:
                # After a cancellation or the end of the stream the rest must not be said later.
                self._microphone.stop()
            said = Said(text, began_ns, self._end_turn())
            self.said.append(said)
            return said

    def _end_turn(self) -> int:
        """From now on it is the other side's turn; answers and talking count from here."""
        self._acted_ns = self._clock.now_ns()
        self._meter.begin_turn()
        return self._acted_ns

    # --- listening ---------------------------------------------------------------------------

    async def wait_quiet(self, ms: int, timeout_ms: int = _DEFAULT_TIMEOUT_MS) -> None:
        """Wait until nothing has been heard for `ms`."""
        await self._until(lambda: self._meter.quiet_ms(self._clock.now_ns()) >= ms, timeout_ms)

    async def wait_talking(self, ms: int, timeout_ms: int = _DEFAULT_TIMEOUT_MS) -> None:
        """Wait until the other side has talked for `ms` since we last spoke or pressed a key.

        Pauses of up to 700 ms are part of talking.
        """
        await self._until(
            lambda: self._meter.talking_ms(self._clock.now_ns()) >= max(ms, 1), timeout_ms
        )

    async def wait_answer(self, quiet_ms: int, timeout_ms: int = _DEFAULT_TIMEOUT_MS) -> None:
        """Wait until the other side has talked since we last spoke or pressed a key, and is silent.

        Args:
            quiet_ms: how long it has to be silent.
            timeout_ms: for both together.
        """
        acted_ns = self._acted_ns

        def answered() -> bool:
            loud_ns = self._meter.loud_until_ns
            spoke = loud_ns is not None and loud_ns > acted_ns
            return spoke and self._meter.quiet_ms(self._clock.now_ns()) >= quiet_ms

        await self._until(answered, timeout_ms)

    async def wait_closed(self, timeout_ms: int = _DEFAULT_TIMEOUT_MS) -> Closing:
        """Wait until the stream has ended.

        Raises:
            TimeoutError: it went on.
        """
        async with asyncio.timeout(timeout_ms / 1000):
            return await self.closed

    async def _until(self, condition: Callable[[], bool], timeout_ms: int) -> None:
        self._live_stream()
        waiter = _Waiter(condition)
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await waiter.done
        finally:
            self._waiters.discard(waiter)

    def on_line_audio(self, line: LineAudio) -> None:
        """The stream's report of another 20 ms; not for callers."""
        pcm = to_pcm16(line.heard, "ulaw")
        self._meter.feed(pcm, line.heard_ns + len(line.heard) * SAMPLE_NS)
        if self._ears is not None:
            self._ears.push(line.heard)
        if self._recording is not None:
            self._recording.add(Side.BOT, pcm, line.heard_ns)
            self._recording.add(Side.CALLER, to_pcm16(line.spoken, "ulaw"), line.spoken_ns)
        if self.on_line is not None:
            self.on_line(line)
        for waiter in tuple(self._waiters):
            if waiter.condition() and not waiter.done.done():
                waiter.done.set_result(None)

    def on_keys_pressed(self, digits: str) -> None:
        """The stream's report of keys the other side pressed; not for callers."""
        self.keys_heard += digits
        if self.on_keys is not None:
            self.on_keys(digits)

    def _on_transcript(self, heard: Heard) -> None:
        self.heard.append(heard)
        if self.on_heard is not None:
            self.on_heard(heard)

    def _on_closed(self, closed: asyncio.Future[Closing]) -> None:
        if self._stream is None or closed is not self._stream.closed:
            return
        self._microphone.stop()
        for waiter in tuple(self._waiters):
            if not waiter.done.done():
                waiter.done.set_exception(self._over())

    def _present_stream(self) -> MediaStream:
        if self._stream is None:
            raise NotConnected("the phone was never connected", call_id=self.wire.call_id)
        return self._stream

    def _live_stream(self) -> MediaStream:
        stream = self._present_stream()
        if stream.closed.done():
            raise self._over()
        return stream

    def _over(self) -> CallHasEnded:
        return CallHasEnded("the phone's stream is over", call_id=self.wire.call_id)


class EchoPhone(Phone):
    """A phone that says back whatever it hears, about 40 ms later. It takes the same arguments."""

    _to_say = b""

    def on_line_audio(self, line: LineAudio) -> None:
        """Take note of another 20 ms, and say them again."""
        super().on_line_audio(line)
        # Cut at frames, since the microphone fills up what is shorter.
        self._to_say += line.heard
        whole = len(self._to_say) - len(self._to_say) % FRAME_OCTETS
        self._microphone.speak(self._to_say[:whole])
        self._to_say = self._to_say[whole:]
