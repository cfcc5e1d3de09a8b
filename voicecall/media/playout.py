"""What a call says: utterances in order, and how much of each has been heard."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from voicecall.ports import AudioFormat, Playback

if TYPE_CHECKING:
    from voicecall._codec import MediaStream, Pacer
    from voicecall.clock import Clock

# How often the carrier is asked to confirm how far it has played. Between confirmations the send
# clock says it to a few milliseconds; every mark costs a message each way.
PROGRESS_MS = 1000
# A carrier that does not echo the last mark is believed to have come to it this much too late.
ECHO_GRACE_S = 2.0


class SpokenUtterance:
    """One continuous piece of outgoing speech; see `voicecall.ports.Utterance`."""

    def __init__(self, playout: Playout, number: int, start: int) -> None:
        self._playout = playout
        self._number = number
        self._pieces = 0
        self._waiters: list[asyncio.Future[None]] = []
        self.start = start
        self.end = start
        self.padded_end = start
        self.finished = False
        self.result: Playback | None = None

    async def write(self, audio: bytes) -> None:
        """Queue more audio; returns once there is room for it, or it is no longer wanted."""
        playout, step = self._playout, self._playout.progress_octets
        pieces = (
            (audio,)
            if len(audio) <= step
            else (audio[at : at + step] for at in range(0, len(audio), step))
        )
        for piece in pieces:
            while not self.finished and not playout.write(self, piece):
                await playout.room()

    def finish(self) -> None:
        """No more audio follows."""
        if not self.finished:
            self.finished = True
            self._playout.finish(self)

    async def played(self) -> Playback:
        """Wait until it was heard or cut short; bounded by its own length and a grace."""
        loop = asyncio.get_running_loop()
        while self.result is None:
            waiter = loop.create_future()
            self._waiters.append(waiter)
            wait_s = self._playout.remaining_s(self) + ECHO_GRACE_S
            deadline = loop.call_later(wait_s, self._overdue, waiter)
            try:
                await waiter
            finally:
                deadline.cancel()
                self._waiters.remove(waiter)
        return self.result

    def heard_ms(self) -> int:
        """How much of it has been heard up to now."""
        if self.result is not None:
            return self.result.heard_ms
        return self._playout.milliseconds(self._heard(self._playout.position()))

    def mark_name(self) -> str:
        """A name for the next mark of this utterance; never used twice in a call."""
        self._pieces += 1
        return f"u{self._number}.{self._pieces}"

    def settle(self, position: int, *, interrupted: bool) -> None:
        """It is over: the carrier has played up to `position`."""
        if self.result is not None:
            return
        self.finished = True
        self.result = Playback(
            heard_ms=self._playout.milliseconds(self._heard(position)),
            total_ms=self._playout.milliseconds(self.end - self.start),
            interrupted=interrupted,
        )
        for waiter in self._waiters:
            _wake(waiter)

    def _overdue(self, waiter: asyncio.Future[None]) -> None:
        """Believe that it was heard, unless it grew in the meantime and is waited for anew."""
        if self.result is None and self.finished and self._playout.remaining_s(self) == 0:
            self._playout.believe(self)
        _wake(waiter)

    def _heard(self, position: int) -> int:
        return min(max(position - self.start, 0), self.end - self.start)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Playout:
    """The outgoing audio of one call, whichever socket carries it.

    Args:
        pacer: schedules the audio; it goes along from socket to socket.
        audio: how the audio is coded.
        clock: the time.
    """

    def __init__(self, pacer: Pacer, audio: AudioFormat, clock: Clock) -> None:
        self._clock = clock
        self._audio = audio
        self._stream: MediaStream | None = None
        self._room = asyncio.Event()
        self._open: deque[SpokenUtterance] = deque()
        self._marks: dict[str, int] = {}
        self._marked = 0
        self._confirmed = 0
        self._clears = 0
        self._echoes = True
        self._closed = False
        self._numbers = 0
        self.pacer = pacer
        self.progress_octets = audio.octets_per_second * PROGRESS_MS // 1000

    def attach(self, stream: MediaStream | None) -> None:
        """From now on `stream` carries the audio; marks sent on another one will not come back."""
        self._stream = stream
        self._clears = 0
        self._forget_marks(self.pacer.sent_octets)
        self._room.set()

    def utterance(self) -> SpokenUtterance:
        """Begin to speak after everything queued; an earlier utterance gets no more audio."""
        if self._open:
            self._open[-1].finish()
        self._numbers += 1
        utterance = SpokenUtterance(self, self._numbers, self.pacer.written_octets)
        if self._closed:
            utterance.settle(utterance.start, interrupted=True)
        else:
            self._open.append(utterance)
        return utterance

    def write(self, utterance: SpokenUtterance, audio: bytes) -> bool:
        """Queue at most `progress_octets` of `utterance`; False when there is no room for it."""
        stream = self._stream
        if stream is not None:
            # Not before more is said: the end of an utterance has a mark of its own.
            if utterance.end - self._marked >= self.progress_octets:
                self.pacer.mark(self._new_mark(utterance))
            if stream.write(audio, self._clock.now_ns()):
                utterance.end = self.pacer.written_octets
                return True
        self._room.clear()
        return False

    async def room(self) -> None:
        """Wait until there may be room again, or nothing more is wanted."""
        await self._room.wait()

    def finish(self, utterance: SpokenUtterance) -> None:
        """`utterance` is complete: its end is marked, or it is over at once if it is empty."""
        if utterance.end == utterance.start:
            utterance.settle(utterance.end, interrupted=False)
            self._open.remove(utterance)
            return
        now_ns = self._clock.now_ns()
        self.pacer.finish(now_ns)
        # The padding is not part of what is said, so the utterance's end stays where it is.
        utterance.padded_end = self.pacer.written_octets
        self.pacer.mark(self._new_mark(utterance))
        if self._stream is not None:
            self._stream.pump(now_ns)

    def believe(self, utterance: SpokenUtterance) -> None:
        """`utterance` must have been heard by now, although the carrier has not said so."""
        self._echoes = False
        self._confirm(utterance.padded_end)

    def clear(self) -> None:
        """Stop at once, here and at the carrier; every utterance ends as far as it was heard."""
        position = self.position()
        if self._stream is not None:
            self._clears += 1
            self._stream.clear(self._clock.now_ns())
        else:
            self.pacer.clear(self._clock.now_ns())
        self._marks.clear()
        self._marked = self.pacer.written_octets
        self._settle_all(position)

    def close(self) -> None:
        """The call is over: every utterance ends as far as it was heard."""
        self._closed = True
        self._stream = None
        self._settle_all(self.position())

    def on_mark(self, name: str) -> None:
        """The carrier has played up to a mark; one that is not known any more says nothing."""
        position = self._marks.get(name)
        if position is not None:
            self._echoes = True
            self._confirm(position)

    def on_cleared(self) -> None:
        """The carrier has dropped what it had, and owes no echoes of marks in it.

        What we asked it to drop was settled when we asked. If it did so of its own accord, what it
        had whole will not be heard to its end; what we still have goes on.
        """
        if self._clears:
            self._clears -= 1
            return
        position, sent = self.position(), self.pacer.sent_octets
        self._forget_marks(sent)
        while self._open and self._open[0].finished and self._open[0].padded_end <= sent:
            self._open.popleft().settle(position, interrupted=True)

    def on_room(self) -> None:
        """There is room in the queue again."""
        self._room.set()

    def position(self) -> int:
        """Up to where the carrier has played: by the send clock, held between confirmed marks."""
        position = self.pacer.played_octets(self._clock.now_ns())
        if self._marks and self._echoes:
            unconfirmed = next(iter(self._marks.values()))
            if position < unconfirmed + self._audio.octets_per_second * ECHO_GRACE_S:
                position = min(position, unconfirmed)
        return max(position, self._confirmed)

    def remaining_s(self, utterance: SpokenUtterance) -> float:
        """How long the rest of what is queued of `utterance` takes to play, in seconds."""
        played = self.pacer.played_octets(self._clock.now_ns())
        return max(0, utterance.end - played) / self._audio.octets_per_second

    def milliseconds(self, octets: int) -> int:
        """The duration of `octets` of this audio."""
        return octets * 1000 // self._audio.octets_per_second

    def _new_mark(self, utterance: SpokenUtterance) -> str:
        self._marked = self.pacer.written_octets
        name = utterance.mark_name()
        self._marks[name] = self._marked
        return name

    def _confirm(self, position: int) -> None:
        """Everything up to `position` has been played: what ends there or before is complete."""
        self._confirmed = max(self._confirmed, position)
        self._forget_marks(position)
        while self._open and self._open[0].finished and self._open[0].end <= position:
            utterance = self._open.popleft()
            utterance.settle(utterance.end, interrupted=False)

    def _forget_marks(self, position: int) -> None:
        for name in [name for name, at in self._marks.items() if at <= position]:
            del self._marks[name]

    def _settle_all(self, position: int) -> None:
        while self._open:
            self._open.popleft().settle(position, interrupted=True)
        self._room.set()
