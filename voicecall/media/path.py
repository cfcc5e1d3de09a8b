"""One call's two-way audio, over however many media sockets it takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from voicecall.media.playout import Playout, SpokenUtterance

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall._codec import Pacer
    from voicecall.clock import Clock
    from voicecall.media.leg import Leg
    from voicecall.ports import AudioFormat, PathEvents

RECONNECT_GRACE_S = 2.0


class CallPath:
    """The newest leg of a call and the audio that goes along from leg to leg.

    Implements `voicecall.ports.AudioPath`.

    Args:
        call_id: our id of the call.
        events: whom to tell.
        audio: how outgoing audio is coded.
        pacer: schedules it.
        clock: the time.
        on_closed: called once, when the path is given up.
    """

    def __init__(
        self,
        call_id: str,
        events: PathEvents,
        audio: AudioFormat,
        pacer: Pacer,
        clock: Clock,
        on_closed: Callable[[CallPath], None],
    ) -> None:
        self.call_id = call_id
        self.events = events
        self.playout = Playout(pacer, audio, clock)
        self._audio = audio
        self._clock = clock
        self._on_closed = on_closed
        self._sink: Callable[[bytes], None] | None = None
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

    def listen(self, sink: Callable[[bytes], None] | None) -> None:
        """Hand the caller's audio to `sink`, also after a reconnect."""
        self._sink = sink
        if self.leg is not None:
            self.leg.stream.listen(sink)

    def close(self) -> None:
        """Give up the path and its socket."""
        if self._closed:
            return
        self._closed = True
        self._cancel_grace()
        self.playout.close()
        leg, self.leg = self.leg, None
        if leg is not None:
            leg.close(reason="Call ended")
        self._on_closed(self)

    # --- the media plane's side ---

    def carry_on(self, leg: Leg) -> None:
        """`leg` carries the call from now on; an older one is retired and the call not told."""
        self._cancel_grace()
        older, self.leg = self.leg, leg
        self._carried_since_ns = self._clock.now_ns()
        leg.path = self
        leg.stream.listen(self._sink)
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

    def _lost(self, reason: str) -> None:
        self._grace = None
        if not self._closed:
            self.events.on_path_lost(reason)

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
