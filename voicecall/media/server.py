"""The media plane: admits sockets, runs the one ticker, and joins sockets to calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from voicecall._codec import Pacer, WireFormat, Workspace
from voicecall.audio import SILENCE_OCTET
from voicecall.carriers._proxies import TrustedProxies
from voicecall.clock import NS_PER_S
from voicecall.errors import CodecError, VerificationError
from voicecall.media.admission import Admission, Refusal
from voicecall.media.connection import MediaConnection
from voicecall.media.keys import KeyOrder
from voicecall.media.leg import STALLED_GRACE_S, Leg
from voicecall.media.listener import MediaListener
from voicecall.media.measures import MediaMeasures
from voicecall.media.path import CallPath
from voicecall.media.ticker import MediaTicker

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping

    from voicecall.carriers._stream import Dialect
    from voicecall.clock import Clock
    from voicecall.metrics import Sample
    from voicecall.ports import PathEvents, StreamGate, StreamStart

log = logging.getLogger("voicecall.media")

MEDIA_SILENCE_NS = 30 * NS_PER_S
SILENCE_WATCH_S = 1.0


class Door(Protocol):
    """Knows which call a stream token was made for."""

    def url_for(self, token: str | None) -> str:
        """The public URL that carriers are told, with `token` in its path where there is one."""
        ...

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


class MediaServer:
    """Carries the audio of every call of this process.

    Args:
        settings: limits and timing.
        dialect: how the carrier talks on its sockets.
        door: which token belongs to which call.
        gate: which conversation a call's audio belongs to.
        clock: the time.
        verify_upgrade: raises `VerificationError` for a (public URL, signature) that is not the
            carrier's; None believes every upgrade as far as its token goes.

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
        verify_upgrade: Callable[[str, str], None] | None = None,
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
        self.ticker = MediaTicker(clock)
        self._gate = gate
        self._clock = clock
        self._verify_upgrade = verify_upgrade
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._legs: set[Leg] = set()
        self._paths: dict[str, CallPath] = {}
        self._listener: MediaListener | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    # --- life ---

    async def listen(self, host: str, port: int) -> int:
        """Accept sockets on a port of their own; the port, chosen by the system for 0.

        Raises:
            ServeError: the port is taken or may not be used.
        """
        self._listener = MediaListener(self._connected)
        return await self._listener.listen(host, port)

    def drain(self) -> None:
        """Refuse new sockets from now on."""
        self.admission.draining = True

    async def close(self) -> None:
        """Close every socket and stop listening; returns when they are gone."""
        self.drain()
        if self._listener is not None:
            self._listener.stop_listening()
        for path in tuple(self._paths.values()):
            path.close()
        for leg in tuple(self._legs):
            leg.close(1001, "Server stops")
        self._empty.clear()
        if self._legs:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), STALLED_GRACE_S + 0.5)
        if self._listener is not None:
            self._listener.close()
        self.ticker.stop()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # --- admission, the same for both kinds of socket ---

    def admit(
        self, token: str | None, address: str, headers: Mapping[str, str] | None = None
    ) -> Leg | Refusal:
        """Decide on an upgrade and reserve its place.

        Args:
            token: what stands behind the stream path; None when nothing does.
            address: the socket's client.
            headers: the request's, by name in lower case.
        """
        if not self.admission.enter():
            label = "draining" if self.admission.draining else "max_connections"
            return self._refusal(HTTPStatus.SERVICE_UNAVAILABLE, label)
        if not self._signed_well(token, headers or {}):
            self.admission.leave()
            return self._refusal(HTTPStatus.FORBIDDEN, "signature")
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

    def count_complaint(self) -> None:
        """Count something we sent that a carrier could not use."""
        self._measures.count_complaint()

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

    def _signed_well(self, token: str | None, headers: Mapping[str, str]) -> bool:
        """Whether an upgrade has no signature, or a good one of what the carrier was told."""
        signature = headers.get(self.dialect.signature_header or "")
        if signature is None or self._verify_upgrade is None:
            return True
        try:
            self._verify_upgrade(self.door.url_for(token), signature)
        except VerificationError:
            return False
        return True

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
        if path.audio != self.dialect.outgoing(start):
            raise CodecError("the stream takes other audio than the call has been spoken with")
        wording = self.dialect.wording(start)
        wire = WireFormat(
            wording.media_head,
            wording.media_tail,
            wording.mark_head,
            wording.mark_tail,
            wording.clear,
        )
        swaps = wording.big_endian
        leg.stream.begin(
            start.audio.encoding,
            wire,
            path.playout.pacer,
            swaps_in=swaps and start.audio.encoding == "pcm16",
            swaps_out=swaps and path.audio.encoding == "pcm16",
        )
        self.door.used(call_id)
        self._leave_pending(leg)
        path.carry_on(leg, start.audio)
        self.ticker.add(leg.stream)
        if known is None:
            self._paths[call_id] = path
            if self._watch is None:
                self._schedule_watch()
            events.on_path_open(path)
        return True

    def _make_path(self, call_id: str, events: PathEvents, start: StreamStart) -> CallPath:
        audio = self.dialect.outgoing(start)
        frame_ms = max(self.settings.frame_ms, self.dialect.shortest_ms)
        pacer = Pacer(
            audio.octets_per_second,
            SILENCE_OCTET[audio.encoding],
            frame_ms,
            max(self.settings.lead_ms, frame_ms),
            self.settings.group,
        )
        order = KeyOrder(self.settings.jitter_ms)
        return CallPath(call_id, events, audio, pacer, order, self._clock, self._path_closed)

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

    def _connected(self, connection: socket.socket, peer: str) -> None:
        if self._listener is not None:
            MediaConnection(self, self._listener.poller, connection, peer)

    def legs(self) -> Iterable[Leg]:
        """Every open socket."""
        return tuple(self._legs)
