"""An MCP server with tools of every kind; run as a program it talks over its own pipes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import EmbeddedResource, ImageContent, TextContent, TextResourceContents


def tool_server() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("tools")

    @server.tool()
    def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    @server.tool(name="process.id")
    def process_id() -> str:
        return str(os.getpid())

    @server.tool()
    def fail() -> str:
        raise ToolError("the shop is closed")

    @server.tool()
    async def hang() -> str:
        await anyio.sleep_forever()
        return "never"

    @server.tool()
    def die() -> str:
        os._exit(1)

    @server.tool(structured_output=False)
    def show() -> list[Any]:
        text = TextResourceContents(uri="file:///menu", text="tea")
        return [
            TextContent(type="text", text="The menu:"),
            EmbeddedResource(type="resource", resource=text),
            ImageContent(type="image", data="AAAA", mime_type="image/png"),
        ]

    return server


def main(stay: str | None = None) -> None:
    """Serve until nobody listens; and longer, if told so by the name of a file to write."""
    tool_server().run("stdio")
    if stay is not None:
        Path(stay).write_text(str(os.getpid()), "utf-8")
        time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
