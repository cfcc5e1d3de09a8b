"""Standard output belongs to the protocol."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.socket

NOISY = """
import os, subprocess, sys
from voicecall.agent.stdio import quiet_stdout
with quiet_stdout():
    os.write(1, b"a library\\n")
    subprocess.run([sys.executable, "-c", "print('a child')"], check=True)
os.write(1, b"ours\\n")
"""

SERVING = """
import asyncio, os
from tests.agent.fakes import FakeControl, record
from voicecall.agent.stdio import serve_stdio

class Noisy(FakeControl):
    async def calls(self):
        os.write(1, b"a library\\n")
        print("ourselves", flush=True)
        return await super().calls()

asyncio.run(serve_stdio(Noisy(record())))
"""

REQUESTS = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "get_status", "arguments": {}},
    },
]


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_libraries_and_children_print_goes_elsewhere_for_a_while() -> None:
    with python(NOISY) as process:
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "ours\n")
    assert errors.splitlines() == ["a library", "a child"]


def test_only_the_protocol_is_written_and_closing_the_input_ends_it() -> None:
    with python(SERVING) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(json.dumps(each) + "\n" for each in REQUESTS))
        process.stdin.flush()
        # The input stays open until both have been answered.
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"]["structuredContent"]["calls"][0]["callId"] == "c-1"
    assert {"a library", "ourselves"} <= set(errors.splitlines())
