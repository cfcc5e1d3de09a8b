"""The composition root: builds every part from the configuration and joins them.

The only module that knows everyone. ::

    async with Server(config) as server:
        call = await server.calls.initiate("Hello!", to="+15550001234", mode="conversation")
        answer = await call.ask("Is Tuesday at ten all right?")
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from voicecall.audio import Transcoder
from voicecall.call.record import Direction
from voicecall.calls import Calls, Programs
from voicecall.carriers._proxies import TrustedProxies, is_loopback
from voicecall.carriers._public_url import ForwardingPolicy
from voicecall.clock import SystemClock
from voicecall.config.schema import DATABASE_SCHEMES, IN_MEMORY, Config
from voicecall.control.app import create_app
from voicecall.control.listen import ControlListener, ServedElsewhere, TlsFiles
from voicecall.control.services import ControlServices, StreamRoute, WebhookSettings
from voicecall.errors import ServeError
from voicecall.exposure import plan
from voicecall.exposure.exposure import Exposure
from voicecall.isolation.garbage import GarbagePolicy
from voicecall.isolation.guest import Guest
from voicecall.isolation.interpreter import short_turns
from voicecall.isolation.watch import LoopWatch
from voicecall.llm.tools import hosted
from voicecall.manager.manager import CallManager
from voicecall.manager.settings import CallSettings
from voicecall.media.admission import StreamTokens
from voicecall.media.asgi import MediaEndpoint
from voicecall.media.server import MediaServer, MediaSettings
from voicecall.media.tones import key_tones
from voicecall.metrics import Metrics
from voicecall.provider import Needs, Patience, provider
from voicecall.session.guests import GuestResponder, GuestSpeechToText, GuestTextToSpeech
from voicecall.session.observer import Observer
from voicecall.session.outfitter import Outfitter, OwnEngines
from voicecall.session.registry import Sessions
from voicecall.simulator.callee import Callee
from voicecall.store.memory import MemoryCallStore
from voicecall.store.redis import RedisCallStore
from voicecall.store.redis_address import RedisAddress
from voicecall.store.retention import Retention
from voicecall.store.sqlite import SqliteCallStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from starlette.types import ASGIApp

    from voicecall.call.events import CallEvent
    from voicecall.calls import OnCall
    from voicecall.clock import Clock
    from voicecall.isolation.garbage import Pause
    from voicecall.isolation.watch import Blocked, Heartbeat
    from voicecall.llm.tools import Tool
    from voicecall.ports import SpeechToText, TextToSpeech
    from voicecall.session.guests import AnyResponder
    from voicecall.session.observer import Handler
    from voicecall.session.timing import TurnTiming

__all__ = ["Server"]

log = logging.getLogger("voicecall.server")

# A token is made when the carrier is told the URL, which for an outbound call is before it rings.
TOKEN_VALID_MS = 30_000
# The carrier's own errors say more than that it took too long.
CARRIER_MARGIN_MS = 1000
# Together less than the 10 s that a process manager waits after SIGTERM.
CALLS_GRACE_S = 4.0
CONTROL_GRACE_S = 2.0
# What reports call the loop that sends audio.
MEDIA_LOOP = "media"
MOCK_NUMBER = "+15550000000"


class Server:
    """A whole voicecall in this process and event loop.

    Args:
        config: complete configuration; everything local when None.
        rpc_token: bearer token of the RPC interface; the configured or a random one when None.
        callee: whom mock calls reach; the one that `mock` describes when None.
        clock: the time.
        responder, tts, stt: engines of the caller's own, used on all calls instead of those that
            the configuration names. Each is run in a thread of its own and nowhere else, so that
            none can hold up a call's audio; a responder that blocks is best written as an ordinary
            generator, since then each reply has a thread.
        tools: what language models may use besides those that `tools` names; they share a thread,
            and those that block have one each.
        patience: how long the carrier may take to answer; the usual times when None.
        on_call: holds each conversation, in or out, itself: it is called when the call is
            connected, after the message that the call was placed with, and the call ends when it
            returns. Nothing is replied, and nothing recognised but what it asks for; a voice that
            is not installed is missed only by what it says. It runs in this event loop, so it must
            not block; when the call is over it has ten seconds left.
        mounted: another server serves the control plane, which is `app`, so `serve.port` is not
            opened and only says where that server listens; see `create_app`.

    Attributes:
        calls: places, finds and follows calls.
        manager: what is behind them: records by id, as the control plane uses them.
        metrics: counters of every part.
        rpc_token: what RPC clients have to show.

    Raises:
        ConfigError, ServeError: this version cannot do what the configuration asks for.
    """

    def __init__(  # noqa: PLR0913  (each is independent of the others)
        self,
        config: Config | None = None,
        *,
        rpc_token: str | None = None,
        callee: Callee | None = None,
        clock: Clock | None = None,
        responder: AnyResponder | None = None,
        tts: TextToSpeech | None = None,
        stt: SpeechToText | None = None,
        tools: Sequence[Tool] = (),
        patience: Patience | None = None,
        on_call: OnCall | None = None,
        mounted: bool = False,
    ) -> None:
        self._config = config = config or Config()
        self._clock = clock = clock or SystemClock()
        _check_servable(config)
        if on_call is not None and _has_realtime(config):
            raise ServeError("realtime.enabled: on_call holds the calls itself; set it to false")
        self._way_out = plan.way(config)
        self._exposure: Exposure | None = None
        self._public_url = config.public_url
        self._media_port: int | None = None
        self.metrics = Metrics()
        self._watch = LoopWatch(clock, self._on_blocked)
        self._heart: Heartbeat | None = None
        self._garbage = GarbagePolicy(clock, self._on_pause)
        self._turns = contextlib.ExitStack()
        self._observers: list[Observer] = []
        self._blocked = 0
        self._longest_blocked_ms = 0.0
        self.rpc_token = rpc_token or _configured_token(config) or secrets.token_urlsafe(32)
        self._state = "starting"
        self._reachable = asyncio.Event()
        patience = patience or Patience()
        self._settings = _call_settings(config, patience)
        self._tools = Guest("tools", self._watch)
        own = OwnEngines(
            responder=GuestResponder(responder, self._watch) if responder else None,
            tts=GuestTextToSpeech(tts, self._watch) if tts else None,
            stt=GuestSpeechToText(stt, self._watch) if stt else None,
            tools=[hosted(self._tools, each) for each in tools],
        )
        self._outfitter = Outfitter(config, clock, own, held=on_call is not None)
        self._callee = callee or Callee(config.mock.phone, config.mock.persona, clock)
        self._tokens = StreamTokens(clock, TOKEN_VALID_MS + config.ring_timeout_ms)
        urls = self._tokens if config.streaming.enabled else None
        self._provider = provider(
            Needs(config, clock, urls, self._on_carrier_event, patience), self._callee
        )
        self._sessions = Sessions(
            self._outfitter.equip,
            clock=clock,
            convert=Transcoder,
            tones=key_tones if self._provider.keys_cut_media else None,
            # Where media are streamed to us, the carrier's own speech would cut the stream.
            voice=None if config.streaming.enabled else self._provider.voice,
            on_turn=self._on_turn,
            on_cleared=self.metrics.cleared,
            hold=None if on_call is None else self._hold,
        )
        self._store = _store(config, clock, self.metrics)
        self.manager = CallManager(
            self._settings,
            carrier=self._provider.carrier,
            store=self._store,
            clock=clock,
            urls=urls,
            conversations=self._sessions,
            metrics=self.metrics,
            transfer=self._provider.transfer,
        )
        self._sessions.attach(self.manager, self.manager.learn_provider_id)
        self.calls = Calls(self.manager, self._sessions)
        self._programs = None if on_call is None else Programs(on_call, self.calls, self._sessions)
        self._media = MediaServer(
            _media_settings(config),
            dialect=self._provider.dialect,
            door=self._tokens,
            gate=self._sessions,
            clock=clock,
            verify_upgrade=self._provider.verify_upgrade,
        )
        self.metrics.add_collector(self._media.readings)
        self._control = _control(config, create_app(self._control_services()), mounted=mounted)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def public_url(self) -> str | None:
        """The URL at which carriers reach the webhook, as the configuration or the tunnel says.

        None where neither does. While a tunnel is down, the last one that it gave.
        """
        return None if self._public_url is None else self._webhook_url()

    @property
    def tunnelled(self) -> bool:
        """Whether a tunnel of ours leads to the server, working at the moment or not."""
        return self._exposure is not None

    @property
    def reachable(self) -> bool:
        """Whether carriers find us, as far as is known: false while a tunnel of ours is down."""
        return self._exposure is None or self._exposure.up

    @property
    def app(self) -> ASGIApp:
        """The control plane, for the server that serves it. Raises ServeError if we do."""
        if isinstance(self._control, ServedElsewhere):
            return self._control.app
        raise ServeError("the server listens itself; use voicecall.create_app to mount it")

    @property
    def control_url(self) -> str:
        """Where the control plane listens on this machine, once started."""
        scheme = "https" if self._config.serve.tls else "http"
        return f"{scheme}://{_reachable(self._config.serve.bind)}:{self._control.port}"

    async def start(self) -> None:
        """Load the engines, listen, and be ready.

        Raises:
            ServeError: a port is taken, or there is nothing to open the tunnel with.
            RemoteError: the tunnel cannot be opened; the message says why.
            DependencyMissing: an engine is not installed; the message says what to install.
            StoreError: the store cannot be used; the message says why.
        """
        try:
            await self._store.open()
            await self._outfitter.prepare()
            streaming = self._config.streaming
            if streaming.enabled and streaming.port:
                self._media_port = await self._media.listen(streaming.bind, streaming.port)
            self._tell_urls()
            # Before events arrive: they have to find the calls they are about.
            await self._restore()
            await self._control.start()
            # Without public URLs they depend on the ports that were free.
            self._tell_urls()
            await self._open_tunnel()
            self._reachable.set()
            self._pick_up_again()
        except BaseException:
            await self.stop()
            raise
        self._turns.enter_context(short_turns())
        self._garbage.start()
        self._heart = self._watch.attach(MEDIA_LOOP, self._on_beat)
        self._state = "ready"
        self._warn()
        log.info(
            "ready",
            extra={
                "control_url": self.control_url,
                "media_port": self._media_port,
                "public_url": self._public_url,
                "store": _place(self._config),
            },
        )

    async def _open_tunnel(self) -> None:
        """Become reachable from outside, if a tunnel is to do that."""
        if self._way_out is None:
            return
        local = plan.Local(self.control_url, self._local_media_url("http"))
        tunnel = plan.tunnel(self._config, self._way_out, local)
        self._exposure = Exposure(tunnel, self._on_public_url)
        self.metrics.add_collector(self._exposure.readings)
        await self._exposure.open()

    def _on_public_url(self, url: str) -> None:
        self._public_url = url
        self._tell_urls()

    def _tell_urls(self) -> None:
        """Where carriers find us; calls placed from now on are told these."""
        self._tokens.base_url = self._stream_url()
        self._provider.report_to(self._webhook_url())

    async def _restore(self) -> None:
        """Take up the calls of an earlier process."""
        for stored in await self._store.live():
            self._provider.recall(stored)
        await self.manager.restore(self._provider.connect_media, reachable=self._reachable)

    def _pick_up_again(self) -> None:
        """Answer the calls that rang here when an earlier process ended: nobody tells us again."""
        if self._provider.pick_up is None:
            return
        for record in self.manager.live():
            if record.direction is Direction.INBOUND and record.answered_at is None:
                self._provider.pick_up(record)

    async def stop(self) -> None:
        """Refuse what is new, end what is live, and free everything; within 10 s."""
        if self._state == "stopped":
            return
        self._state = "draining"
        self.manager.drain()
        self._media.drain()
        async with contextlib.AsyncExitStack() as stack:
            # Each part is closed before those that it needs.
            stack.push_async_callback(self._close_engines)
            stack.push_async_callback(self._store.close)
            stack.push_async_callback(self._control.stop, CONTROL_GRACE_S)
            if self._exposure is not None:
                # Carriers still report how the last calls ended.
                stack.push_async_callback(self._exposure.close)
            stack.push_async_callback(self._media.close)
            stack.push_async_callback(self._provider.carrier.close)
            if self._programs is not None:
                stack.push_async_callback(self._programs.close)
            stack.push_async_callback(self._sessions.close)
            stack.push_async_callback(self.manager.close, CALLS_GRACE_S)
        self._state = "stopped"
        # What was set aside at the start has to be freed with the server.
        self._garbage.stop()
        self._turns.close()
        if self._heart is not None:
            self._watch.detach(self._heart)
        self._watch.close()

    def observe(self, handler: Handler) -> Observer:
        """Have `handler` called with every change of a call, in a thread of its own.

        Closing the observer ends that; the server does it when it stops.

        Args:
            handler: an ordinary or an asynchronous function. It gets what `calls.subscribe` gives,
                one change after another, and may block: when 1000 changes wait for it the oldest
                are dropped, and it is told of a `gap`.
        """
        observer = Observer(self.manager.subscribe(), handler, self._watch)
        self._observers.append(observer)
        return observer

    def _warn(self) -> None:
        if self._config.skip_signature_verification:
            log.warning("skipSignatureVerification is on: anybody can forge webhooks")
        if self._settings.reaper_spares_answered:
            log.warning(
                "staleCallReaperSeconds is not above maxDurationSeconds: answered calls are left "
                "to the limit on their duration"
            )
        if self._way_out is None and plan.is_wanted(self._config):
            log.warning("publicUrl is set, so no tunnel is opened")

    async def _close_engines(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._tools.close)
            stack.push_async_callback(self._outfitter.close)
            stack.push_async_callback(self._callee.close)
            for observer in self._observers:
                stack.push_async_callback(observer.close)

    def _on_beat(self) -> None:
        self._garbage.beat(busy=self.manager.live_count > 0 or self._media.admission.open > 0)

    def _on_blocked(self, blocked: Blocked) -> None:
        self.metrics.loop_blocked(blocked.loop, blocked.blocked_ms)
        if blocked.loop == MEDIA_LOOP:
            self._blocked += 1
            self._longest_blocked_ms = max(self._longest_blocked_ms, blocked.blocked_ms)

    def _on_pause(self, pause: Pause) -> None:
        self.metrics.collected(pause.generation, pause.pause_ms)

    def _hold(self, call_id: str) -> None:
        if self._programs is not None:
            self._programs.hold(call_id)

    async def _on_carrier_event(self, event: CallEvent) -> None:
        await self.manager.apply(event)

    def _on_turn(self, timing: TurnTiming) -> None:
        if timing.latency_ms is not None:
            self.metrics.turn_answered(timing.latency_ms)
        if timing.first_audio_ms is not None:
            self.metrics.first_audio(timing.first_audio_ms)
        self.metrics.turn_steps(timing.to_json())

    def _control_services(self) -> ControlServices:
        config = self._config
        security = config.webhook_security
        stream = None
        if config.streaming.enabled:
            endpoint = MediaEndpoint(self._media, self._clock)
            stream = StreamRoute(config.streaming.stream_path, endpoint)
        return ControlServices(
            calls=self.manager,
            webhook=self._provider.webhook,
            webhooks=WebhookSettings(
                path=config.serve.path,
                carrier=config.provider,
                forwarding=ForwardingPolicy(
                    allowed_hosts=frozenset(security.allowed_hosts),
                    trust_headers=security.trust_forwarding_headers,
                    proxies=TrustedProxies(str(each) for each in security.trusted_proxy_ips),
                ),
                verify=not config.skip_signature_verification,
                ngrok_bypass=self._way_out == "ngrok" and _ngrok_bypass(config),
                public_url=lambda: self._public_url,
            ),
            metrics=self.metrics,
            readiness=self._readiness,
            rpc_token=self.rpc_token,
            clock=self._clock,
            stream=stream,
        )

    def _readiness(self) -> Mapping[str, Any]:
        admission = self._media.admission
        exposure = self._exposure
        return {
            "ready": self._state == "ready" and self.reachable,
            "state": self._state,
            "provider": self._config.provider,
            "calls": {"live": self.manager.live_count, "limit": self._config.max_concurrent_calls},
            "streams": {"open": admission.open, "pending": admission.pending},
            "eventLoop": {"blocked": self._blocked, "longestMs": round(self._longest_blocked_ms)},
            **({} if exposure is None else {"exposure": exposure.state()}),
        }

    def _webhook_url(self) -> str:
        public = self._public_url or self.control_url
        # A public URL without a path stands for the path that is served.
        path = "" if urlsplit(public).path.rstrip("/") else self._config.serve.path
        return f"{public.rstrip('/')}{path}"

    def _stream_url(self) -> str:
        streaming = self._config.streaming
        public = streaming.public_url or self._public_url
        if public is not None:
            parts = urlsplit(public)
            scheme = "ws" if parts.scheme == "http" else "wss"
            within = ""
            if self._media_port is None and streaming.public_url is None:
                # Served beside the webhook, which may be behind a prefix.
                within = plan.prefix(parts.path, self._config.serve.path)
            return f"{scheme}://{parts.netloc}{within}{streaming.stream_path}"
        local = self._local_media_url("ws") or self.control_url.replace("http", "ws", 1)
        return f"{local}{streaming.stream_path}"

    def _local_media_url(self, scheme: str) -> str | None:
        if self._media_port is None:
            return None
        return f"{scheme}://{_reachable(self._config.streaming.bind)}:{self._media_port}"


def _check_servable(config: Config) -> None:
    """Refuse what this version cannot do, rather than do something else."""
    if not config.enabled:
        raise ServeError("enabled: is false, so nothing is served; set it to true")
    if config.provider != "mock" and config.public_url is None and plan.way(config) is None:
        raise ServeError(
            f"publicUrl: {config.provider} reports calls to a URL of this server; set the one that "
            f"leads to {config.serve.path} here, or a tunnel.provider"
        )
    if config.provider == "mock" and not config.streaming.enabled:
        raise ServeError(
            "streaming.enabled: the mock carrier has no speech of its own; set it to true"
        )
    if config.serve.workers > 1:
        raise ServeError("serve.workers: this version serves with one worker")
    if config.realtime.enabled and not config.streaming.enabled:
        raise ServeError("realtime.enabled: needs the call's audio; set streaming.enabled to true")


def _has_realtime(config: Config) -> bool:
    """Whether a model that converses by itself is to hold calls, if only those of one number."""
    of_numbers = [each.realtime for each in config.numbers.values() if each.realtime]
    return any(each.enabled for each in (config.realtime, *of_numbers))


def _store(
    config: Config, clock: Clock, metrics: Metrics
) -> MemoryCallStore | SqliteCallStore | RedisCallStore:
    if config.store is None or config.store == IN_MEMORY:
        return MemoryCallStore()
    retention = Retention.configured(config.retention)
    address = _database(config)
    if address is not None:
        return RedisCallStore(address, clock=clock, retention=retention, on_stored=metrics.stored)
    return SqliteCallStore(
        Path(config.store), clock=clock, retention=retention, on_stored=metrics.stored
    )


def _database(config: Config) -> RedisAddress | None:
    """The database server that keeps the calls, if one does. Raises ConfigError."""
    url = config.store or ""
    if url.partition("://")[0] not in DATABASE_SCHEMES:
        return None
    # The same after a restart, and another one for each server that can be reached.
    return RedisAddress.parse(url, server=f"{socket.gethostname()}:{config.serve.port}")


def _place(config: Config) -> str:
    """Where calls are kept, without a password."""
    address = _database(config)
    return address.place if address is not None else config.store or IN_MEMORY


def _ngrok_bypass(config: Config) -> bool:
    bind = config.serve.bind
    loopback = bind == "localhost" or is_loopback(bind)
    return config.tunnel.allow_ngrok_free_tier_loopback_bypass and loopback


def _control(config: Config, app: ASGIApp, *, mounted: bool) -> ControlListener | ServedElsewhere:
    serve = config.serve
    if mounted:
        return ServedElsewhere(app, serve.port)
    tls = TlsFiles(serve.tls.cert, serve.tls.key) if serve.tls else None
    return ControlListener(app, serve.bind, serve.port, tls)


def _configured_token(config: Config) -> str | None:
    return config.rpc.token.get_secret_value() if config.rpc.token else None


def _reachable(bind: str) -> str:
    """An address of this machine that a listener on `bind` can be reached at."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104
    return f"[{address}]" if ":" in address else address


