"""A caller who talks as people do, and hears how long the answers take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voicecall.audio import to_pcm16
from voicecall.cli.demo_timing import LOUD_DBFS, level_dbfs
from voicecall.clock import NS_PER_MS
from voicecall.simulator.phone import Phone
from voicecall.simulator.script import AwaitHangUp, Listen, Say, Script, run_script

if TYPE_CHECKING:
    from benchmarks.soak.carrier import Dialled
    from voicecall.simulator.engines import Engines
    from voicecall.simulator.stream import LineAudio

QUESTIONS = (
    "What are your opening hours?",
    "I would like to book an appointment.",
    "Yes, please.",
)
LISTEN = Listen(quiet_ms=700)
GOODBYE = Script(steps=(Say(text="That is all, thank you. Goodbye."), AwaitHangUp()))


@dataclass(slots=True)
class Answers:
    """How long the bot took, by the caller's ear.

    Attributes:
        after_ms: from the caller's last sound to the bot's next, for each answer.
    """

    after_ms: list[float] = field(default_factory=list)
    _silent_since_ns: int | None = None

    def feed(self, line: LineAudio) -> None:
        """Take another 20 ms."""
        frame_ns = 20 * NS_PER_MS
        if level_dbfs(to_pcm16(line.spoken, "ulaw")) >= LOUD_DBFS:
            self._silent_since_ns = line.spoken_ns + frame_ns
        elif (
            self._silent_since_ns is not None
            and line.heard_ns >= self._silent_since_ns
            and level_dbfs(to_pcm16(line.heard, "ulaw")) >= LOUD_DBFS
        ):
            self.after_ms.append((line.heard_ns - self._silent_since_ns) / NS_PER_MS)
            self._silent_since_ns = None


@dataclass(frozen=True, slots=True)
class Talk:
    """What came of one conversation."""

    answers: Answers
    frames: int
    late: int
    underruns: int


async def talk(call: Dialled, engines: Engines, questions: int, *, goodbye: bool) -> Talk:
    """Hold one conversation.

    Args:
        call: answered already.
        engines: the caller's voice.
        questions: how many are asked, at most three.
        goodbye: say so, and wait for the bot to hang up; otherwise hang up.

    Raises:
        TimeoutError: the bot did not answer.
        CallHasEnded: it hung up.
    """
    answers = Answers()
    async with Phone(call.url, call_sid=call.provider_call_id, engines=engines) as phone:
        phone.on_line = answers.feed
        asked = (step for text in QUESTIONS[:questions] for step in (Say(text=text), LISTEN))
        await run_script(phone, Script(steps=(LISTEN, *asked)))
        heard = Answers(list(answers.after_ms))
        if goodbye:
            await run_script(phone, GOODBYE)
        stats = phone.stats
        return Talk(heard, stats.frames_received, stats.late, stats.underruns)
