"""The phone against a real WebSocket server on loopback."""

from __future__ import annotations

import asyncio
import base64
import wave
from http import HTTPStatus
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.simulator.mediaserver import MUTE, connected, media_server, tone, ulaw_tone
from voicecall.audio import from_pcm16, to_pcm16
from voicecall.clock import SystemClock
from voicecall.errors import CallHasEnded, CarrierError, NotConnected, SpeechError
from voicecall.simulator import (
    EchoPhone,
    Engines,
    Heard,
    Phone,
    check_audio,
    check_transcript,
    local_engines,
)
from voicecall.simulator.engines import speak_ulaw
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.plivo import PlivoWire
from voicecall.speech.stt.scripted import ScriptedSpeechToText
from voicecall.speech.tts.scripted import ScriptedTextToSpeech
from voicecall.speech.vad import Endpointing

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.socket


def test_speech_arrives_whole_and_in_order_with_silence_around_it() -> None:
    async def case() -> None:
        speech = tone(250)
        async with connected() as (phone, server):
            said = await phone.play(speech, "beep")
            before = len(server.of("media"))
            await server.wait_for("media", before + 5)
            line = b"".join(base64.b64decode(m["media"]["payload"]) for m in server.of("media"))
            expected = from_pcm16(speech, "ulaw") + b"\xff" * 80
            begin = line.find(expected)
            assert begin % 160 == 0
            assert set(line[:begin] + line[begin + len(expected) :]) == {0xFF}
            assert said.text == "beep"
            assert 240 <= (said.ended_ns - said.began_ns) / 1e6 < 1500

    asyncio.run(case())


def test_a_wait_fails_when_the_server_ends_the_call() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            speaking = asyncio.create_task(phone.play(tone(5000)))
            await server.wait_for("media", 5)
            await server.connections[0].close()
            with pytest.raises(CallHasEnded):
                await speaking

    asyncio.run(case())


def test_a_dropped_phone_reconnects_as_another_stream_of_the_same_call() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            first = phone.stream_sid
            await phone.drop()
            await server.ended.wait()
            assert server.of("stop") == []
            assert phone.closed.result().code == 1006
            await phone.reconnect()
            await server.wait_for("start", 2)
            again = server.of("start")[1]
            assert again["streamSid"] == phone.stream_sid != first
            assert again["sequenceNumber"] == "1"
            assert again["start"]["callSid"] == "CA1"
            await phone.press("1")
            await server.wait_for("dtmf")

    asyncio.run(case())


def test_a_phone_reconnects_to_another_place_with_another_wire_and_headers() -> None:
    async def case() -> None:
        async with connected() as (phone, server), media_server() as other:
            wire = PlivoWire(StreamIdentity("call", "MA1", "stream"))
            await phone.reconnect(other.url, wire=wire, headers={"X-Signature": "s1"})
            await other.wait_for("media")
            assert server.of("stop") != []
            assert other.received[0]["start"]["streamId"] == phone.stream_sid == "stream"
            await phone.reconnect()
            await other.wait_for("start", 2)
            signatures = [
                connection.request.headers["X-Signature"]
                for connection in other.connections
                if connection.request is not None
            ]
            assert signatures == ["s1", "s1"]
            again = other.of("start")[1]
            assert again["start"]["callId"] == "call"
            assert again["start"]["streamId"] == phone.stream_sid != "stream"

    asyncio.run(case())


def test_a_phone_needs_a_wire_or_a_call() -> None:
    with pytest.raises(ValueError, match="call_sid"):
        Phone("ws://127.0.0.1:1/", engines=MUTE)


def test_a_phone_goes_over_to_a_second_stream_beside_the_first() -> None:
    async def case() -> None:
        speech = tone(250)
        async with connected() as (phone, server):
            first, closed = phone.stream_sid, phone.closed
            await phone.replace()
            assert phone.stream_sid != first
            await phone.play(speech)
            await server.wait_for("media", phone.stats.frames_sent)
            line = b"".join(
                base64.b64decode(message["media"]["payload"])
                for message in server.of("media")
                if message["streamSid"] == phone.stream_sid
            )
            assert from_pcm16(speech, "ulaw") in line
            assert not closed.done()
            await server.connections[0].close(1000)
            assert (await closed).by_server
            assert not phone.closed.done()
            await phone.press("1")
            await phone.replace()
            await server.wait_for("start", 3)
        assert all(connection.close_code == 1000 for connection in server.connections)

    asyncio.run(case())


def test_a_phone_stays_on_its_stream_when_a_second_one_is_refused() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            first = phone.stream_sid
            server.refuse_with = HTTPStatus.SERVICE_UNAVAILABLE
            with pytest.raises(CarrierError):
                await phone.replace()
            await phone.press("1")
            await server.wait_for("dtmf")
            assert phone.stream_sid == first

    asyncio.run(case())


def test_a_phone_that_was_never_connected_says_so() -> None:
    async def case() -> None:
        phone = Phone("ws://127.0.0.1:1/", call_sid="CA1", engines=MUTE)
        with pytest.raises(NotConnected):
            await phone.press("1")
        await phone.close()

    asyncio.run(case())


