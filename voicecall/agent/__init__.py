"""Phone calls as a tool of a language model.

::

    from voicecall import Client
    from voicecall.agent import execute, tool_schema

    async with Client.from_config() as client:
        response = await model.responses.create(..., tools=[tool_schema()])
        for item in response.output:
            if item.type == "function_call":
                result = await execute(client, item.arguments)

In the server's own process, `InProcess(server)` takes the place of the client. For agents that
speak the Model Context Protocol there is `voicecall mcp`, with one tool for each action.
"""

from __future__ import annotations

from voicecall.agent.control import CallControl, InProcess
from voicecall.agent.tool import TOOL_NAME, execute, tool_schema

__all__ = ["TOOL_NAME", "CallControl", "InProcess", "execute", "tool_schema"]
