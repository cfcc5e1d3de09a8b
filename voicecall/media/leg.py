"""One media socket, from its upgrade to its end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from voicecall._codec import MediaStream
from voicecall.carriers._stream import (
    StreamCleared,
    StreamComplaint,
    StreamDtmf,
    StreamMark,
    StreamStopped,
)
from voicecall.errors import CodecError
from voicecall.ports import StreamStart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.media.path import CallPath
    from voicecall.media.server import MediaServer

log = logging.getLogger("voicecall.media")

POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009
TRY_AGAIN_LATER = 1013
NORMAL_CLOSURE = 1000
# A carrier may complain of each message: all are counted, so many of a socket are in the log.
COMPLAINTS_LOGGED = 5
# How long a closed socket may take to say goodbye, and to read what it has left unread before.
CLOSE_GRACE_S = 1.0
STALLED_GRACE_S = 5.0


class Socket(Protocol):
    """The two things a leg does to its WebSocket besides sending."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and end the connection soon; repeated calls do nothing."""
        ...


class Leg:
    """A media socket: unknown until its `start` names a call, then that call's audio.

    Args:
        server: the media plane it belongs to.
        call_id: the call its token was made for; None when the path had no token.
        address: the client's, for counting.
    """

    def __init__(self, server: MediaServer, call_id: str | None, address: str) -> None:
        self._server = server
        self._call_id = call_id
        self._deadline: asyncio.TimerHandle | None = None
        self._socket: Socket | None = None
        self._stalled = False
        self._complaints = 0
        self.address = address
        self.counts_as_pending = False
        self.path: CallPath | None = None
        self.start: StreamStart | None = None
        self.close_reason = "socket dropped"
        self.stream = MediaStream(server.workspace, self, server.settings.jitter_ms)

    @property
    def started(self) -> bool:
        """Whether the socket carries a call."""
        return self.start is not None

    # --- the socket ---

    def opened(self, socket: Socket) -> None:
        """The upgrade is done."""
        self._socket = socket
        loop = asyncio.get_running_loop()
        timeout_s = self._server.settings.pre_start_timeout_ms / 1000
        self._deadline = loop.call_later(timeout_s, self._start_timeout)

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """End the socket; what is queued on it is lost and what still comes on it is ignored."""
        socket, self._socket = self._socket, None
        if socket is not None:
            self.close_reason = reason or self.close_reason
            socket.close(code, reason)
            self._leave_call()

    def on_disconnected(self) -> None:
        """The socket is gone, by whoever's doing."""
        self._socket = None
        self._server.forget(self)
        self._leave_call()

    def on_stalled(self) -> None:
        """The peer does not read what it is sent."""
        if not self._stalled:
            self._stalled = True
            self._server.count_refusal("stalled")
            # The outlet is in the middle of a write and must not be taken from under it.
            loop = asyncio.get_running_loop()
            loop.call_soon(self.close, TRY_AGAIN_LATER, "Peer does not read")

    # --- the stream ---

    def on_message(self, message: Mapping[str, Any]) -> None:
        """Everything but audio that the carrier says."""
        said = self._server.dialect.read(message)
        match said:
            case StreamStart():
                self._begin(said)
            case StreamMark(name):
                self._begun().playout.on_mark(name)
            case StreamDtmf(digit, pressed_at_ms):
                self._begun().on_dtmf(digit, pressed_at_ms)
            case StreamStopped():
                self.close_reason = "stopped by the carrier"
            case StreamComplaint(text):
                self._complained(text)
            case StreamCleared():
                if self.path is not None:
                    self.path.playout.on_cleared()
            case None:
                pass

    def on_faults(self) -> None:
        """Too many unusable messages in a row."""
        self._refuse("malformed", "Too many unusable messages")

    def on_room(self) -> None:
        """The outgoing queue takes audio again."""
        if self.path is not None:
            self.path.playout.on_room()

    def on_failure(self, error: Exception) -> None:
        """Our own code failed while it handled this leg's audio."""
        log.error("audio handling failed", exc_info=error, extra=self._fields())

    def _complained(self, text: str) -> None:
        self._complaints += 1
        self._server.count_complaint()
        if self._complaints <= COMPLAINTS_LOGGED:
            log.warning("carrier complains about the stream", extra=self._fields(text=text))

    def _begun(self) -> CallPath:
        if self.path is None:
            raise CodecError("the stream has not started")
        return self.path

    def _begin(self, start: StreamStart) -> None:
        if self.start is not None:
            raise CodecError("the stream has already started")
        if not start.provider_call_id:
            self._refuse("no_call", "Start without a call id")
            return
        call_id = self._call_of(start)
        if call_id is None:
            self._refuse("token", "Unknown call or wrong token")
        elif self._server.begin(self, call_id, start):
            self._call_id = call_id
            self.start = start
            self._cancel_deadline()
        else:
            self._refuse("unknown_call", "Unknown call or wrong token")

    def _call_of(self, start: StreamStart) -> str | None:
        """The call that the tokens in the path and in `start` agree on."""
        named = self._server.door.call_of(start)
        if self._call_id is None or named is None:
            return self._call_id or named
        return named if named == self._call_id else None

    def _leave_call(self) -> None:
        self._cancel_deadline()
        self.stream.close()
        path, self.path = self.path, None
        if path is not None:
            path.leg_lost(self)

    def _start_timeout(self) -> None:
        self._refuse("start_timeout", "Start timeout")

    def _refuse(self, label: str, reason: str) -> None:
        self._server.count_refusal(label)
        log.info("media socket refused", extra=self._fields(reason=reason))
        self.close(POLICY_VIOLATION, reason)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _fields(self, **more: object) -> dict[str, object]:
        stream_id = self.start.stream_id if self.start else None
        return {"call_id": self._call_id, "stream_id": stream_id, **more}
