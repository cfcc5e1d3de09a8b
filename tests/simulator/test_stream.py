"""What goes over the wire, against a real WebSocket server on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.mediaserver import MUTE, connected, media_server, tone, ulaw_tone
from voicecall.clock import SystemClock
from voicecall.errors import CallHasEnded, CarrierError, CodecError
from voicecall.simulator import Phone
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.plivo import PlivoWire
from voicecall.simulator.wire.telnyx import TelnyxWire

if TYPE_CHECKING:
    from voicecall.simulator.stream import LineAudio

pytestmark = pytest.mark.socket

SILENT_FRAME = b"\xff" * 160


def test_the_first_messages_are_the_carriers_to_the_letter() -> None:
    async def case() -> None:
        options: dict[str, Any] = {
            "account_sid": "AC9",
            "stream_sid": "MZ7",
            "parameters": {"token": "t"},
        }
        async with connected(**options) as (_, server):
            await server.wait_for("media", 2)
            assert server.received[0] == {
                "event": "connected",
                "protocol": "Call",
                "version": "1.0.0",
            }
            assert server.received[1] == {
                "event": "start",
                "sequenceNumber": "1",
                "streamSid": "MZ7",
                "start": {
                    "accountSid": "AC9",
                    "callSid": "CA1",
                    "streamSid": "MZ7",
                    "tracks": ["inbound"],
                    "mediaFormat": {
                        "encoding": "audio/x-mulaw",
                        "sampleRate": 8000,
                        "channels": 1,
                    },
                    "customParameters": {"token": "t"},
                },
            }
            assert server.received[3] == {
                "event": "media",
                "sequenceNumber": "3",
                "streamSid": "MZ7",
                "media": {
                    "track": "inbound",
                    "chunk": "2",
                    "timestamp": "40",
                    "payload": base64.b64encode(SILENT_FRAME).decode(),
                },
            }

    asyncio.run(case())


def test_every_message_after_connected_is_numbered_without_a_hole() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            await server.send_mark("m")
            await phone.press("4#")
            await server.wait_for("mark")
            await phone.hang_up()
            await server.ended.wait()
            numbers = [int(message["sequenceNumber"]) for message in server.received[1:]]
            assert numbers == list(range(1, len(numbers) + 1))
            chunks = [int(message["media"]["chunk"]) for message in server.of("media")]
            assert chunks == list(range(1, len(chunks) + 1))

    asyncio.run(case())


def test_frames_keep_the_pace_of_the_clock_without_drift() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            await server.wait_for("media", 150)
            arrivals = [
                at_ns / 1e6
                for message, at_ns in zip(server.received, server.arrived_ns, strict=True)
                if message["event"] == "media"
            ]
            # The line through the first and the last frames, not through one that was held up.
            early = statistics.median(at - 20 * n for n, at in enumerate(arrivals[:25]))
            late = statistics.median(
                at - 20 * n for n, at in enumerate(arrivals[125:150], start=125)
            )
            assert abs(late - early) < 8
            assert phone.stats.frames_skipped == 0

    asyncio.run(case())


def test_a_mark_returns_when_the_audio_before_it_has_been_played() -> None:
    async def case() -> None:
        async with connected() as (_, server):
            await server.send_mark("before")
            await server.send_media(ulaw_tone(300))
            await server.send_mark("behind")
            await server.wait_for("mark", 2)
            played_ms = (
                server.arrival_of_mark_ns("behind") - server.arrival_of_mark_ns("before")
            ) / 1e6
            assert 295 <= played_ms < 400

    asyncio.run(case())


def test_a_clear_returns_waiting_marks_at_once_and_in_order() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            for name in ("a", "b"):
                await server.send_media(ulaw_tone(5000))
                await server.send_mark(name)
            await server.send_clear()
            await server.wait_for("mark", 2, timeout_s=1)
            assert [message["mark"]["name"] for message in server.of("mark")] == ["a", "b"]
            assert (phone.stats.clears, phone.stats.marks, phone.stats.marks_echoed) == (1, 2, 2)
            assert phone.stats.frames_received == 500

    asyncio.run(case())


def test_keys_travel_as_the_carriers_dtmf_messages() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            await phone.press("5")
            await server.wait_for("dtmf")
            assert server.of("dtmf")[0]["dtmf"] == {"track": "inbound_track", "digit": "5"}
            with pytest.raises(CodecError):
                await phone.press("x")

    asyncio.run(case())


def test_hanging_up_says_stop_and_closes_normally() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            closing = await phone.hang_up()
            await server.ended.wait()
            assert server.received[-1]["event"] == "stop"
            assert server.received[-1]["stop"] == {"accountSid": "AC" + "0" * 32, "callSid": "CA1"}
            assert server.connections[0].close_code == 1000
            assert (closing.code, closing.by_server) == (1000, False)
            with pytest.raises(CallHasEnded):
                await phone.press("1")
            assert (await phone.hang_up()) == closing

    asyncio.run(case())


def test_the_servers_close_code_and_reason_are_told() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            await server.connections[0].close(1013, "try later")
            closing = await phone.wait_closed(2000)
            assert (closing.code, closing.reason, closing.by_server) == (1013, "try later", True)

    asyncio.run(case())


def test_a_refused_handshake_tells_the_status() -> None:
    async def case() -> None:
        async with media_server(refuse_with=HTTPStatus.FORBIDDEN) as server:
            with pytest.raises(CarrierError) as caught:
                await Phone(server.url, call_sid="CA1", engines=MUTE).connect()
            assert (caught.value.status, caught.value.code) == (403, "carrier_refused")

    asyncio.run(case())


def test_a_server_that_is_not_there_is_unreachable() -> None:
    async def case() -> None:
        async with media_server() as server:
            pass
        with pytest.raises(CarrierError) as caught:
            await Phone(server.url, call_sid="CA1", engines=MUTE).connect()
        assert (caught.value.retryable, caught.value.code) == (True, "carrier_unreachable")

    asyncio.run(case())


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\x00\x01", 31950),
        ("not json", 31951),
        ('{"event":"media"}', 31951),
        ('{"event":"clear","streamSid":"MZother"}', 31951),
    ],
)
def test_what_the_carrier_would_complain_about_is_counted(message: str | bytes, code: int) -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            await server.send(message)
            await server.send_mark("after")
            await server.wait_for("mark")
            assert phone.stats.protocol_errors == 1
            assert phone.stats.violations[0].code == code
            assert phone.stats.marks == 1

    asyncio.run(case())


def test_a_break_in_the_servers_audio_is_an_underrun_and_late() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            await server.send_media(ulaw_tone(100))
            count = len(server.of("media"))
            await server.wait_for("media", count + 15)
            await server.send_media(ulaw_tone(100))
            await server.send_mark("end")
            await server.wait_for("mark")
            assert phone.stats.underruns == 1
            assert phone.stats.late == 1
            assert 100 < phone.stats.playout.gaps_ms[0] < 500

    asyncio.run(case())


def test_plivos_checkpoints_are_lost_by_a_clear_which_is_confirmed() -> None:
    async def case() -> None:
        wire = PlivoWire(StreamIdentity("call", "MA1", "stream"))
        async with connected(wire=wire) as (phone, server):
            payload = base64.b64encode(ulaw_tone(5000)).decode()
            media = {"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": payload}
            await server.send({"event": "playAudio", "media": media})
            await server.send({"event": "checkpoint", "streamId": "stream", "name": "lost"})
            await server.send({"event": "clearAudio", "streamId": "stream"})
            await server.send({"event": "checkpoint", "streamId": "stream", "name": "after"})
            await server.wait_for("playedStream")
            assert [message["name"] for message in server.of("playedStream")] == ["after"]
            events = [message["event"] for message in server.received]
            assert events.index("clearedAudio") < events.index("playedStream")
            stats = phone.stats
            assert (stats.marks, stats.marks_echoed, stats.playout.lost_marks) == (2, 1, 1)

    asyncio.run(case())


def test_a_complaint_of_the_carriers_goes_to_the_server() -> None:
    async def case() -> None:
        async with connected(wire=TelnyxWire(StreamIdentity("call", "user"))) as (phone, server):
            await server.send(b"\x00")
            await server.send('{"event":"media","media":{"payload":"f38="}}')
            await server.wait_for("error", 2)
            codes = [message["payload"]["code"] for message in server.of("error")]
            assert codes == [100003, 100004]
            assert [violation.code for violation in phone.stats.violations] == codes

    asyncio.run(case())


def test_a_violation_has_no_code_where_the_carrier_has_none() -> None:
    async def case() -> None:
        async with connected(wire=PlivoWire(StreamIdentity("call", "MA1"))) as (phone, server):
            await server.send("{}")
            await server.send('{"event":"sendDTMF","dtmf":"1"}')
            while not phone.keys_heard:
                await server.wait_for("media", len(server.of("media")) + 1)
            assert [violation.code for violation in phone.stats.violations] == [None]

    asyncio.run(case())


class JumpingClock(SystemClock):
    """The machine's clock, which a test may set forward as if the process had stood still."""

    jumped_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.jumped_ns


