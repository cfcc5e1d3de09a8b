"""The generator says what servers with known faults do wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.load.generate import GeneratorFailed, is_trusted, measure
from benchmarks.load.server import free_port
from tests.benchmarks.points import point
from tests.benchmarks.serving import FRAME_OCTETS, FRAME_S, FRAMES, WINDOW_S, load, put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.asyncio.server import ServerConnection

    from tests.benchmarks.serving import Behaviour

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
pytestmark = [pytest.mark.socket, needs_cc, pytest.mark.timed]

# Frames a faulty server sends before its fault: well within the window.
BEFORE = 40
LEAD = 5


def media(*frames: bytes) -> str:
    payload = base64.b64encode(b"".join(frames)).decode()
    return json.dumps({"event": "media", "streamSid": "MZ", "media": {"payload": payload}})


async def listen(connection: ServerConnection) -> None:
    """Take everything and say nothing."""
    async for _ in connection:
        pass


async def play(connection: ServerConnection, frames: Sequence[bytes], pause_s: float = 0) -> None:
    """Send frames, LEAD of them ahead of time, as they are due; pause before frame BEFORE."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for number, frame in enumerate(frames):
        if number == BEFORE:
            start_s += pause_s
        delay_s = start_s + (number - LEAD) * FRAME_S - loop.time()
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        await connection.send(media(frame))


def playing(frames: Sequence[bytes], pause_s: float = 0) -> Behaviour:
    async def behave(connection: ServerConnection) -> None:
        listening = asyncio.ensure_future(listen(connection))
        try:
            await play(connection, frames, pause_s)
            await listening
        finally:
            listening.cancel()

    return behave


def test_audio_that_is_on_time_and_whole_has_no_fault() -> None:
    heard = put(playing(FRAMES))["regular"]
    assert (heard["onTime"], heard["late"], heard["gaps"], heard["lateStreams"]) == (1.0, 0, 0, 0)
    assert (heard["missing"], heard["repeated"], heard["unknown"]) == (0, 0, 0)
    assert heard["frames"] == pytest.approx(2 * WINDOW_S / FRAME_S, abs=20)
    assert abs(heard["rateErrorPpm"]["mean"]) < 60000
    # 60 ms of the player and 100 ms of lead, less what a busy machine takes.
    assert -165 < heard["latenessMs"]["p50"] < -60


def test_several_frames_in_a_message_are_told_apart() -> None:
    async def grouped(connection: ServerConnection) -> None:
        for at in range(0, 300, 3):
            await connection.send(media(*FRAMES[at : at + 3]))
            await asyncio.sleep(3 * FRAME_S)

    heard = put(grouped)["regular"]
    assert heard["frames"] == 3 * heard["messages"] > 0
    assert (heard["missing"], heard["repeated"], heard["unknown"]) == (0, 0, 0)


def test_skipped_frames_are_missing() -> None:
    heard = put(playing([*FRAMES[:BEFORE], *FRAMES[BEFORE + 3 :]]))["regular"]
    assert (heard["missing"], heard["repeated"]) == (2 * 3, 0)


def test_a_frame_that_comes_twice_is_repeated() -> None:
    heard = put(playing([*FRAMES[:BEFORE], *FRAMES[BEFORE - 2 :]]))["regular"]
    assert (heard["missing"], heard["repeated"]) == (0, 2 * 2)


def test_audio_of_another_sound_is_unknown() -> None:
    heard = put(playing([bytes(FRAME_OCTETS)] * 200))["regular"]
    assert heard["unknown"] == heard["frames"] > 0


def test_a_server_that_pauses_longer_than_the_buffers_is_late_for_good() -> None:
    heard = put(playing(FRAMES, pause_s=0.4))["regular"]
    assert (heard["lateStreams"], heard["gaps"]) == (2, 2)
    assert heard["onTime"] < 0.9
    assert heard["longestGapMs"] >= 200
    assert heard["latenessMs"]["worst"] > 150


def test_a_silent_server_is_never_on_time() -> None:
    heard = put(listen)["regular"]
    assert (heard["onTime"], heard["frames"]) == (0.0, 0)
    assert heard["overdue"] == heard["late"] == pytest.approx(2 * WINDOW_S / FRAME_S, abs=4)


