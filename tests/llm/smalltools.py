"""A program with MCP tools in plain Python, for tests that start it often: it begins at once."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

TOOLS = ("process_id", "die", "hang")


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; None for one that is not known."""
    match method:
        case "initialize":
            return {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "small", "version": "1"},
            }
        case "tools/list":
            schema = {"type": "object"}
            # Two pages, as long lists have them.
            start = int(params.get("cursor") or 0)
            tools = [{"name": name, "inputSchema": schema} for name in TOOLS[start : start + 2]]
            return {"tools": tools, **({"nextCursor": "2"} if start == 0 else {})}
        case "tools/call":
            if params["name"] == "die":
                os._exit(1)
            return {"content": [{"type": "text", "text": str(os.getpid())}]}
    return None


def main(stay: str | None = None) -> None:
    """Serve until nobody listens; and longer, if told so by the name of a file to write."""
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request or request.get("params", {}).get("name") == "hang":
            continue
        result = answer(request["method"], request.get("params", {}))
        outcome = (
            {"error": {"code": -32601, "message": "unknown"}}
            if result is None
            else {"result": result}
        )
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **outcome}) + "\n")
        sys.stdout.flush()
    if stay is not None:
        Path(stay).write_text(str(os.getpid()), "utf-8")
        time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