def test_frames_of_a_time_in_which_the_process_stood_still_are_skipped_and_counted() -> None:
    async def case() -> None:
        clock = JumpingClock()
        async with connected(clock=clock) as (phone, server):
            await server.wait_for("media", 3)
            clock.jumped_ns = 5_000_000_000
            await server.wait_for("media", 60)
            assert 195 <= phone.stats.frames_skipped <= 205
            stamps = [int(message["media"]["timestamp"]) for message in server.of("media")]
            assert max(after - before for before, after in pairwise(stamps)) >= 3900

    asyncio.run(case())


def test_frames_a_server_does_not_read_are_dropped_and_counted() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            assert phone._stream is not None
            phone._stream._listener.pause_writing()
            await phone.play(tone(100))
            phone._stream._listener.resume_writing()
            assert phone.stats.frames_dropped >= 5
            sent = phone.stats.frames_sent
            await server.wait_for("media", sent + 2)

    asyncio.run(case())


def test_a_listener_that_fails_ends_the_call_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class BrokenPhone(Phone):
        def on_line_audio(self, line: LineAudio) -> None:
            raise ValueError

    async def case() -> None:
        async with media_server() as server:
            phone = BrokenPhone(server.url, call_sid="CA1", engines=MUTE)
            await phone.connect()
            assert (await phone.wait_closed(2000)).code == 1006
            await phone.close()

    asyncio.run(case())
    assert "simulated phone failed" in [record.message for record in caplog.records]


def test_a_message_in_fragments_is_one_message() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            text = json.dumps(
                {"event": "mark", "streamSid": server.stream_sid, "mark": {"name": "whole"}}
            )
            await server.connections[0].send([text[:20], text[20:40], text[40:]])
            await server.wait_for("mark")
            assert phone.stats.protocol_errors == 0

    asyncio.run(case())


def test_a_close_code_of_the_servers_own_is_told() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            await server.connections[0].close(4000, "ours")
            assert (await phone.wait_closed(2000)).code == 4000

    asyncio.run(case())


def test_a_connection_that_breaks_is_told_as_the_servers_doing() -> None:
    async def case() -> None:
        async with connected() as (phone, server):
            server.connections[0].transport.abort()
            closing = await phone.wait_closed(2000)
            assert (closing.code, closing.by_server) == (1006, True)

    asyncio.run(case())
