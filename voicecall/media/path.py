"""One call's two-way audio, over however many media sockets it takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from voicecall.audio import Transcoder
from voicecall.clock import NS_PER_S
from voicecall.media.playout import Playout, SpokenUtterance
from voicecall.ports import AudioFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall._codec import Pacer
    from voicecall.clock import Clock
    from voicecall.media.keys import KeyOrder
    from voicecall.media.leg import Leg
    from voicecall.ports import PathEvents

RECONNECT_GRACE_S = 2.0


class CallPath:
    """The newest leg of a call and the audio that goes along from leg to leg.

    Implements `voicecall.ports.AudioPath`.

    Args:
        call_id: our id of the call.
        events: whom to tell.
        audio: how outgoing audio is coded.
        pacer: schedules it.
        key_order: puts the caller's keys in order.
        clock: the time.
        on_closed: called once, when the path is given up.
    """

    def __init__(
        self,
        call_id: str,
        events: PathEvents,
        audio: AudioFormat,
        pacer: Pacer,
        key_order: KeyOrder,
        clock: Clock,
        on_closed: Callable[[CallPath], None],
    ) -> None:
        self.call_id = call_id
        self.events = events
        self.playout = Playout(pacer, audio, clock)
        self._audio = audio
        self._key_order = key_order
        self._keys_due: asyncio.TimerHandle | None = None
        self._heard = audio
        self._clock = clock
        self._on_closed = on_closed
        self._sink: Callable[[bytes], None] | None = None
        self._coded = False
        self._grace: asyncio.TimerHandle | None = None
        self._closed = False
        self._carried_since_ns = 0
        self.leg: Leg | None = None

    # --- voicecall.ports.AudioPath ---

    @property
    def audio(self) -> AudioFormat:
        """How audio is coded."""
        return self._audio

    def utterance(self) -> SpokenUtterance:
        """Begin to speak after everything already queued."""
        return self.playout.utterance()

    def clear(self) -> None:
        """Stop playing at once, here and at the carrier."""
        self.playout.clear()

    def listen(self, sink: Callable[[bytes], None] | None, *, coded: bool = False) -> None:
        """Hand the caller's audio to `sink`, as PCM16 or as it is coded, also after a reconnect."""
        self._sink = sink
        self._coded = coded
        if self.leg is not None:
            self._listen_to(self.leg)

    def close(self) -> None:
        """Give up the path and its socket."""
        if self._closed:
            return
        self._closed = True
        self._cancel_grace()
        if self._keys_due is not None:
            self._keys_due.cancel()
        self.playout.close()
        leg, self.leg = self.leg, None
        if leg is not None:
            leg.close(reason="Call ended")
        self._on_closed(self)

    # --- the media plane's side ---

    def carry_on(self, leg: Leg, heard: AudioFormat) -> None:
        """`leg` carries the call from now on; an older one is retired and the call not told.

        Args:
            leg: the socket.
            heard: how it brings the caller's audio.
        """
        self._cancel_grace()
        self._heard = heard
        older, self.leg = self.leg, leg
        self._carried_since_ns = self._clock.now_ns()
        leg.path = self
        self._listen_to(leg)
        self.playout.attach(leg.stream)
        if older is not None:
            older.close(reason="Replaced by a newer socket")

    def leg_lost(self, leg: Leg) -> None:
        """The socket of `leg` is gone; the call waits a moment for another."""
        if leg is not self.leg or self._closed:
            return
        self.leg = None
        self.playout.attach(None)
        loop = asyncio.get_running_loop()
        self._grace = loop.call_later(RECONNECT_GRACE_S, self._lost, leg.close_reason)

    def on_dtmf(self, digit: str, pressed_at_ms: int | None) -> None:
        """The caller pressed a key; one that says when waits for any pressed before it."""
        if pressed_at_ms is None:
            self.events.on_path_dtmf(digit)
        elif not self._closed:
            self._key_order.put(digit, pressed_at_ms, self._clock.now_ns())
            self._release_keys()

    def silent_since_ns(self) -> int | None:
        """When the caller's last audio or the socket came; None while no socket is there."""
        if self.leg is None:
            return None
        return max(self._carried_since_ns, self.leg.stream.last_media_ns)

    def fell_silent(self) -> None:
        """No audio has come for too long: as if the socket had dropped for good."""
        leg = self.leg
        if leg is not None:
            leg.close(reason="No audio received")
            self._cancel_grace()
            self._lost("no audio received")

    def _listen_to(self, leg: Leg) -> None:
        """Hand on what `leg` brings: as it comes where that is what is wanted, else converted."""
        sink = self._sink
        if sink is None:
            leg.stream.listen(None)
        elif self._coded and self._heard == self._audio:
            leg.stream.listen(sink, coded=True)
        else:
            source = AudioFormat("pcm16", self._heard.rate_hz)
            wanted = self._audio if self._coded else AudioFormat("pcm16", self._audio.rate_hz)
            leg.stream.listen(sink if source == wanted else _converting(sink, source, wanted))

    def _release_keys(self) -> None:
        """Tell of the keys whose time has come, and look again when the next one's comes."""
        if self._keys_due is not None:
            self._keys_due.cancel()
            self._keys_due = None
        now_ns = self._clock.now_ns()
        for digit in self._key_order.take(now_ns):
            self.events.on_path_dtmf(digit)
        due_ns = self._key_order.due_ns
        if due_ns is not None and not self._closed:
            wait_s = (due_ns - now_ns) / NS_PER_S
            self._keys_due = asyncio.get_running_loop().call_later(wait_s, self._release_keys)

    def _lost(self, reason: str) -> None:
        self._grace = None
        if not self._closed:
            self.events.on_path_lost(reason)

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None


def _converting(
    sink: Callable[[bytes], None], source: AudioFormat, target: AudioFormat
) -> Callable[[bytes], None]:
    transcoder = Transcoder(source, target)

    def convert(audio: bytes) -> None:
        if converted := transcoder.convert(audio):
            sink(converted)

    return convert
