"""The media plane: admits sockets, runs the one ticker, and joins sockets to calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from picows import (
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from voicecall._codec import Pacer, StreamListener, WireFormat, Workspace
from voicecall.carriers._proxies import TrustedProxies
from voicecall.clock import NS_PER_S
from voicecall.errors import ServeError
from voicecall.media.admission import Admission
from voicecall.media.audio import SILENCE_OCTET
from voicecall.media.leg import TRY_AGAIN_LATER, Leg
from voicecall.media.measures import MediaMeasures
from voicecall.media.path import CallPath
from voicecall.media.ticker import MediaTicker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voicecall.carriers._stream import Dialect
    from voicecall.clock import Clock
    from voicecall.metrics import Sample
    from voicecall.ports import PathEvents, StreamGate, StreamStart

log = logging.getLogger("voicecall.media")

UNSENT_MAX_OCTETS = 1 << 20
# Messages over 64 KiB are counted and dropped; over this the socket is not even read further.
FRAME_MAX_OCTETS = 1 << 20
MEDIA_SILENCE_NS = 30 * NS_PER_S
SILENCE_WATCH_S = 1.0
# How long a closed socket may take to say goodbye, and to read what it has left unread before.
CLOSE_GRACE_S = 1.0
STALLED_GRACE_S = 5.0
UPGRADE_TIMEOUT_S = 5.0


class Door(Protocol):
    """Knows which call a stream token was made for."""

    def call_for(self, token: str) -> str | None:
        """The call of `token`; None for a wrong or expired one."""
        ...

    def call_of(self, start: StreamStart) -> str | None:
        """The call of a socket without a token in its path; None when `start` has no good one."""
        ...

    def used(self, call_id: str) -> None:
        """The call's media is connected."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSettings:
    """What the media plane needs to know; the names are those of the `streaming` configuration."""

    stream_path: str = "/voice/stream"
    pre_start_timeout_ms: int = 5000
    max_pending_connections: int = 32
    max_pending_connections_per_ip: int = 4
    max_connections: int = 128
    frame_ms: int = 20
    lead_ms: int = 160
    jitter_ms: int = 60
    group: int = 0
    trusted_proxies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """An upgrade that is answered with an HTTP status."""

    status: HTTPStatus
    label: str