def test_audio_that_stops_is_overdue() -> None:
    heard = put(playing(FRAMES[:BEFORE]))["regular"]
    assert heard["overdue"] > 2 * 10
    assert heard["lateStreams"] == 2


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def test_an_echo_is_measured_from_sending_to_hearing() -> None:
    result = put(echo, sound="echo")
    heard = result["regular"]
    assert 0 < heard["roundTripMs"]["p50"] < 50
    assert (heard["missing"], heard["repeated"], heard["unknown"]) == (0, 0, 0)
    assert heard["frames"] == pytest.approx(result["sent"]["messages"], abs=10)


def test_an_echo_that_loses_a_frame_has_one_missing() -> None:
    async def lossy(connection: ServerConnection) -> None:
        async for message in connection:
            if json.loads(message).get("media", {}).get("chunk") != str(BEFORE):
                await connection.send(message)

    assert put(lossy, sound="echo")["regular"]["missing"] == 2


def test_refused_upgrades_are_counted() -> None:
    result = put(listen, refuse=True)
    assert (result["connections"]["status"], result["connections"]["open"]) == (2, 0)
    assert result["regular"]["onTime"] == 0


def test_a_port_that_nobody_listens_on_is_counted() -> None:
    result = measure(load(), free_port())
    assert (result["connections"]["connect"], result["connections"]["open"]) == (2, 0)


def test_sockets_that_the_server_closes_are_counted_and_their_audio_is_overdue() -> None:
    async def leaving(connection: ServerConnection) -> None:
        await play(connection, FRAMES[:BEFORE])

    result = put(leaving)
    assert (result["connections"]["closed"], result["connections"]["open"]) == (2, 0)
    assert result["regular"]["overdue"] > 0


def test_binary_messages_break_the_dialect() -> None:
    async def binary(connection: ServerConnection) -> None:
        await connection.send(b"\0")
        await listen(connection)

    assert put(binary)["connections"]["protocol"] == 2


def test_arrivals_come_within_their_time_and_are_told_apart() -> None:
    result = put(playing(FRAMES), arrivals=4, burst_s=0.3)
    assert (result["regular"]["streams"], result["arrivals"]["streams"]) == (2, 4)
    assert result["connections"]["open"] == 6
    assert 0 < result["arrivals"]["frames"] < 4 * WINDOW_S / FRAME_S + 4 * LEAD
    assert result["regular"]["onTime"] == 1.0


def test_a_helper_serves_its_share_and_its_counts_are_added() -> None:
    alone = put(playing(FRAMES), streams=5)
    helped = put(playing(FRAMES), streams=5, helped=0.4)
    assert (alone["generator"]["helped"], helped["generator"]["helped"]) == (0, 2)
    assert helped["generator"]["helperCpu"] > 0
    for result in (alone, helped):
        assert result["regular"]["streams"] == result["connections"]["open"] == 5
        assert result["regular"]["onTime"] == 1.0
        assert result["regular"]["frames"] == pytest.approx(5 * WINDOW_S / FRAME_S, rel=0.2)
        assert result["sent"]["share"] == pytest.approx(1.0, abs=0.05)


def test_a_generator_that_was_late_itself_is_not_trusted() -> None:
    result = point()
    assert is_trusted(result)
    for key, value in (("cpu", 0.99), ("skipped", 1), ("sendLatenessMs", {"p99": 6.0})):
        doubtful = {**result["generator"], key: value}
        assert not is_trusted({**result, "generator": doubtful})


def test_a_generator_that_cannot_run_has_failed() -> None:
    with pytest.raises(GeneratorFailed):
        measure(load(path="/" + "x" * 600), free_port())


@pytest.mark.parametrize(
    "impossible",
    [
        {"streams": 0},
        {"dialect": "morse"},
        {"seconds": 0.5},
        {"connect_rate": 0},
        {"arrivals": 1},
        {"arrivals": 1, "burst_s": 1.0},
        {"helped": 1.0},
        {"helped": -0.1},
    ],
)
def test_impossible_loads_are_refused(impossible: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needed|dialects|rate|burst|helper"):
        load(**impossible)
