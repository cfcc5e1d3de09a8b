"""Deepgram's live socket: the model writes down what the caller says, and tells turns.

The caller's audio goes there as the carrier coded it. A turn's text comes in pieces, of which some
are guesses and some are final; the turn is over when the server says so in one of two ways.

Source: Deepgram `/v1/listen`, as in the types of deepgram-sdk 7.17.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from voicecall.clock import NS_PER_MS
from voicecall.ports import (
    ULAW_8K,
    FinalTranscript,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
)
from voicecall.speech.realtime.sockets import explained
from voicecall.speech.stt.channel import SocketChannel
from voicecall.speech.stt.remote import RemoteSttStream
from voicecall.speech.stt.sending import Positions
from voicecall.speech.vad import Endpointing
from voicecall.speech.websocket import SCHEMES, ServiceAddress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, SttEvent, SttStream
    from voicecall.speech.stt.channel import Channel
    from voicecall.speech.stt.remote import Limits
    from voicecall.speech.stt.sending import Piece

_log = logging.getLogger("voicecall.speech")

_SERVICE = "Deepgram"
_ORIGIN = "wss://api.deepgram.com"
_MAX_MESSAGE_OCTETS = 1024 * 1024
# The server's own bound.
_LEAST_UTTERANCE_END_MS = 1_000
# The server notices sounds and says nothing more of them when they turn out to be no words.
_NO_WORDS_MS = 3_000
_SAME_MOMENT_S = 0.01


@dataclass(frozen=True, slots=True)
class DeepgramSettings:
    """What the model is told.

    Attributes:
        model: its name.
        language: of the caller, BCP 47, or `multi`; None for the model's own.
        keywords: names and words that may come up.
    """

    model: str
    language: str | None = None
    keywords: Sequence[str] = ()


class DeepgramSpeechToText:
    """The recogniser, shared by all calls; implements `ports.SpeechToText`.

    Args:
        api_key: secret.
        settings: what the model is told.
        clock: the time.
        rules: when speech counts as over; the server knows `silence_ms` only.
        base_url: of a server that speaks the same protocol; None for Deepgram's own.
        limits: how long what may take.
    """

    def __init__(
        self,
        api_key: str,
        settings: DeepgramSettings,
        *,
        clock: Clock,
        rules: Endpointing | None = None,
        base_url: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._rules = rules or Endpointing()
        self._address = ServiceAddress(
            _listen_url(base_url or _ORIGIN, settings, self._rules),
            {"Authorization": f"Token {api_key}"},
            partial(explained, service=_SERVICE),
            extra="deepgram",
            max_message_octets=_MAX_MESSAGE_OCTETS,
        )
        self._clock = clock
        self._limits = limits

    @property
    def input(self) -> AudioFormat:
        """Mu-law at 8 kHz, as most carriers code it."""
        return ULAW_8K

    async def prepare(self) -> None:
        """Load the package.

        Raises:
            DependencyMissing: it is not installed.
        """
        await self._address.prepare()

    async def open(self) -> SttStream:
        """Begin a call; the socket is opened meanwhile. Raises as `prepare` does."""
        await self.prepare()
        return RemoteSttStream(
            self._connect, service=_SERVICE, audio=ULAW_8K, clock=self._clock, limits=self._limits
        )

    async def close(self) -> None:
        """Nothing is held."""

    async def _connect(self) -> Channel:
        socket = await self._address.open()
        return SocketChannel[str | bytes](socket, DeepgramDialect(self._rules), self._clock)


def _listen_url(origin: str, settings: DeepgramSettings, rules: Endpointing) -> str:
    parts = urlsplit(origin)
    query = [
        ("model", settings.model),
        ("encoding", "mulaw"),
        ("sample_rate", ULAW_8K.rate_hz),
        ("channels", 1),
        ("interim_results", "true"),
        ("endpointing", rules.silence_ms),
        ("utterance_end_ms", max(_LEAST_UTTERANCE_END_MS, rules.silence_ms)),
        ("vad_events", "true"),
        ("smart_format", "true"),
        *(("keyterm", keyword) for keyword in settings.keywords),
    ]
    if settings.language is not None:
        query.append(("language", settings.language))
    path = parts.path.rstrip("/").removesuffix("/v1")
    scheme = SCHEMES.get(parts.scheme, parts.scheme)
    return parts._replace(
        scheme=scheme, path=f"{path}/v1/listen", query=urlencode(query), fragment=""
    ).geturl()


class DeepgramDialect:
    """One live session without I/O; implements `channel.Dialect`.

    Args:
        rules: as in `DeepgramSpeechToText`.
    """

    def __init__(self, rules: Endpointing) -> None:
        self._rules = rules
        self._positions = Positions(ULAW_8K)
        self._no_words_ns = max(_NO_WORDS_MS, rules.silence_ms + 1_000) * NS_PER_MS
        # Positions in seconds: up to where everything has been told, what came of it at all, and
        # where the last word ended.
        self._told_s = 0.0
        self._seen_s = 0.0
        self._word_s = 0.0
        self._forget_turn()

    def _forget_turn(self) -> None:
        self._speaking = False
        self._pieces: list[str] = []
        self._confidences: list[float] = []
        self._guess = ""
        self._deadline_ns: int | None = None

    @property
    def deadline_ns(self) -> int | None:
        """When a sound that no words have followed counts as over."""
        return self._deadline_ns

    # --- sending ------------------------------------------------------------------------------

    def audio(self, piece: Piece) -> Sequence[bytes]:
        """The audio as it is."""
        if not piece.audio:
            return ()
        self._positions.sent(piece)
        return (piece.audio,)

    def rest(self) -> str:
        """Without it the server closes the socket after ten seconds."""
        return '{"type":"KeepAlive"}'

    def farewell(self) -> str:
        """Nothing more is sent."""
        return '{"type":"CloseStream"}'

    # --- receiving ----------------------------------------------------------------------------

    def receive(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        """What a message means."""
        handle = self._HANDLERS.get(event["type"])
        return () if handle is None else handle(self, event, now_ns)

    def tick(self, now_ns: int) -> Sequence[SttEvent]:
        """End a turn that the server does not end."""
        if self._deadline_ns is None or now_ns < self._deadline_ns:
            return ()
        return self._end(now_ns)

    def _on_started(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        at_s = float(event["timestamp"])
        return () if at_s < self._told_s else self._begin(at_s, now_ns)

    def _on_results(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        start_s = float(event["start"])
        end_s = start_s + float(event["duration"])
        if end_s <= self._told_s + _SAME_MOMENT_S:
            # The end of the turn was told before it; its guess has been taken for it.
            return ()
        best = event["channel"]["alternatives"][0]
        text, words = str(best["transcript"]).strip(), best.get("words") or ()
        self._seen_s = end_s
        events: list[SttEvent] = []
        if text:
            begun_s = float(words[0]["start"]) if words else start_s
            events += self._begin(max(begun_s, self._told_s), now_ns)
            self._word_s = float(words[-1]["end"]) if words else end_s
            self._deadline_ns = now_ns + self._no_words_ns
        self._take(text, best.get("confidence"), final=bool(event.get("is_final")))
        if event.get("speech_final"):
            return [*events, *self._end(now_ns)]
        return [*events, PartialTranscript(self._so_far)] if text else events

    def _on_utterance_end(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        if float(event["last_word_end"]) <= self._told_s:
            # Told by the results already; the caller may be saying something else by now.
            return ()
        return self._end(now_ns)

    def _on_error(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        del now_ns
        _log.warning("a recogniser reported an error", extra={"status": event.get("variant")})
        return ()

    def _begin(self, at_s: float, now_ns: int) -> Sequence[SttEvent]:
        if self._speaking:
            return ()
        self._speaking = True
        self._word_s = at_s
        self._deadline_ns = now_ns + self._no_words_ns
        return (SpeechStarted(self._positions.date(at_s * 1000, now_ns)),)

    def _take(self, text: str, confidence: float | None, *, final: bool) -> None:
        if not final:
            self._guess = text
            return
        self._guess = ""
        if text:
            self._pieces.append(text)
            if confidence is not None:
                self._confidences.append(float(confidence))

    @property
    def _so_far(self) -> str:
        return " ".join([*self._pieces, self._guess]).strip()

    def _end(self, now_ns: int) -> Sequence[SttEvent]:
        """The caller has finished, if anything was begun."""
        self._told_s = self._seen_s
        if not self._speaking:
            return ()
        confidence = None
        if self._confidences:
            confidence = sum(self._confidences) / len(self._confidences)
        final = FinalTranscript(self._so_far, confidence)
        stopped = SpeechStopped(self._positions.date(self._word_s * 1000, now_ns))
        self._forget_turn()
        return (stopped, final)

    _HANDLERS: Final = {
        "SpeechStarted": _on_started,
        "Results": _on_results,
        "UtteranceEnd": _on_utterance_end,
        "Error": _on_error,
    }
