"""Calls as a program in the same process holds them, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import uuid
import weakref
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from tests.hosting import CALLEE, TOKEN, Hand, run, serving, settings, texts, until
from voicecall import Call, Config, Server
from voicecall.audio import from_pcm16, to_pcm16
from voicecall.errors import (
    CallHasEnded,
    InvalidRequest,
    NotConnected,
    ServeError,
    SpeechError,
    UnknownCall,
)
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.hosting import HeldPhone
    from voicecall.calls import OnCall

pytestmark = pytest.mark.socket

RATE = 8000


def tone(hz: float, ms: int, rate: int = RATE) -> bytes:
    at = np.arange(rate * ms // 1000) / rate
    return (8000 * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes()


def pitch(pcm: bytes, rate: int = RATE) -> float:
    """The strongest frequency in PCM16."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def loud(pcm: bytes | bytearray) -> bytes:
    """What is left without the silence around it."""
    samples = np.frombuffer(pcm, "<i2")
    (at,) = np.nonzero(np.abs(samples) > 1000)
    return samples[at[0] : at[-1] + 1].tobytes() if len(at) else b""


@asynccontextmanager
async def held_by(on_call: OnCall, **sections: Any) -> AsyncIterator[tuple[Server, Hand]]:
    hand = Hand()
    config = Config.model_validate(settings(**sections))
    async with Server(config, callee=hand, on_call=on_call) as server:
        yield server, hand


async def phone_of(call: Call, hand: Hand) -> HeldPhone:
    await call.connected()
    await until(lambda: hand.phones)
    return hand.phone


# --- handles -------------------------------------------------------------------------------------


def test_everything_that_happens_to_a_call_is_told_from_its_beginning_to_its_end() -> None:
    async def case() -> None:
        async with serving() as served:
            call = await served.server.calls.initiate("Good news.", CALLEE, "notify")
            assert call.id == call.record.call_id
            told = [event async for event in call.events()]
            kinds = [event["type"] for event in told]
            assert kinds[0] == "call.initiated"
            assert kinds[-1] == "call.ended"
            assert {"call.answered", "call.active", "call.speaking", "call.spoken"} <= set(kinds)
            assert {event["callId"] for event in told} == {call.id}
            assert call.record.end_reason == "hangup-bot"
            assert texts(call.record.to_json()) == [("bot", "Good news.")]
            with pytest.raises(RuntimeError, match="once"):
                await anext(call.events())

    run(case())


def test_a_question_is_answered_and_the_call_hung_up() -> None:
    async def case() -> None:
        async with serving(stt={"scripted": {"transcripts": ["On Tuesday."]}}) as served:
            call = await served.server.calls.initiate(to=CALLEE, mode="conversation")
            asking = asyncio.create_task(call.ask("When shall I come?"))
            phone = await phone_of(call, served.hand)
            await until(lambda: call.record.state == "listening" and call.record.transcript)
            await phone.say("On Tuesday")
            assert await asking == "On Tuesday."
            said = await call.say("Thank you.")
            assert not said.interrupted
            assert said.heard_ms == said.total_ms > 0
            await call.end()
            assert (await call.ended()).end_reason == "hangup-bot"
            await call.end()
            with pytest.raises(CallHasEnded, match="hangup-bot"):
                await call.say("Anybody there?")

    run(case())


def test_who_waits_for_a_call_that_nobody_answers_is_told() -> None:
    async def case() -> None:
        async with serving(by_hand=False, mock={"phone": "busy"}) as served:
            call = await served.server.calls.initiate("Hello.", CALLEE, "conversation")
            with pytest.raises(CallHasEnded, match="busy"):
                await call.say("Hello?")
            with pytest.raises(CallHasEnded, match="busy"):
                call.audio()
            with pytest.raises(CallHasEnded, match="busy"):
                await call.play(tone(440, 100), RATE)
            call.clear()

    run(case())


def test_calls_are_found_and_listed() -> None:
    async def case() -> None:
        async with serving() as served:
            calls = served.server.calls
            call = await calls.initiate("", CALLEE, "conversation")
            await call.connected()
            assert calls.get(call.id).record is call.record
            assert calls.get(call.record.provider_call_id or "").id == call.id
            assert [live.id for live in calls.live()] == [call.id]
            assert calls.live_count == 1
            with pytest.raises(UnknownCall):
                calls.get("nobody")
            await call.end()
            assert calls.live() == []
            assert [record.call_id for record in await calls.recent()] == [call.id]
            assert (await calls.lookup(call.id)) is not None

    run(case())


def test_a_handle_of_a_call_that_is_over_tells_nothing_more() -> None:
    async def case() -> None:
        async with serving() as served:
            call = await served.server.calls.initiate("Good news.", CALLEE, "notify")
            await call.ended()
            again = served.server.calls.get(call.id)
            assert [event async for event in again.events()] == []
            assert (await again.ended()).end_reason == "hangup-bot"

    run(case())


