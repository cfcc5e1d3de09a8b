"""Bring your own model: the caller's audio in, your audio out, nothing of ours in between.

The "model" here repeats what the caller says, half a tone higher. A voice model of yours takes its
place in `answer`.

python examples/own_model.py
python examples/own_model.py --config voicecall.json5 --to +15551234567
"""

from __future__ import annotations

import array
import asyncio

from invocation import configuration, dialling

from voicecall import Call, Server

RATE = 16_000
LOUD = 500  # of 32767; a telephone line is never quite silent
QUIET_CHUNKS = 35  # of 20 ms each: the caller has finished
TURNS = 2


def level(chunk: bytes) -> float:
    """The mean amplitude of PCM16."""
    samples = array.array("h", chunk)
    return sum(abs(sample) for sample in samples) / len(samples)


def answer(speech: bytes) -> tuple[bytes, int]:
    """What to play for what was said, and its rate. Played faster, it sounds higher."""
    return speech, RATE * 106 // 100


async def hold(call: Call) -> None:
    """Hold the call; it ends when this returns."""
    speech = bytearray()
    quiet = turns = 0
    # 20 ms of PCM16 at a time, silence included.
    async for chunk in call.audio(RATE):
        loud = level(chunk) > LOUD
        quiet = 0 if loud else quiet + 1
        if loud or speech:
            speech += chunk
        if speech and quiet == QUIET_CHUNKS:
            pcm, rate = answer(bytes(speech))
            print(f"heard {len(speech) / 2 / RATE:.1f} s", flush=True)
            playback = await call.play(pcm, rate)
            print(f"played {playback.heard_ms / 1000:.1f} s back", flush=True)
            speech.clear()
            turns += 1
        if turns == TURNS:
            return


async def main() -> None:
    options = dialling("Repeat what the caller says.").parse_args()
    async with Server(configuration(options.config, "speaks_twice.json5"), on_call=hold) as server:
        call = await server.calls.initiate("", to=options.to, mode="conversation")
        print("ended:", (await call.ended()).end_reason)


asyncio.run(main())
