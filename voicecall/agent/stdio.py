"""MCP over standard input and output: nothing but the protocol may be written there."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from voicecall.agent.mcp import VoiceCallTools

if TYPE_CHECKING:
    from collections.abc import Generator

    from voicecall.agent.control import CallControl

_STDOUT = 1
_STDERR = 2


async def serve_stdio(control: CallControl) -> None:
    """Answer requests until the client closes our standard input.

    Cancelling it takes effect with the next line of input: a thread waits for that, and nothing
    can wake it.
    """
    from mcp.server.stdio import stdio_server  # noqa: PLC0415  (checked for by `agent.mcp`)

    server = VoiceCallTools(control).server()
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


@contextmanager
def quiet_stdout() -> Generator[None]:
    """Have everything written to standard output, by libraries and children too, go to stderr."""
    kept = os.dup(_STDOUT)
    try:
        os.dup2(_STDERR, _STDOUT)
        yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)