def test_of_forgotten_handles_nothing_is_left() -> None:
    async def case() -> None:
        async with serving() as served:
            calls = served.server.calls
            call = await calls.initiate("", CALLEE, "conversation")
            others = [weakref.ref(calls.get(call.id)._changes or call) for _ in range(10)]
            gc.collect()
            assert [other() for other in others] == [None] * 10
            # The one that is kept has everything all the same.
            await call.end()
            assert [event["type"] async for event in call.events()][-1] == "call.ended"

    run(case())


def test_calls_that_come_in_are_told() -> None:
    async def case() -> None:
        async with serving(inboundPolicy="open") as served:
            calls = served.server.calls
            async with aclosing(calls.incoming()) as incoming:
                coming = asyncio.ensure_future(anext(incoming))
                await asyncio.sleep(0)
                placed = await calls.initiate("", CALLEE, "conversation")
                await come_in(served.server)
                call = await coming
            assert call.id != placed.id
            assert call.record.direction == "inbound"
            assert call.record.from_number == "+15550009999"

    run(case())


async def come_in(server: Server) -> None:
    """Have somebody call, as the mock carrier reports it."""
    event = {
        "id": uuid.uuid4().hex,
        "type": "call.ringing",
        "providerCallId": "in-1",
        "direction": "inbound",
        "from": "+15550009999",
        "to": "+15550000000",
    }
    async with httpx.AsyncClient(base_url=server.control_url) as http:
        answer = await http.post("/voice/webhook", json={"event": event})
    assert answer.status_code == 200


# --- raw audio -----------------------------------------------------------------------------------


def test_audio_of_the_programs_own_is_heard_and_the_caller_is() -> None:
    heard = bytearray()
    played = []

    async def on_call(call: Call) -> None:
        played.append(await call.play(tone(440, 600, 24_000), 24_000))
        async for chunk in call.audio(16_000):
            assert len(chunk) == 640
            heard.extend(chunk)
            if len(loud(heard)) > 16_000:
                return

    async def case() -> None:
        async with held_by(on_call) as (server, hand):
            call = await server.calls.initiate("", CALLEE, "conversation")
            phone = await phone_of(call, hand)
            await until(lambda: played)
            with contextlib.suppress(CallHasEnded):
                await phone.play(tone(1000, 900))
            record = await call.ended()
            assert record.end_reason == "hangup-bot"
            (playback,) = played
            assert not playback.interrupted
            assert 590 <= playback.heard_ms == playback.total_ms <= 620
            assert pitch(loud(phone.heard_pcm)) == pytest.approx(440, abs=5)
            assert 4500 < len(loud(phone.heard_pcm)) // 2 < 5100
            assert pitch(loud(heard), 16_000) == pytest.approx(1000, abs=5)
            # Nothing of ours spoke, and nothing recognised.
            assert record.transcript == []

    run(case())


def test_telephone_audio_passes_through_unchanged() -> None:
    sound = to_pcm16(from_pcm16(tone(700, 400), "ulaw"), "ulaw")
    heard = bytearray()

    async def on_call(call: Call) -> None:
        audio = call.audio(RATE)
        await call.play(sound, RATE)
        async for chunk in audio:
            heard.extend(chunk)
            if sound in heard:
                return

    async def case() -> None:
        async with held_by(on_call) as (server, hand):
            call = await server.calls.initiate("", CALLEE, "conversation")
            phone = await phone_of(call, hand)
            await until(lambda: sound in phone.heard_pcm)
            with contextlib.suppress(CallHasEnded):
                await phone.play(sound)
            assert (await call.ended()).end_reason == "hangup-bot"

    run(case())


def test_a_stream_is_taken_as_fast_as_it_is_played_and_can_be_cleared() -> None:
    taken = 0

    async def sound() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield tone(500, 100)

    async def case() -> None:
        async with serving() as served:
            call = await served.server.calls.initiate("", CALLEE, "conversation")
            phone = await phone_of(call, served.hand)
            playing = asyncio.create_task(call.play(sound(), RATE))
            waiting = asyncio.create_task(call.play(tone(300, 500), RATE))
            await phone.wait_talking(500)
            call.clear()
            playback = await playing
            assert playback.interrupted
            assert (await waiting).heard_ms == 0
            # What was taken but not heard is bounded.
            assert taken * 100 - playback.heard_ms < 12_000
            assert phone.stats.playout.clears >= 1
            after = await call.play(tone(600, 200), RATE)
            assert not after.interrupted

    run(case())


