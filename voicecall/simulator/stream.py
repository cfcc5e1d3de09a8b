"""One media stream of the simulated carrier: a socket, a talker's clock and a playout buffer."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from picows import WSCloseCode, WSError, WSListener, WSMsgType, ws_connect

from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.errors import CarrierError
from voicecall.simulator.earpiece import Earpiece
from voicecall.simulator.playout import FRAME_MS, SAMPLE_NS, PlayoutBuffer, PlayoutStats
from voicecall.simulator.wire import ClearAudio, PlaceMark, PlayAudio, PressKeys, ProtocolBroken

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    from picows import WSFrame, WSTransport

    from voicecall.clock import Clock
    from voicecall.simulator.microphone import Microphone
    from voicecall.simulator.wire import Wire

_log = logging.getLogger("voicecall.simulator")

_FRAME_NS = FRAME_MS * NS_PER_MS
_CATCH_UP_NS = NS_PER_S
_CLOSE_TIMEOUT_S = 5.0
_MAX_MESSAGE_OCTETS = 4 * 1024 * 1024
_MAX_VIOLATIONS = 100
_EMPTY_CLOSE = 1005
_NO_CODE = 1006


@dataclass(frozen=True, slots=True)
class Violation:
    """Something the server sent that the carrier would have complained about.

    Attributes:
        code: the carrier's error code; None where it has none.
        detail: what was wrong.
        at_ns: when it came.
    """

    code: int | None
    detail: str
    at_ns: int


@dataclass(slots=True)
class PhoneStats:
    """Counters of one simulated phone, over all its streams.

    Attributes:
        frames_sent: media messages sent.
        frames_skipped: frames never sent because this process stood still for over a second.
        frames_dropped: frames not sent because the server did not read.
        marks_echoed: marks returned to the server.
        protocol_errors: messages the carrier would have complained about.
        violations: the latest 100 of them.
        playout: what came back, and how well in time.
    """

    frames_sent: int = 0
    frames_skipped: int = 0
    frames_dropped: int = 0
    marks_echoed: int = 0
    protocol_errors: int = 0
    violations: deque[Violation] = field(default_factory=lambda: deque(maxlen=_MAX_VIOLATIONS))
    playout: PlayoutStats = field(default_factory=PlayoutStats)

    @property
    def frames_received(self) -> int:
        """Whole frames of audio received."""
        return self.playout.frames

    @property
    def underruns(self) -> int:
        """Times what came back broke off inside an utterance."""
        return self.playout.underruns

    @property
    def late(self) -> int:
        """Media messages that came too late for a player with 60 ms of pre-buffer."""
        return self.playout.late

    @property
    def marks(self) -> int:
        """Marks received."""
        return self.playout.marks

    @property
    def clears(self) -> int:
        """Clears received."""
        return self.playout.clears


@dataclass(frozen=True, slots=True)
class Closing:
    """How a stream ended.

    Attributes:
        code: the WebSocket close code received; 1005 in a close without one, 1006 without a close.
        reason: the reason received with it.
        by_server: whether the server closed or lost the connection.
    """

    code: int
    reason: str
    by_server: bool


@dataclass(frozen=True, slots=True)
class LineAudio:
    """What passed over the line in about 20 ms, mu-law.

    Attributes:
        spoken: the frame that was sent.
        spoken_ns: when its first sample was said.
        heard: what was played; it joins the previous one seamlessly.
        heard_ns: when its first sample was played.
    """

    spoken: bytes
    spoken_ns: int
    heard: bytes
    heard_ns: int


class StreamOwner(Protocol):
    """Who holds the phone in the hand."""

    def on_line_audio(self, line: LineAudio) -> None:
        """Another 20 ms have passed."""
        ...

    def on_keys_pressed(self, digits: str) -> None:
        """The other side pressed keys."""
        ...


class MediaStream:
    """A stream from its handshake to its end.

    Args:
        wire: how the carrier talks on it; of this stream alone.
        microphone: what to say.
        owner: who listens.
        stats: where to count.
        clock: monotonic time; the waiting itself is done by the event loop.
    """

    def __init__(
        self,
        wire: Wire,
        microphone: Microphone,
        owner: StreamOwner,
        stats: PhoneStats,
        clock: Clock,
    ) -> None:
        self.closed: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        self.origin_ns = 0
        self._wire = wire
        self._microphone = microphone
        self._owner = owner
        self._stats = stats
        self._clock = clock
        self._listener = _Listener(self)
        self._playout = self._buffer(0)
        self._earpiece = Earpiece()
        self._ended_by_us = False
        self._retired = False
        self._mark_timer: asyncio.TimerHandle | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def open(
        self,
        url: str,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Connect and start the stream.

        Args:
            url: `ws://` or `wss://`.
            tls: how to check the server's certificate; the system's way when None.
            headers: further ones for the handshake, such as a carrier's signature.

        Raises:
            CarrierError: the server cannot be reached, or refused the handshake; then `status` is
                its HTTP status.
        """
        try:
            await ws_connect(
                lambda: self._listener,
                url,
                ssl_context=tls,
                max_frame_size=_MAX_MESSAGE_OCTETS,
                max_redirects=0,
                extra_headers=headers,
            )
        except WSError as error:
            response = getattr(error, "response", None)
            status = None if response is None else int(response.status)
            raise CarrierError("the media server gave no stream", status=status) from error
        except OSError as error:
            raise CarrierError("the media server cannot be reached", retryable=True) from error
        self._send(self._wire.opening())
        self.origin_ns = self._clock.now_ns()
        self._playout = self._buffer(self.origin_ns)
        self._ticking = asyncio.create_task(self._tick())

    @property
    def waiting_ms(self) -> float:
        """How much received audio waits to be played."""
        return self._playout.waiting_ms

    def press(self, digit: str) -> None:
        """Send one key."""
        self._send(self._wire.dtmf(digit))

    async def stop(self) -> None:
        """End the stream in order: say so, then close; at most five seconds."""
        if not self.closed.done():
            self._ended_by_us = True
            self._send(self._wire.stop())
            self._listener.close()
        await self._ended()

    def retire(self) -> None:
        """Neither speak nor play any more, and leave it to the server to end the stream."""
        self._retired = True

    async def abort(self) -> None:
        """Break the TCP connection without a word, like a network that fails."""
        if not self.closed.done():
            self._ended_by_us = True
            self._disconnect()
        await self._ended()

    async def _ended(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await asyncio.shield(self.closed)
        except TimeoutError:
            self._disconnect()
        if self._ticking is not None:
            # Not awaited itself: whoever gives up waiting must not cancel it for everybody else.
            await asyncio.wait({self._ticking})

    def _disconnect(self) -> None:
        if self._listener.transport is not None:
            self._listener.transport.disconnect(graceful=False)
        else:
            self.on_closed(_NO_CODE, "")

    # --- outgoing ----------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Send a frame every 20 ms, each deadline counted from the start of the stream."""
        frame = 0
        try:
            while not (self.closed.done() or self._retired):
                frame += 1
                delay_ns = self.origin_ns + frame * _FRAME_NS - self._clock.now_ns()
                if delay_ns > 0:
                    await asyncio.sleep(delay_ns / NS_PER_S)
                elif -delay_ns > _CATCH_UP_NS:
                    self._stats.frames_skipped += 1
                    continue
                else:
                    # Catching up must not keep the loop from everybody else.
                    await asyncio.sleep(0)
                self._pass_frame(frame)
        except Exception:  # noqa: BLE001  (a task's boundary: it ends the call, not the process)
            _log.exception("simulated phone failed")
            self._disconnect()

    def _pass_frame(self, frame: int) -> None:
        if self.closed.done() or self._retired:
            return
        spoken = self._microphone.next_frame()
        if self._listener.writable:
            self._send(self._wire.media(spoken, frame * FRAME_MS))
            self._stats.frames_sent += 1
        else:
            self._stats.frames_dropped += 1
        now_ns = self._clock.now_ns()
        self._echo_due_marks(now_ns)
        spoken_ns = self.origin_ns + (frame - 1) * _FRAME_NS
        heard_ns = self.origin_ns + self._earpiece.position * SAMPLE_NS
        until = self._playout.line_position(now_ns)
        heard = self._earpiece.render(self._playout.take_played(), until)
        self._owner.on_line_audio(LineAudio(spoken, spoken_ns, heard, heard_ns))

    def _send(self, messages: Iterable[bytes]) -> None:
        transport = self._listener.transport
        if transport is not None and not self.closed.done():
            for message in messages:
                transport.send(WSMsgType.TEXT, message)

    # --- incoming ----------------------------------------------------------------------------

    def on_message(self, message: bytes, *, binary: bool) -> None:
        """The server sent a message."""
        now_ns = self._clock.now_ns()
        try:
            wanted = self._wire.parse(message, binary=binary)
        except ProtocolBroken as broken:
            self._complain(broken, now_ns)
            return
        match wanted:
            case PlayAudio(audio):
                self._playout.receive(audio, now_ns)
            case PlaceMark(name):
                self._playout.mark(name, now_ns)
            case ClearAudio():
                self._playout.clear(now_ns)
                self._send(self._wire.cleared())
            case PressKeys(digits):
                self._owner.on_keys_pressed(digits)
        self._echo_due_marks(now_ns)

    def on_closed(self, code: int, reason: str) -> None:
        """The connection is gone."""
        if self._mark_timer is not None:
            self._mark_timer.cancel()
        if not self.closed.done():
            self.closed.set_result(Closing(code, reason, by_server=not self._ended_by_us))

    def _buffer(self, origin_ns: int) -> PlayoutBuffer:
        marks_return = self._wire.marks_after_clear
        return PlayoutBuffer(origin_ns, stats=self._stats.playout, marks_after_clear=marks_return)

    def _complain(self, broken: ProtocolBroken, now_ns: int) -> None:
        code, detail = self._wire.codes.get(broken.fault), str(broken)
        self._stats.protocol_errors += 1
        self._stats.violations.append(Violation(code, detail, now_ns))
        _log.warning("media server broke the protocol", extra={"code": code, "detail": detail})
        self._send(self._wire.complaint(broken))

    def _echo_due_marks(self, now_ns: int) -> None:
        for echo in self._playout.play_until(now_ns):
            self._send(self._wire.mark(echo.name))
            self._stats.marks_echoed += 1
        self._wait_for_next_mark(now_ns)

    def _wait_for_next_mark(self, now_ns: int) -> None:
        if self._mark_timer is not None:
            self._mark_timer.cancel()
            self._mark_timer = None
        due_ns = self._playout.next_mark_ns
        # Marks further away than the next frame are looked at again with that frame.
        if due_ns is not None and due_ns - now_ns < _FRAME_NS and not self.closed.done():
            # The loop's timers may fire up to a millisecond early.
            delay_s = max(due_ns - now_ns, NS_PER_MS) / NS_PER_S
            loop = asyncio.get_running_loop()
            self._mark_timer = loop.call_later(delay_s, self._mark_timer_fired)

    def _mark_timer_fired(self) -> None:
        self._echo_due_marks(self._clock.now_ns())


class _Listener(WSListener):
    """Passes what picows reports to the stream, whole messages only."""

    def __init__(self, stream: MediaStream) -> None:
        super().__init__()
        self.transport: WSTransport | None = None
        self.writable = True
        self._stream = stream
        self._received_close: bytes | None = None
        self._fragments = bytearray()
        self._type = WSMsgType.TEXT

    def close(self) -> None:
        if self.transport is not None:
            self.transport.send_close(WSCloseCode.OK)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self._received_close = frame.get_payload_as_bytes()
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type in {WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION}:
            self._collect(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        received = self._received_close
        if received is None:
            self._stream.on_closed(_NO_CODE, "")
        else:
            # RFC 6455, section 5.5.1: a code of two octets, then the reason; or nothing at all.
            code = int.from_bytes(received[:2], "big") if received else _EMPTY_CLOSE
            self._stream.on_closed(code, received[2:].decode(errors="replace"))

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True

    def _collect(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.CONTINUATION:
            self._type = frame.msg_type
            self._fragments.clear()
        self._fragments += frame.get_payload_as_bytes()
        if len(self._fragments) > _MAX_MESSAGE_OCTETS:
            transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
            transport.disconnect()
        elif frame.fin:
            message = bytes(self._fragments)
            self._fragments.clear()
            self._stream.on_message(message, binary=self._type == WSMsgType.BINARY)