def test_the_phone_knows_when_the_other_side_talks_and_is_silent() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            with pytest.raises(TimeoutError):
                await phone.wait_talking(100, timeout_ms=60)
            await server.send_media(ulaw_tone(400))
            await phone.wait_talking(200, timeout_ms=2000)
            with pytest.raises(TimeoutError):
                await phone.wait_quiet(100, timeout_ms=40)
            await phone.wait_quiet(100, timeout_ms=2000)
            await phone.wait_answer(100, timeout_ms=2000)
            await phone.press("1")
            with pytest.raises(TimeoutError):
                await phone.wait_answer(0, timeout_ms=60)

    asyncio.run(case())


def test_the_phone_speaks_with_its_voice_and_hears_with_its_ears() -> None:
    async def case() -> None:
        clock = SystemClock()
        ears = ScriptedSpeechToText(
            ["good morning"], clock=clock, rules=Endpointing(silence_ms=100)
        )
        understood: asyncio.Queue[Heard] = asyncio.Queue(8)
        async with connected(Engines(ScriptedTextToSpeech(), ears)) as (phone, server):
            phone.on_heard = understood.put_nowait
            await server.send_media(ulaw_tone(400))
            async with asyncio.timeout(3):
                heard = await understood.get()
            assert heard.text == "good morning"
            assert list(phone.heard) == [heard]
            assert heard.began_ns < heard.at_ns
            said = await phone.say("hi")
            assert said.text == "hi"
            line = b"".join(base64.b64decode(m["media"]["payload"]) for m in server.of("media"))
            assert len(line.strip(b"\xff")) > 800

    asyncio.run(case())


def test_a_phone_without_a_voice_refuses_to_speak() -> None:
    async def case() -> None:
        async with connected() as (phone, _):
            with pytest.raises(SpeechError):
                await phone.say("hello")

    asyncio.run(case())


def test_both_sides_are_recorded_on_one_timeline(tmp_path: Path) -> None:
    async def case(path: Path) -> None:
        async with connected(record=path) as (phone, server):
            await server.send_media(ulaw_tone(200))
            await phone.wait_talking(50, timeout_ms=2000)
            await phone.wait_quiet(100, timeout_ms=2000)
            await phone.play(tone(200, level=4000))
            await phone.wait_quiet(200, timeout_ms=2000)

    path = tmp_path / "call.wav"
    asyncio.run(case(path))
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        both = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
    caller, bot = (np.flatnonzero(np.abs(both[:, side]) > 8) for side in (0, 1))
    assert bot[-1] < caller[0]
    assert bot[-1] - bot[0] == pytest.approx(1600, abs=4)
    assert caller[-1] - caller[0] == pytest.approx(1600, abs=4)


def test_giving_up_the_wait_for_the_end_leaves_the_end_to_others() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            with pytest.raises(TimeoutError):
                await phone.wait_closed(timeout_ms=10)
            impatient = asyncio.ensure_future(phone.closed)
            impatient.cancel()
            await server.connections[0].close(1001, "bye")
            assert (await phone.wait_closed(2000)).code == 1001

    asyncio.run(case())


def test_an_echo_says_back_what_it_hears() -> None:
    async def case() -> None:
        async with media_server() as server:
            async with EchoPhone(server.url, call_sid="CA1", engines=MUTE) as phone:
                await server.wait_for("start")
                await server.send_media(ulaw_tone(300))
                await phone.wait_talking(1, timeout_ms=2000)
                await phone.wait_quiet(200, timeout_ms=2000)
            line = b"".join(base64.b64decode(m["media"]["payload"]) for m in server.of("media"))
            assert ulaw_tone(300) in line

    asyncio.run(case())


def test_a_phone_that_could_not_connect_may_try_again() -> None:
    async def case() -> None:
        ears = ScriptedSpeechToText(["hello"], clock=SystemClock())
        async with media_server(HTTPStatus.SERVICE_UNAVAILABLE) as server:
            phone = Phone(server.url, call_sid="CA1", engines=Engines(None, ears))
            with pytest.raises(CarrierError):
                await phone.connect()
            with pytest.raises(NotConnected):
                await phone.wait_quiet(1)
            server.refuse_with = None
            await phone.connect()
            await phone.wait_quiet(40, timeout_ms=2000)
            await phone.close()
            await phone.close()

    asyncio.run(case())


@pytest.mark.e2e
def test_the_local_voice_is_understood_by_the_local_ears_over_the_line(tmp_path: Path) -> None:
    said = ["We are open Monday to Friday, from eight until six.", "You pressed five."]

    async def case(path: Path) -> list[bytes]:
        engines = local_engines(SystemClock())
        assert engines.voice is not None
        sent: list[bytes] = []
        understood = asyncio.Queue[Heard](4)
        async with media_server() as server:
            phone = Phone(server.url, call_sid="CA1", engines=engines)
            phone.on_heard = understood.put_nowait
            phone.record(path)
            async with phone:
                await server.wait_for("start")
                for text in said:
                    speech = await speak_ulaw(engines.voice, text)
                    sent.append(to_pcm16(speech, "ulaw"))
                    await server.send_media(speech)
                    await server.send_mark("end")
                    async with asyncio.timeout(15):
                        await understood.get()
        check = check_transcript(said, [heard.text for heard in phone.heard])
        assert check.error_rate <= 0.15, check
        assert phone.stats.underruns == phone.stats.late == phone.stats.protocol_errors == 0
        await engines.close()
        return sent

    path = tmp_path / "call.wav"
    sent = asyncio.run(case(path))
    with wave.open(str(path)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
    for check in check_audio(sent, both[:, 1].tobytes()):
        assert check.complete
        assert (check.gaps, check.clicks) == ((), ())