def test_what_is_played_when_the_caller_hangs_up_is_cut() -> None:
    async def case() -> None:
        async with serving() as served:
            call = await served.server.calls.initiate("", CALLEE, "conversation")
            phone = await phone_of(call, served.hand)
            playing = asyncio.create_task(call.play(tone(500, 8000), RATE))
            waiting = asyncio.create_task(call.play(tone(500, 100), RATE))
            await phone.wait_talking(200)
            served.hand.hung_up.set()
            playback = await playing
            assert playback.interrupted
            assert 0 < playback.heard_ms < 8000
            assert (await waiting).heard_ms == 0
            await call.ended()
            with pytest.raises(CallHasEnded):
                await call.play(tone(500, 100), RATE)

    run(case())


def test_a_source_that_fails_ends_the_playing_and_not_the_call() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield tone(500, 100)
        raise LookupError("no more")

    async def case() -> None:
        async with serving() as served:
            call = await served.server.calls.initiate("", CALLEE, "conversation")
            await phone_of(call, served.hand)
            with pytest.raises(LookupError, match="no more"):
                await call.play(broken(), RATE)
            assert not (await call.play(tone(500, 100), RATE)).interrupted

    run(case())


def test_recognition_and_a_program_hear_the_same_caller() -> None:
    async def case() -> None:
        async with serving(stt={"scripted": {"transcripts": ["It is me."]}}) as served:
            call = await served.server.calls.initiate("", CALLEE, "conversation")
            audio = call.audio(RATE)
            asking = asyncio.create_task(call.ask("Who is it?"))
            phone = await phone_of(call, served.hand)
            await until(lambda: call.record.state == "listening" and call.record.transcript)
            await phone.play(tone(1000, 600))
            assert await asking == "It is me."
            await call.end()
            heard = b"".join([chunk async for chunk in audio])
            assert pitch(loud(heard)) == pytest.approx(1000, abs=5)

    run(case())


def test_what_is_not_read_in_time_is_dropped_and_counted() -> None:
    async def case() -> None:
        async with serving() as served:
            call = await served.server.calls.initiate("", CALLEE, "conversation")
            await phone_of(call, served.hand)
            audio = call.audio(RATE)
            for _ in range(300):
                audio.offer(bytes(320))
            assert audio.dropped >= 50
            await call.end()
            await call.ended()
            chunks = [chunk async for chunk in audio]
            assert len(chunks) <= 250

    run(case())


@pytest.mark.parametrize("rate", [0, 7999, 48_001])
def test_a_rate_that_nobody_uses_is_refused(rate: int) -> None:
    async def case() -> None:
        async with serving() as served:
            call = await served.server.calls.initiate("", CALLEE, "conversation")
            with pytest.raises(InvalidRequest, match=str(rate)):
                call.audio(rate)
            with pytest.raises(InvalidRequest, match=str(rate)):
                await call.play(b"", rate)

    run(case())


def test_without_streamed_media_there_is_no_raw_audio() -> None:
    async def case() -> None:
        realtime = {"enabled": True, "provider": "local"}
        async with serving(realtime=realtime) as served:
            call = await served.server.calls.initiate("", CALLEE, "conversation")
            with pytest.raises(NotConnected, match=r"streaming\.enabled"):
                call.audio()

    run(case())


# --- a program that holds the calls --------------------------------------------------------------


def test_a_program_that_returns_hangs_up_after_its_last_word_and_greets_nobody() -> None:
    async def on_call(call: Call) -> None:
        await call.say("We are closed.")

    async def case() -> None:
        greeting = {"inboundGreeting": "Hello and welcome.", "inboundPolicy": "open"}
        async with held_by(on_call, **greeting) as (server, _):
            call = await server.calls.initiate("A message.", CALLEE, "conversation")
            record = await call.ended()
            assert record.end_reason == "hangup-bot"
            assert texts(record.to_json()) == [("bot", "A message."), ("bot", "We are closed.")]

    run(case())


def test_a_program_asks_questions_and_nothing_else_is_replied() -> None:
    answers = []

    async def on_call(call: Call) -> None:
        answers.append(await call.ask("How many?"))
        answers.append(await call.ask("When?"))

    async def case() -> None:
        stt = {"scripted": {"transcripts": ["Two.", "At eight."]}}
        async with held_by(on_call, stt=stt) as (server, hand):
            call = await server.calls.initiate("", CALLEE, "conversation")
            phone = await phone_of(call, hand)
            for said in (1, 3):
                await until(partial(asked, call, said))
                await phone.say("Well, this is the answer.")
            record = await call.ended()
            assert answers == ["Two.", "At eight."]
            assert [entry.text for entry in record.transcript] == [
                "How many?",
                "Two.",
                "When?",
                "At eight.",
            ]

    run(case())


