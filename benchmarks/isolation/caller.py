"""One caller in a process of its own, whose ears do not depend on the server's event loop.

    python -m benchmarks.isolation.caller URL CALL_SID

Prints `connected`, presses the keys that come as lines on its input, hangs up at the end of the
input, and prints as JSON how well in time the audio came, for a player with 60 ms of buffer.
"""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
import uvloop

from voicecall.simulator import Engines, Phone


async def call(url: str, call_sid: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async with Phone(url, call_sid=call_sid, engines=Engines(None, None)) as phone:
        print("connected", flush=True)
        while line := await lines.readline():
            await phone.press(line.decode().strip())
        played = phone.stats.playout
        late_ms = np.array(played.lateness_ms or [0.0])
        heard = {
            "messages": played.messages,
            "octets": played.octets,
            "late": played.late,
            "p50_ms": round(float(np.percentile(late_ms, 50)), 1),
            "p99_ms": round(float(np.percentile(late_ms, 99)), 1),
            "worst_ms": round(float(late_ms.max()), 1),
            "last_ms": round(float(late_ms[-1]), 1),
            "gaps_ms": [round(each) for each in played.gaps_ms],
        }
    print(json.dumps(heard), flush=True)


if __name__ == "__main__":
    uvloop.run(call(sys.argv[1], sys.argv[2]))