def _call_settings(config: Config, patience: Patience) -> CallSettings:
    return CallSettings(
        # The mock carrier calls from anywhere; every other one has to be told.
        from_number=config.from_number or MOCK_NUMBER,
        to_number=config.to_number,
        default_mode=config.outbound.default_mode,
        max_concurrent_calls=config.max_concurrent_calls,
        inbound_policy=config.inbound_policy,
        allow_from=config.allow_from,
        inbound_greeting=config.inbound_greeting,
        numbers={
            number: settings.model_dump(by_alias=True, exclude_none=True, exclude={"tts"})
            for number, settings in config.numbers.items()
        },
        session_scope=config.session_scope,
        ring_timeout_ms=config.ring_timeout_ms,
        max_duration_ms=config.max_duration_seconds * 1000,
        transcript_timeout_ms=config.transcript_timeout_ms,
        stale_after_ms=config.stale_call_reaper_seconds * 1000,
        dial_timeout_ms=round(patience.dial_s * 1000),
        carrier_timeout_ms=round(patience.request_s * 1000) + CARRIER_MARGIN_MS,
        sip=config.provider == "plivo",
        # All three can; the mock carrier connects nobody.
        transfer_sip=config.provider != "mock",
    )


def _media_settings(config: Config) -> MediaSettings:
    streaming = config.streaming
    return MediaSettings(
        stream_path=streaming.stream_path,
        pre_start_timeout_ms=streaming.pre_start_timeout_ms,
        max_pending_connections=streaming.max_pending_connections,
        max_pending_connections_per_ip=streaming.max_pending_connections_per_ip,
        max_connections=streaming.max_connections,
        frame_ms=streaming.frame_ms,
        lead_ms=streaming.lead_ms,
        jitter_ms=streaming.jitter_ms,
        trusted_proxies=tuple(str(each) for each in config.webhook_security.trusted_proxy_ips),
    )
