from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.speech.signals import as_ulaw, silence, tone
from tests.speech.stt.fakes import FakeService, broken, take
from voicecall.clock import NS_PER_MS, ManualClock
from voicecall.errors import SpeechError
from voicecall.ports import (
    ULAW_8K,
    FinalTranscript,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
)
from voicecall.speech.stt.commits import CommittedSttStream, Passed, TurnGate
from voicecall.speech.stt.remote import RemoteSttStream
from voicecall.speech.stt.sending import Piece
from voicecall.speech.vad import Endpointing, EnergyVad

pytestmark = pytest.mark.unit

RULES = Endpointing(min_speech_ms=60, silence_ms=200, preroll_ms=100)
SILENCE = as_ulaw(silence(600))
SPEECH = as_ulaw(tone(400))


def gated(audio: bytes, step: int = 160) -> list[Passed]:
    """What passes when `audio` arrives in steps, at its own pace, from 0 on."""
    gate = TurnGate(EnergyVad(), RULES)
    passed: list[Passed] = []
    for start in range(0, len(audio), step):
        chunk = audio[start : start + step]
        passed += gate.push(chunk, (start + len(chunk)) * NS_PER_MS // 8)
    return passed


def test_a_turn_passes_with_a_little_from_before_and_after() -> None:
    passed = gated(SILENCE + SPEECH + SILENCE)
    assert passed[0] == SpeechStarted(600 * NS_PER_MS)
    assert passed[-1] == SpeechStopped(1000 * NS_PER_MS)
    pieces = [each for each in passed if isinstance(each, Piece)]
    assert len(pieces) == len(passed) - 2
    assert [piece.ends_turn for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    audio = b"".join(piece.audio for piece in pieces)
    # At least 100 ms before, the speech, 200 ms of silence that make its end.
    begin = (SILENCE + SPEECH + SILENCE).index(audio)
    assert 100 <= 600 - begin / 8 <= 160
    assert (begin + len(audio)) / 8 == 1200
    assert pieces[-1].until_ns == 1200 * NS_PER_MS


def test_nothing_of_silence_passes() -> None:
    assert gated(SILENCE * 5) == []


def test_pieces_of_a_turn_follow_each_other_without_a_hole() -> None:
    pieces = [each for each in gated(SILENCE + SPEECH + SILENCE) if isinstance(each, Piece)]
    for piece, following in pairwise(pieces):
        assert following.until_ns - piece.until_ns == len(following.audio) * NS_PER_MS // 8


@pytest.mark.parametrize("step", [1, 159, 161, 1000, 100_000])
def test_the_steps_in_which_audio_comes_do_not_matter(step: int) -> None:
    audio = SILENCE + SPEECH + SILENCE
    whole, steps = gated(audio), gated(audio, step)
    assert [each for each in steps if not isinstance(each, Piece)] == [
        each for each in whole if not isinstance(each, Piece)
    ]
    assert b"".join(each.audio for each in steps if isinstance(each, Piece)) == b"".join(
        each.audio for each in whole if isinstance(each, Piece)
    )


def test_a_turn_that_does_not_end_is_cut() -> None:
    rules = Endpointing(min_speech_ms=60, silence_ms=200, max_utterance_ms=1000)
    gate = TurnGate(EnergyVad(), rules)
    passed = gate.push(SILENCE + as_ulaw(tone(1600)), 2200 * NS_PER_MS)
    ends = [each for each in passed if isinstance(each, Piece) and each.ends_turn]
    assert len(ends) == 1
    assert sum(isinstance(each, SpeechStarted) for each in passed) == 2


class Case:
    """One call whose turns are found here."""

    def __init__(
        self, service: FakeService, clock: ManualClock, worker: ThreadPoolExecutor
    ) -> None:
        self.clock = clock
        self.worker = worker
        self.remote = RemoteSttStream(service.connect, service="Test", audio=ULAW_8K, clock=clock)
        gate = TurnGate(EnergyVad(), RULES)
        self.stream = CommittedSttStream(self.remote, gate, worker=worker, clock=clock)

    async def hear(self, audio: bytes) -> None:
        for start in range(0, len(audio), 160):
            self.clock.advance_ms(20)
            self.stream.push(audio[start : start + 160])
            await asyncio.get_running_loop().run_in_executor(self.worker, int)


def test_turns_are_told_and_the_recogniser_is_asked_for_each() -> None:
    async def case() -> None:
        service = FakeService()
        with ThreadPoolExecutor(1) as worker:
            call = Case(service, ManualClock(now_ns=0), worker)
            channel = await service.channel(0)
            await call.hear(SILENCE + SPEECH + SILENCE)
            await channel.until(lambda channel: channel.pieces[-1:] != [])
            await channel.until(lambda channel: channel.pieces[-1].ends_turn)
            channel.give(PartialTranscript("Hel"), FinalTranscript("Hello."))
            assert await take(call.stream, 4) == [
                SpeechStarted(600 * NS_PER_MS),
                SpeechStopped(1000 * NS_PER_MS),
                PartialTranscript("Hel"),
                FinalTranscript("Hello."),
            ]
            assert len(channel.audio) / 8 <= 760
            await call.stream.close()
            assert channel.closed

    asyncio.run(case())


def test_a_connection_that_breaks_does_not_end_a_turn_that_we_found_ourselves() -> None:
    async def case() -> None:
        service = FakeService()
        with ThreadPoolExecutor(1) as worker:
            call = Case(service, ManualClock(now_ns=0), worker)
            first = await service.channel(0)
            await call.hear(SILENCE + SPEECH[:1600])
            first.give(PartialTranscript("I would"))
            assert len(await take(call.stream, 2)) == 2
            first.cut(broken())
            second = await service.channel(1)
            await call.hear(SPEECH[1600:] + SILENCE)
            await second.until(lambda channel: bool(channel.pieces))
            await second.until(lambda channel: channel.pieces[-1].ends_turn)
            second.give(FinalTranscript("like to."))
            assert await take(call.stream, 3) == [
                FinalTranscript("I would"),
                SpeechStopped(1000 * NS_PER_MS),
                FinalTranscript("like to."),
            ]
            await call.stream.close()

    asyncio.run(case())


def test_a_detector_that_fails_ends_the_recognition() -> None:
    class Broken(EnergyVad):
        def probability(self, pcm: bytes) -> float:
            raise ZeroDivisionError

    async def case() -> None:
        service = FakeService()
        with ThreadPoolExecutor(1) as worker:
            call = Case(service, ManualClock(), worker)
            gate = TurnGate(Broken(), RULES)
            stream = CommittedSttStream(call.remote, gate, worker=worker, clock=call.clock)
            stream.push(SILENCE)
            with pytest.raises(SpeechError, match="detection failed"):
                await take(stream, 1)
            await stream.close()
            await call.stream.close()

    asyncio.run(case())


def test_what_nobody_heard_is_counted_wherever_it_was_lost() -> None:
    async def case() -> None:
        service = FakeService(None)
        with ThreadPoolExecutor(1) as worker:
            call = Case(service, ManualClock(now_ns=0), worker)
            await call.hear(SILENCE + as_ulaw(tone(3000)))
            lost = call.stream.dropped_octets
            assert lost == call.remote.dropped_octets
            assert 900 <= lost / 8 <= 1200
            await call.stream.close()

    asyncio.run(case())
