"""Callers with a player each: is the audio of a media plane on time?

    python -m benchmarks.load.players --port 3335 --streams 200 --seconds 60 [--pid PID]

Every stream sends 20 ms of mu-law each 20 ms and plays what comes back through a 60 ms buffer: playing
starts 60 ms after the first audio, and from then on each 20 ms frame has one moment at which it is
needed. A frame that comes after that moment is late. The player's clock is never moved, so a sender
that drifts ends up late for good. With `--pid` the CPU and memory of the server are read from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import os
import sys
import time
from array import array

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

FRAME_S = 0.020
FRAME_OCTETS = 160
PLAYER_S = 0.060
PAYLOAD = base64.b64encode(bytes(range(96, 256))).decode()


class Player(WSListener):
    """One stream: what it sends and what it hears."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.transport: WSTransport | None = None
        self.started_s = 0.0
        self.frames = 0
        self.chunk = 0
        self.lateness_ms = array("f")
        self.closed = False
        self._marks: list[tuple[float, bytes]] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        name = f"{self.number:08d}"
        self._stream = f"MZ{name}"
        start = {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": self._stream,
            "start": {
                "accountSid": "AC0",
                "callSid": f"CA{name}",
                "streamSid": self._stream,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {},
            },
        }
        transport.send(WSMsgType.TEXT, b'{"event":"connected","protocol":"Call","version":"1.0.0"}')
        transport.send(WSMsgType.TEXT, orjson.dumps(start))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            if frame.msg_type == WSMsgType.CLOSE:
                transport.disconnect()
            return
        now_s = time.monotonic()
        message = orjson.loads(frame.get_payload_as_bytes())
        if message["event"] == "mark":
            self._marks.append((self.started_s + PLAYER_S + self.frames * FRAME_S, message))
            return
        if message["event"] != "media":
            return
        octets = len(base64.b64decode(message["media"]["payload"]))
        if not self.frames:
            self.started_s = now_s
        for _ in range(octets // FRAME_OCTETS):
            needed_s = self.started_s + PLAYER_S + self.frames * FRAME_S
            self.lateness_ms.append((now_s - needed_s) * 1000)
            self.frames += 1

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.closed = True

    def send_frame(self) -> None:
        """Send the next 20 ms, and the echoes of marks that have been played."""
        self.chunk += 1
        if self.transport is None or self.closed:
            return
        self.transport.send(
            WSMsgType.TEXT,
            f'{{"event":"media","sequenceNumber":"{self.chunk + 1}","media":{{"track":"inbound",'
            f'"chunk":"{self.chunk}","timestamp":"{self.chunk * 20}","payload":"{PAYLOAD}"}},'
            f'"streamSid":"{self._stream}"}}',
        )
        now_s = time.monotonic()
        while self._marks and self._marks[0][0] <= now_s:
            echo = dict(self._marks.pop(0)[1], sequenceNumber="0")
            self.transport.send(WSMsgType.TEXT, orjson.dumps(echo))


def cpu_s(pid: int) -> float:
    """User and system time a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid: int) -> int:
    """Memory a process holds."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


async def run(options: argparse.Namespace) -> dict[str, object]:
    url = f"ws://127.0.0.1:{options.port}/voice/stream"
    idle_kib = resident_kib(options.pid) if options.pid else 0
    players = []
    for number in range(options.streams):
        player = Player(number)
        await ws_connect(lambda player=player: player, url)
        players.append(player)
    gc.collect()
    gc.freeze()
    gc.disable()
    start_s = time.monotonic()
    start_cpu_s = cpu_s(options.pid) if options.pid else 0.0
    groups = [players[phase::20] for phase in range(20)]
    ticks = int(options.seconds * 1000)
    for tick in range(ticks):
        for player in groups[tick % 20]:
            player.send_frame()
        delay_s = start_s + (tick + 1) / 1000 - time.monotonic()
        await asyncio.sleep(max(0, delay_s))
    took_s = time.monotonic() - start_s
    result = summary(players, took_s)
    if options.pid:
        result["server"] = {
            "cpu": round((cpu_s(options.pid) - start_cpu_s) / took_s, 3),
            "cpuMicrosecondsPerStreamSecond": round(
                (cpu_s(options.pid) - start_cpu_s) / took_s / options.streams * 1e6
            ),
            "residentKibPerStream": round(
                (resident_kib(options.pid) - idle_kib) / options.streams, 1
            ),
        }
    for player in players:
        if player.transport is not None:
            player.transport.disconnect()
    return result


def summary(players: list[Player], took_s: float) -> dict[str, object]:
    """What all players together saw."""
    lateness = sorted(ms for player in players for ms in player.lateness_ms)
    expected = took_s / FRAME_S

    def at(share: float) -> float:
        return round(lateness[min(len(lateness) - 1, int(share * len(lateness)))], 2)

    late = sum(1 for ms in lateness if ms > 0)
    worst_rate = min(player.frames / expected for player in players)
    return {
        "streams": len(players),
        "seconds": round(took_s, 1),
        "frames": len(lateness),
        "late": late,
        "onTime": 1 - late / len(lateness),
        "latenessMs": {"p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999), "worst": at(1.0)},
        "slowestStreamRate": round(worst_rate, 4),
        "closedEarly": sum(player.closed for player in players),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pid", type=int, help="the server's process id")
    result = uvloop.run(run(parser.parse_args()))
    print(json.dumps(result, indent=2))
    return 0 if not result["late"] and not result["closedEarly"] else 1


if __name__ == "__main__":
    sys.exit(main())
