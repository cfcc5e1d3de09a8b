"""Spoken conversations with a whole server in another process, timed where the caller's ear is.

    python -m benchmarks.conversation [--models local|instant] [--calls 20] [--silence-ms 500]

Each caller asks three questions (`--questions`); all of them talk at the same time. Prints, in
milliseconds, how long the answers took after the caller's last sound, how much of that was the wait
for the end of the turn (`--silence-ms`), and what the server says of each step. With
`--models instant` recognition, language model and voice are behind OpenAI's protocols and take no
time, so that the rest is ours.

The exit status is 1 when a conversation failed, or the caller's player ever ran dry.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.conversation.talker import talk
from benchmarks.load.machine import command_line, describe
from benchmarks.soak.carrier import Carrier, Dialled, Dials
from benchmarks.soak.process import ServerProcess
from voicecall.simulator.engines import Engines
from voicecall.speech.tts.cache import CachedTextToSpeech
from voicecall.speech.tts.local import LocalTextToSpeech

GREETING = "Hello, this is Riverside Clinic. How can I help you?"
STAGGER_S = 0.25
STEPS = ("finalMs", "firstTokenMs", "firstAudioMs", "firstFrameMs", "latencyMs")
CACHE_OCTETS = 16 * 1024 * 1024


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: list[float]) -> dict[str, float]:
    return {
        "count": len(values),
        "p50": round(statistics.median(values), 1),
        "p95": round(quantile(values, 0.95), 1),
        "p99": round(quantile(values, 0.99), 1),
        "worst": round(max(values), 1),
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    dials = Dials()
    voice = CachedTextToSpeech(LocalTextToSpeech(), CACHE_OCTETS)
    engines = Engines(voice=voice, ears=None)
    arguments = (options.models, str(options.silence_ms))
    async with (
        ServerProcess(dials.on_dial, "benchmarks.conversation.target", arguments) as server,
        Carrier(server.control_url, dials) as carrier,
    ):
        await voice.prepare()

        async def hold(number: int) -> tuple[Any, list[dict[str, float]]]:
            await asyncio.sleep(number * STAGGER_S)
            call: Dialled = await carrier.place(GREETING)
            await carrier.report(call, "call.answered")
            talked = await talk(call, engines, options.questions, goodbye=options.models == "local")
            record = await carrier.record(call.call_id)
            return talked, record["metadata"].get("turns", [])

        # The first one warms up what simulates the remote services.
        await hold(0)
        before = server.measure()["cpuMs"]
        began_s = asyncio.get_running_loop().time()
        held = await asyncio.gather(
            *(hold(number) for number in range(options.calls)), return_exceptions=True
        )
        passed_s = asyncio.get_running_loop().time() - began_s
        cpu_ms = server.measure()["cpuMs"] - before
    await voice.close()
    failures = [repr(each) for each in held if isinstance(each, BaseException)]
    talks = [each for each in held if not isinstance(each, BaseException)]
    if not talks:
        raise SystemExit(f"no conversation was held: {failures}")
    answers = [ms for talked, _ in talks for ms in talked.answers.after_ms]
    turns = [turn for _, record in talks for turn in record]
    ours = [turn["firstTokenMs"] + turn["firstFrameMs"] for turn in turns if "firstTokenMs" in turn]
    return {
        "command": command_line("benchmarks.conversation"),
        "machine": describe(),
        "calls": options.calls,
        "models": options.models,
        "silenceMs": options.silence_ms,
        "failures": failures,
        "answerAfterMs": spread(answers),
        "beyondSilenceMs": spread([ms - options.silence_ms for ms in answers]),
        "steps": {
            step: spread([turn[step] for turn in turns if step in turn])
            for step in STEPS
            if any(step in turn for turn in turns)
        },
        "oursMs": spread(ours) if ours else None,
        "frames": sum(talked.frames for talked, _ in talks),
        "late": sum(talked.late for talked, _ in talks),
        "underruns": sum(talked.underruns for talked, _ in talks),
        "serverCores": round(cpu_ms / 1000 / passed_s, 2),
    }


def show(result: dict[str, Any]) -> None:
    rows = {
        "answer after": result["answerAfterMs"],
        f"beyond {result['silenceMs']} ms of silence": result["beyondSilenceMs"],
        **{f"  {step}": found for step, found in result["steps"].items()},
    }
    if result["oursMs"]:
        rows["ours: reply asked for, frame sent"] = result["oursMs"]
    print(f"{'ms':36}{'count':>7}{'p50':>9}{'p95':>9}{'p99':>9}{'worst':>9}")
    for name, found in rows.items():
        print(
            f"{name:36}"
            + f"{found['count']:7}"
            + "".join(f"{found[each]:9.1f}" for each in ("p50", "p95", "p99", "worst"))
        )
    print(
        f"{result['calls']} conversations, {result['frames']} frames heard, {result['late']} late, "
        f"{result['underruns']} underruns, {result['serverCores']} cores used by the server"
    )
    for failure in result["failures"]:
        print(f"FAILED: {failure}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", choices=["local", "instant"], default="local")
    parser.add_argument("--calls", type=int, default=20, help="how many are held at once")
    parser.add_argument(
        "--questions", type=int, choices=range(1, 4), default=3, help="each caller asks so many"
    )
    parser.add_argument("--silence-ms", type=int, default=500, help="what ends a caller's turn")
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    result = uvloop.run(measure(options))
    show(result)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result["failures"] or result["underruns"] else 0


if __name__ == "__main__":
    sys.exit(main())
