from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.media.plane import LISTENERS, Call, Plane, dial, plane, run, until
from tests.media.wire import OCTETS_PER_S, Phone, media, said, start
from voicecall.audio import DtmfDetector, to_pcm16
from voicecall.media import path, server
from voicecall.media.tones import key_tones

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection

    from voicecall.media.path import CallPath

pytestmark = [pytest.mark.socket, pytest.mark.parametrize("listener", LISTENERS)]

FRAME_OCTETS = 160


def sound(milliseconds: int, seed: int = 0) -> bytes:
    """Audio in which every place looks different from its neighbours."""
    return bytes((seed + 7 * i) % 251 for i in range(milliseconds * OCTETS_PER_S // 1000))


@asynccontextmanager
async def connected(
    listener: str, phone: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[Plane, Call, ClientConnection, Phone]]:
    """A call whose media flows; it is over afterwards."""
    async with plane(listener, **settings) as tested:
        call, url = tested.call()
        async with dial(url) as connection, Phone(connection, **(phone or {})) as listening:
            await connection.send(start())
            await call.opened.wait()
            yield tested, call, connection, listening
            call.path.close()


def test_the_callers_audio_is_heard_in_order_and_a_hole_is_filled(listener: str) -> None:
    async def case() -> None:
        async with connected(listener, jitter_ms=40) as (tested, call, connection, _):
            (leg,) = tested.server.legs()
            frames = [sound(20, seed) for seed in range(8)]
            for chunk in (1, 2, 4, 3, 3, 6, 7, 8):
                await connection.send(media(chunk, frames[chunk - 1]))
            await until(lambda: len(call.heard) == 8 * 2 * FRAME_OCTETS)
            pcm = [to_pcm16(frame, "ulaw") for frame in frames]
            heard = bytes(call.heard)
            assert heard.startswith(b"".join(pcm[:4]))
            assert heard.endswith(b"".join(pcm[5:]))
            assert leg.stream.concealed == 1
            await connection.send(media(5, frames[4]))
            await until(lambda: leg.stream.jitter.late == 1)
            counted = leg.stream.jitter
            assert (counted.reordered, counted.duplicates, counted.lost) == (4, 1, 1)
            assert len(call.heard) == 8 * 2 * FRAME_OCTETS

    run(case())


def test_audio_reaches_the_phone_unchanged_and_the_tail_is_padded(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (_, call, _, phone):
            spoken = sound(250) + b"\x01"
            utterance = call.path.utterance()
            await utterance.write(spoken)
            utterance.finish()
            played = await utterance.played()
            assert (played.heard_ms, played.total_ms, played.interrupted) == (250, 250, False)
            assert bytes(phone.audio) == spoken.ljust(260 * 8, b"\xff")
            assert phone.events[-1] == "mark"

    run(case())


def test_utterances_follow_each_other_and_each_ends_when_it_has_been_played(
    listener: str,
) -> None:
    async def case() -> None:
        async with connected(listener) as (_, call, _, phone):
            began = time.monotonic()
            first, second = sound(100), sound(140, seed=3)
            one = call.path.utterance()
            await one.write(first)
            two = call.path.utterance()  # finishes the one before
            await two.write(second)
            two.finish()
            assert (await one.played()).interrupted is False
            assert time.monotonic() - began == pytest.approx(0.10, abs=0.05)
            assert (await two.played()).heard_ms == 140
            assert time.monotonic() - began == pytest.approx(0.24, abs=0.05)
            assert bytes(phone.audio) == first + second

    run(case())


def test_keys_of_our_own_sound_on_the_line_and_the_stream_goes_on(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (_, call, connection, phone):
            utterance = call.path.utterance()
            for tone in key_tones("1w5#", call.path.audio):
                await utterance.write(tone)
            utterance.finish()
            assert (await utterance.played()).heard_ms == 1100
            assert DtmfDetector().feed(to_pcm16(bytes(phone.audio), "ulaw")) == "15#"
            await connection.send(media(1, sound(20)))
            await until(lambda: len(call.heard) == 2 * FRAME_OCTETS)
            assert call.lost == []

    run(case())


def test_an_empty_utterance_is_over_at_once(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (_, call, _, phone):
            utterance = call.path.utterance()
            await utterance.write(b"")
            utterance.finish()
            assert (await utterance.played()).total_ms == 0
            assert phone.events == []

    run(case())


def test_what_was_heard_agrees_with_the_phones_loudspeaker(listener: str) -> None:
    async def case() -> None:
        spoken = sound(3000)
        async with connected(listener) as (_, call, _, phone):
            utterance = call.path.utterance()
            await utterance.write(spoken)
            utterance.finish()
            for _ in range(14):
                await asyncio.sleep(0.1)
                truth_ms = phone.played_octets() * 1000 / OCTETS_PER_S
                assert utterance.heard_ms() == pytest.approx(truth_ms, abs=25)

    run(case())


def test_clear_empties_both_queues_at_once_and_fails_no_waiter(listener: str) -> None:
    async def case() -> None:
        long, longer = sound(2000), sound(60_000)
        async with connected(listener) as (_, call, _, phone):
            utterance = call.path.utterance()
            await utterance.write(long)
            waiting = asyncio.create_task(utterance.played())
            writing = asyncio.create_task(utterance.write(longer))
            await until(lambda: phone.played_octets() > 0.2 * OCTETS_PER_S)
            call.path.clear()
            sent = len(phone.audio)
            truth_ms = phone.played_octets() * 1000 / OCTETS_PER_S
            await writing
            played = await waiting
            assert played.interrupted
            assert played.heard_ms == pytest.approx(truth_ms, abs=25)
            await until(lambda: "clear" in phone.events)
            assert len(phone.audio) - sent <= FRAME_OCTETS * 8
            after = call.path.utterance()
            await after.write(sound(60))
            after.finish()
            assert (await after.played()).heard_ms == 60
            assert phone.events[phone.events.index("clear") :].count("media") == 1

    run(case())


def test_a_carrier_that_echoes_no_marks_is_believed_after_a_grace(
    listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicecall.media.playout.ECHO_GRACE_S", 0.1)

    async def case() -> None:
        async with connected(listener, {"echoes": False}) as (_, call, _, _):
            for _ in range(2):
                began = time.monotonic()
                utterance = call.path.utterance()
                await utterance.write(sound(100))
                utterance.finish()
                assert (await utterance.played()).heard_ms == 100
                assert time.monotonic() - began < 0.4

    run(case())


def test_writing_waits_for_room_in_the_queue(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (_, call, _, phone):
            utterance = call.path.utterance()
            writing = asyncio.create_task(utterance.write(sound(11_000)))
            await until(lambda: len(phone.audio) > 0)
            await asyncio.sleep(0.05)
            assert not writing.done()
            call.path.clear()
            await writing
            assert utterance.heard_ms() < 1000

    run(case())


def test_digits_stop_and_unknown_events_are_taken_as_they_are(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (tested, call, connection, _):
            (leg,) = tested.server.legs()
            for digit in "12#":
                await connection.send(said("dtmf", dtmf={"track": "inbound_track", "digit": digit}))
            await connection.send(said("something-new"))
            await connection.send(said("stop", stop={"callSid": "CA1"}))
            await until(lambda: leg.close_reason == "stopped by the carrier")
            assert "".join(call.digits) == "12#"
            assert leg.stream.faults == 0

    run(case())


def test_a_second_start_on_the_same_socket_is_a_fault(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (tested, call, connection, _):
            (leg,) = tested.server.legs()
            await connection.send(start())
            await until(lambda: leg.stream.faults == 1)
            assert call.opened_times == 1

    run(case())


def test_a_message_in_fragments_is_one_message(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (tested, call, connection, _):
            (leg,) = tested.server.legs()
            before = leg.stream.messages
            message = said("dtmf", dtmf={"digit": "7"})
            await connection.send([message[:9], message[9:20], message[20:]])
            await connection.send(iter([message]))
            await until(lambda: call.digits == ["7", "7"])
            assert leg.stream.messages == before + 2
            await connection.send([message] * 2000)
            await until(lambda: leg.stream.faults == 1)
            await connection.send(message)
            await until(lambda: len(call.digits) == 3)

    run(case())


def test_a_ping_is_answered(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (_, _, connection, _):
            assert await (await connection.ping(b"are you there")) < 1.0

    run(case())


@pytest.mark.parametrize("rudely", [False, True])
def test_a_phone_that_does_not_come_back_is_lost_once(
    listener: str, monkeypatch: pytest.MonkeyPatch, rudely: bool
) -> None:
    monkeypatch.setattr(path, "RECONNECT_GRACE_S", 0.05)

    async def case() -> None:
        async with connected(listener) as (tested, call, connection, _):
            if rudely:
                _reset(connection)
            else:
                await connection.close()
            await call.gone.wait()
            assert call.lost == ["socket dropped"]
            assert tested.server.admission.open == 0

    run(case())


def _reset(connection: ClientConnection) -> None:
    raw = connection.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def test_a_call_that_ends_first_is_not_lost(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "RECONNECT_GRACE_S", 0.02)

    async def case() -> None:
        async with connected(listener) as (tested, call, connection, _):
            utterance = call.path.utterance()
            await utterance.write(sound(1000))
            await connection.close()
            await until(lambda: tested.server.admission.open == 0)
            call.path.close()
            assert (await utterance.played()).interrupted
            late = call.path.utterance()
            await late.write(sound(20))
            assert (await late.played()).heard_ms == 0
            await asyncio.sleep(0.04)
            assert call.lost == []

    run(case())


def test_a_new_socket_goes_on_with_what_the_old_one_had_not_sent(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (tested, call, connection, phone):
            url = f"{tested.url}/{_token(tested)}"
            spoken = sound(1000)
            utterance = call.path.utterance()
            await utterance.write(spoken)
            utterance.finish()
            await until(lambda: len(phone.audio) >= 2400)
            await connection.close()
            await until(lambda: tested.server.admission.open == 0)
            async with dial(url) as again, Phone(again) as next_phone:
                await again.send(start(stream_sid="MZ2"))
                played = await utterance.played()
                assert played.interrupted is False
                assert bytes(phone.audio + next_phone.audio) == spoken
                await again.send(media(1, sound(20)))
                await until(lambda: len(call.heard) == 2 * FRAME_OCTETS)
            assert call.lost == []
            assert call.opened_times == 1

    run(case())


def test_the_newest_socket_of_a_call_wins_and_the_older_is_retired_silently(
    listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path, "RECONNECT_GRACE_S", 0.02)

    async def case() -> None:
        async with connected(listener) as (tested, call, old, old_phone):
            spoken = sound(800)
            utterance = call.path.utterance()
            await utterance.write(spoken)
            utterance.finish()
            await until(lambda: len(old_phone.audio) >= 1600)
            url = f"{tested.url}/{_token(tested)}"
            async with dial(url) as new, Phone(new) as new_phone:
                await new.send(start(stream_sid="MZ2"))
                await old.wait_closed()
                assert old.close_reason == "Replaced by a newer socket"
                assert (await utterance.played()).heard_ms == 800
                assert bytes(old_phone.audio + new_phone.audio) == spoken
                await asyncio.sleep(0.04)
                assert tested.server.admission.open == 1
            assert call.lost == []

    run(case())


def test_a_retired_socket_that_stays_says_and_hears_nothing_more(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (tested, call, connection, _):
            url = f"{tested.url}/{_token(tested)}"
            (old,) = tested.server.legs()
            connection.transport.pause_reading()  # it does not answer the close
            async with dial(url) as new:
                await new.send(start(stream_sid="MZ2"))
                await until(lambda: _path(tested).leg is not old)
                before = old.stream.octets_out
                old.stream.receive(media(1, sound(20)).encode(), time.monotonic_ns())
                old.stream.receive(said("dtmf", dtmf={"digit": "1"}).encode(), 0)
                utterance = call.path.utterance()
                await utterance.write(sound(200))
                await asyncio.sleep(0.05)
                assert not call.heard
                assert not call.digits
                assert old.stream.octets_out == before
            connection.transport.resume_reading()

    run(case())


def _path(tested: Plane) -> CallPath:
    return tested.server._paths["call-1"]


def _token(tested: Plane) -> str:
    return tested.tokens.issue("call-1").rpartition("/")[2]


def test_a_socket_without_audio_is_given_up_only_after_the_silence(
    listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENCE_WATCH_S", 0.02)
    monkeypatch.setattr(server, "MEDIA_SILENCE_NS", 200_000_000)

    async def case() -> None:
        async with connected(listener) as (_, call, connection, _):
            for chunk in range(6):
                await asyncio.sleep(0.05)
                await connection.send(media(chunk + 1, sound(20)))
            assert call.lost == []
            began = time.monotonic()
            await call.gone.wait()
            assert time.monotonic() - began == pytest.approx(0.2, abs=0.1)
            assert call.lost == ["no audio received"]
            await connection.wait_closed()
            assert connection.close_reason == "No audio received"

    run(case())


def test_a_broken_listener_costs_its_own_call_only_the_audio(
    listener: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        async with connected(listener) as (_, call, connection, _):

            def broken(audio: bytes) -> None:
                raise RuntimeError(f"{len(audio)} octets")

            call.path.listen(broken)
            await connection.send(media(1, sound(20)))
            await connection.send(media(2, sound(20)))
            await connection.send(said("dtmf", dtmf={"digit": "1"}))
            await until(lambda: call.digits == ["1"])

    run(case())
    assert [record.message for record in caplog.records].count("audio handling failed") == 1


def test_three_seconds_play_without_a_gap_on_a_phone_that_buffers_60_ms(listener: str) -> None:
    async def case() -> None:
        async with connected(listener, {"buffer_s": 0.06}) as (_, call, _, phone):
            spoken = sound(3000)
            utterance = call.path.utterance()
            await utterance.write(spoken)
            utterance.finish()
            assert (await utterance.played()).heard_ms == 3000
            assert phone.underruns_s == []
            assert bytes(phone.audio) == spoken

    run(case())


def test_a_blocked_event_loop_is_caught_up_with_and_loses_nothing(listener: str) -> None:
    async def case() -> None:
        async with connected(listener) as (tested, call, _, phone):
            spoken = sound(900)
            utterance = call.path.utterance()
            await utterance.write(spoken)
            utterance.finish()
            await until(lambda: len(phone.audio) >= 2400)
            time.sleep(0.1)  # noqa: ASYNC251 - the stall is what is tested
            assert (await utterance.played()).heard_ms == 900
            assert bytes(phone.audio) == spoken
            assert _path(tested).playout.pacer.late <= 1

    run(case())
