"""A caller that sends as fast as it can: marks that nobody asked for, and audio.

    python -m benchmarks.isolation.flooder URL CALL_SID

Prints `connected`, floods for two seconds from the first line on its input, and prints how many
messages it got rid of.
"""

from __future__ import annotations

import json
import sys
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

FLOOD_S = 2.0
FRAME = "/" * 216


def call(url: str, call_sid: str) -> None:
    start = {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": "MZflood",
        "start": {
            "streamSid": "MZflood",
            "callSid": call_sid,
            "accountSid": "AC0",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {},
        },
    }
    sent = 0
    with connect(url, compression=None) as socket:
        socket.send(json.dumps(start))
        print("connected", flush=True)
        sys.stdin.readline()
        until = time.monotonic() + FLOOD_S
        try:
            while time.monotonic() < until:
                sent += 2
                mark = {"name": f"m{sent}"}
                socket.send(json.dumps({"event": "mark", "streamSid": "MZflood", "mark": mark}))
                media = {"track": "inbound", "chunk": str(sent), "timestamp": "0", "payload": FRAME}
                socket.send(
                    json.dumps(
                        {
                            "event": "media",
                            "sequenceNumber": str(sent),
                            "streamSid": "MZflood",
                            "media": media,
                        }
                    )
                )
        except ConnectionClosed:
            pass
    print(json.dumps({"messages": sent}), flush=True)


if __name__ == "__main__":
    call(sys.argv[1], sys.argv[2])