class MediaServer:
    """Carries the audio of every call of this process.

    Args:
        settings: limits and timing.
        dialect: how the carrier talks on its sockets.
        door: which token belongs to which call.
        gate: which conversation a call's audio belongs to.
        clock: the time.

    Attributes:
        admission: exact counts of sockets.
        refusals: refused sockets by reason.
        workspace: scratch memory of all streams.
    """

    def __init__(
        self,
        settings: MediaSettings,
        *,
        dialect: Dialect,
        door: Door,
        gate: StreamGate,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.dialect = dialect
        self.door = door
        self.workspace = Workspace()
        self.admission = Admission(
            settings.max_connections,
            settings.max_pending_connections,
            settings.max_pending_connections_per_ip,
        )
        self.refusals: Counter[str] = Counter()
        self._measures = MediaMeasures(self.workspace, self.admission, self.refusals)
        self.ticker = MediaTicker(clock, settings.frame_ms)
        self._gate = gate
        self._clock = clock
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._legs: set[Leg] = set()
        self._paths: dict[str, CallPath] = {}
        self._listener: asyncio.Server | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    # --- life ---

    async def listen(self, host: str, port: int) -> int:
        """Accept sockets on a port of their own; the port, chosen by the system for 0.

        Raises:
            ServeError: the port is taken or may not be used.
        """
        try:
            self._listener = await ws_create_server(
                self._upgrade,
                host,
                port,
                max_frame_size=FRAME_MAX_OCTETS,
                websocket_handshake_timeout=UPGRADE_TIMEOUT_S,
                read_buffer_init_size=4096,
                backlog=1024,
            )
        except OSError as error:
            raise ServeError(
                f"streaming.port: cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. "
                "Choose another port, or stop what uses this one."
            ) from error
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def drain(self) -> None:
        """Refuse new sockets from now on."""
        self.admission.draining = True

    async def close(self) -> None:
        """Close every socket and stop listening; returns when they are gone."""
        self.drain()
        if self._listener is not None:
            self._listener.close()
        for path in tuple(self._paths.values()):
            path.close()
        for leg in tuple(self._legs):
            leg.close(1001, "Server stops")
        self._empty.clear()
        if self._legs:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), STALLED_GRACE_S + 0.5)
        self.ticker.stop()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # --- admission, the same for both kinds of socket ---

    def admit(self, token: str | None, address: str) -> Leg | Refusal:
        """Decide on an upgrade and reserve its place.

        Args:
            token: what stands behind the stream path; None when nothing does.
            address: the socket's client, or empty when it is known only after the upgrade.
        """
        if not self.admission.enter():
            label = "draining" if self.admission.draining else "max_connections"
            return self._refusal(HTTPStatus.SERVICE_UNAVAILABLE, label)
        call_id = None
        if token is not None:
            call_id = self.door.call_for(token)
            if call_id is None:
                self.admission.leave()
                return self._refusal(HTTPStatus.FORBIDDEN, "token")
        leg = Leg(self, call_id, address)
        self._legs.add(leg)
        return leg

    def enter_pending(self, leg: Leg) -> bool:
        """Count a leg without a token; False, and it is to be closed, when there are too many."""
        if not self.admission.enter_pending(leg.address):
            self.count_refusal("max_pending")
            return False
        leg.counts_as_pending = True
        return True

    def forget(self, leg: Leg) -> None:
        """A leg's socket is gone: give its places back."""
        if leg in self._legs:
            self._legs.discard(leg)
            if not self._legs:
                self._empty.set()
            self.ticker.discard(leg.stream)
            self._measures.retire(leg.stream)
            self.admission.leave()
            self._leave_pending(leg)

    def count_refusal(self, label: str) -> None:
        """Count a refused or ended socket by its reason."""
        self.refusals[label] += 1

    def token_in(self, path: str) -> str | Refusal | None:
        """The token in an upgrade's path, None for the bare stream path, else a 404."""
        base = self.settings.stream_path.rstrip("/")
        bare = path.partition("?")[0].rstrip("/")
        if bare == base:
            return None
        head, _, token = bare.rpartition("/")
        if head == base:
            return token
        return self._refusal(HTTPStatus.NOT_FOUND, "path")

    def client_address(self, peer: str, forwarded_for: str | None) -> str:
        """Who is behind `peer`, as far as trusted proxies say."""
        return self._proxies.client(peer, forwarded_for)

    def readings(self) -> Iterable[Sample]:
        """What has been counted so far."""
        return self._measures.readings(leg.stream for leg in self._legs)

    def _refusal(self, status: HTTPStatus, label: str) -> Refusal:
        self.count_refusal(label)
        return Refusal(status, label)

    def _leave_pending(self, leg: Leg) -> None:
        if leg.counts_as_pending:
            leg.counts_as_pending = False
            self.admission.leave_pending(leg.address)

    # --- joining sockets to calls ---

    def begin(self, leg: Leg, call_id: str, start: StreamStart) -> bool:
        """`leg` has named its call: join it to the call's path; False when it may not have it.

        Raises:
            CodecError: the call cannot be spoken with as `start` says; nothing has changed.
        """
        events = self._gate.admit(call_id, start)
        if events is None:
            return False
        known = self._paths.get(call_id)
        path = known or self._make_path(call_id, events, start)
        wording = self.dialect.wording(start)
        wire = WireFormat(
            wording.media_head,
            wording.media_tail,
            wording.mark_head,
            wording.mark_tail,
            wording.clear,
        )
        leg.stream.begin(start.audio.encoding, wire, path.playout.pacer)
        self.door.used(call_id)
        self._leave_pending(leg)
        path.carry_on(leg)
        self.ticker.add(leg.stream)
        if known is None:
            self._paths[call_id] = path
            if self._watch is None:
                self._schedule_watch()
            events.on_path_open(path)
        return True

    def _make_path(self, call_id: str, events: PathEvents, start: StreamStart) -> CallPath:
        audio = self.dialect.outgoing(start)
        pacer = Pacer(
            audio.octets_per_second,
            SILENCE_OCTET[audio.encoding],
            self.settings.frame_ms,
            self.settings.lead_ms,
            self.settings.group,
        )
        return CallPath(call_id, events, audio, pacer, self._clock, self._path_closed)

    def _path_closed(self, path: CallPath) -> None:
        if self._paths.get(path.call_id) is path:
            del self._paths[path.call_id]

    def _schedule_watch(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(SILENCE_WATCH_S, self._watch_silence)

    def _watch_silence(self) -> None:
        """Proxies may swallow the end of a socket; silence gives it away."""
        now_ns = self._clock.now_ns()
        for path in tuple(self._paths.values()):
            since_ns = path.silent_since_ns()
            if since_ns is not None and now_ns - since_ns > MEDIA_SILENCE_NS:
                path.fell_silent()
        self._watch = None
        if self._paths:
            self._schedule_watch()

    # --- picows ---

    def _upgrade(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener | StreamListener:
        token = self.token_in(request.path.decode("latin-1"))
        leg = token if isinstance(token, Refusal) else self.admit(token, "")
        if isinstance(leg, Refusal):
            body = leg.status.phrase.encode()
            return WSUpgradeResponseWithListener(
                WSUpgradeResponse.create_error_response(leg.status, body), None
            )
        socket = _PicowsSocket(self, leg, pending=token is None)
        # picows connects in this very step or, when the request is no proper upgrade, never.
        asyncio.get_running_loop().call_soon(socket.check_connected)
        return StreamListener(leg.stream, socket)

    def legs(self) -> Iterable[Leg]:
        """Every open socket."""
        return tuple(self._legs)


class _PicowsSocket:
    """The picows side of a leg: `StreamListener`'s owner and the leg's `Socket`."""

    def __init__(self, server: MediaServer, leg: Leg, *, pending: bool) -> None:
        self._server = server
        self._leg = leg
        self._pending = pending
        self._transport: WSTransport | None = None
        self._end: asyncio.TimerHandle | None = None
        self._connected = False
        self._stalled = False

    def on_connected(self, transport: WSTransport) -> None:
        """The upgrade is done."""
        self._transport = transport
        self._connected = True
        tcp: Any = transport.underlying_transport
        tcp.set_write_buffer_limits(high=UNSENT_MAX_OCTETS, low=0)
        peer = tcp.get_extra_info("peername")
        forwarded = ",".join(transport.request.headers.getall("X-Forwarded-For", ()))
        self._leg.address = self._server.client_address(peer[0] if peer else "", forwarded)
        self._leg.opened(self)
        if self._pending and not self._server.enter_pending(self._leg):
            self._leg.close(TRY_AGAIN_LATER, "Too many sockets without a token")

    def on_disconnected(self) -> None:
        """The socket is gone."""
        self._transport = None
        if self._end is not None:
            self._end.cancel()
        self._leg.on_disconnected()

    def check_connected(self) -> None:
        """Give back what was reserved for an upgrade that has failed."""
        if not self._connected:
            self._leg.on_disconnected()

    def on_stalled(self) -> None:
        """More is unsent than a peer that reads would leave."""
        self._stalled = True
        self._leg.on_stalled()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; the connection ends when the peer answers, or after a grace."""
        transport = self._transport
        if transport is None:
            return
        transport.send_close(code, reason.encode())  # type: ignore[arg-type]  # any code is fine
        grace_s = STALLED_GRACE_S if self._stalled else CLOSE_GRACE_S
        loop = asyncio.get_running_loop()
        self._end = loop.call_later(grace_s, transport.disconnect, False)
