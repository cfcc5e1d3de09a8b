"""Many callers who interrupt, in a process of their own.

    python -m benchmarks.barge_in.callers CALLS SECONDS

Takes `[call id, stream URL, the carrier's id]` as lines of JSON on its input, and prints when each
call's clears came, in nanoseconds of the monotonic clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time

import numpy as np
import uvloop

from voicecall.errors import VoicecallError
from voicecall.simulator import Engines, Phone

_RATE_HZ = 8000
_TONE_MS = 300


async def call(call_id: str, url: str, call_sid: str, end_s: float) -> tuple[str, list[int]]:
    """One call: interrupts every two to three seconds."""
    rng = random.Random(call_id)
    times = np.arange(_TONE_MS * _RATE_HZ // 1000) / _RATE_HZ
    tone = (np.sin(2 * np.pi * 440 * times) * 8000).astype("<i2").tobytes()
    async with Phone(url, call_sid=call_sid, engines=Engines(None, None)) as phone:
        with contextlib.suppress(VoicecallError, TimeoutError):
            while time.monotonic() < end_s:
                await asyncio.sleep(rng.uniform(2, 3))
                await phone.wait_talking(100, 5000)
                await phone.play(tone)
        return call_id, list(phone.stats.playout.cleared_ns)


async def main(calls: int, seconds: float) -> None:
    """All of them."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    end_s = time.monotonic() + seconds
    tasks = []
    for _ in range(calls):
        call_id, url, call_sid = json.loads(await lines.readline())
        tasks.append(asyncio.create_task(call(call_id, url, call_sid, end_s)))
    print(json.dumps(dict(await asyncio.gather(*tasks))), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