def asked(call: Call, said: int) -> bool:
    return len(call.record.transcript) == said and call.record.state == "listening"


def test_notifications_are_not_the_programs() -> None:
    held = []

    async def on_call(call: Call) -> None:
        held.append(call.id)

    async def case() -> None:
        async with held_by(on_call) as (server, _):
            call = await server.calls.initiate("Good news.", CALLEE, "notify")
            assert texts((await call.ended()).to_json()) == [("bot", "Good news.")]
            assert held == []

    run(case())


def test_a_program_that_fails_ends_its_call_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def on_call(call: Call) -> None:
        raise LookupError("no such guest")

    async def case() -> None:
        async with held_by(on_call) as (server, _):
            call = await server.calls.initiate("", CALLEE, "conversation")
            assert (await call.ended()).end_reason == "error"

    with caplog.at_level(logging.ERROR, "voicecall.calls"):
        run(case())
    assert "no such guest" in caplog.text


def test_a_caller_who_hangs_up_ends_what_the_program_waits_for() -> None:
    put_away = []

    async def on_call(call: Call) -> None:
        try:
            async for _ in call.audio():
                pass
            await call.say("Still there?")
        finally:
            put_away.append(call.record.end_reason)

    async def case() -> None:
        async with held_by(on_call) as (server, hand):
            call = await server.calls.initiate("", CALLEE, "conversation")
            await phone_of(call, hand)
            hand.hung_up.set()
            await until(lambda: put_away)
            assert put_away == ["hangup-user"]

    run(case())


def test_a_program_that_does_not_end_with_its_call_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voicecall.calls.WIND_UP_S", 0.05)
    cancelled = asyncio.Event()

    async def on_call(call: Call) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def case() -> None:
        async with held_by(on_call) as (server, hand):
            call = await server.calls.initiate("", CALLEE, "conversation")
            await phone_of(call, hand)
            await call.end()
            await cancelled.wait()

    run(case())


def test_a_voice_that_does_not_work_is_told_to_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ScriptedTextToSpeech, "synthesize", _silent)
    failures = []

    async def on_call(call: Call) -> None:
        try:
            await call.say("Hello.")
        except SpeechError as error:
            failures.append(error)

    async def case() -> None:
        async with held_by(on_call) as (server, _):
            call = await server.calls.initiate("", CALLEE, "conversation")
            await call.ended()
            assert len(failures) == 1

    run(case())


def test_a_call_whose_message_cannot_be_said_is_the_programs_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ScriptedTextToSpeech, "synthesize", _silent)

    async def on_call(call: Call) -> None:
        await call.play(tone(440, 300), RATE)

    async def case() -> None:
        async with held_by(on_call) as (server, hand):
            call = await server.calls.initiate("Good day.", CALLEE, "conversation")
            assert (await call.ended()).end_reason == "hangup-bot"
            assert pitch(loud(hand.phone.heard_pcm)) == pytest.approx(440, abs=5)

    run(case())


def test_a_program_without_words_needs_no_voice_and_one_with_words_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # As if the package were not there.
    monkeypatch.setitem(sys.modules, "hibari", None)
    missing = []

    async def on_call(call: Call) -> None:
        assert not (await call.play(tone(440, 200), RATE)).interrupted
        try:
            await call.say("Hello.")
        except SpeechError as error:
            missing.append(error)

    async def case() -> None:
        async with held_by(on_call, tts={"provider": "local"}) as (server, _):
            call = await server.calls.initiate("", CALLEE, "conversation")
            assert (await call.ended()).end_reason == "hangup-bot"
            assert len(missing) == 1

    run(case())
    # Who reads the log knows what to do.
    assert "voicecall[local]" in caplog.text


def test_a_notification_without_a_voice_ends_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hibari", None)

    async def on_call(call: Call) -> None:
        await call.end()

    async def case() -> None:
        async with held_by(on_call, tts={"provider": "local"}) as (server, _):
            call = await server.calls.initiate("Good news.", CALLEE, "notify")
            assert (await call.ended()).end_reason == "error"

    run(case())


async def _silent(voice: ScriptedTextToSpeech, text: str) -> AsyncIterator[bytes]:
    del voice, text
    yield b""
    raise SpeechError("no voice today")


@pytest.mark.parametrize(
    "sections",
    [
        {"realtime": {"enabled": True}},
        {"numbers": {"+15550001000": {"realtime": {"enabled": True}}}},
    ],
)
def test_a_model_that_holds_the_call_and_a_program_that_does_exclude_each_other(
    sections: dict[str, Any],
) -> None:
    async def on_call(call: Call) -> None:
        await call.end()

    config = Config.model_validate(settings(openai={"apiKey": TOKEN}, **sections))
    with pytest.raises(ServeError, match="on_call"):
        Server(config, on_call=on_call)
