"""Whether the process is alive, and whether it should be sent work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

UNVERIFIED_WARNING = (
    "skipSignatureVerification is on: anybody who can reach the webhook can forge calls."
)


async def healthz(request: Request) -> Response:
    """200 as long as the process can answer at all."""
    del request
    return _json({"status": "alive"})


class Readiness:
    """`/readyz`: 200 when ready, 503 when not (starting, draining, a check failed).

    Args:
        read: the current state; its `ready` decides.
        verify: whether webhooks are verified; a warning is shown when they are not.
    """

    def __init__(self, read: Callable[[], Mapping[str, Any]], *, verify: bool) -> None:
        self._read = read
        self._warnings = [] if verify else [UNVERIFIED_WARNING]

    async def readyz(self, request: Request) -> Response:
        """The state as JSON."""
        del request
        state = dict(self._read())
        ready = bool(state.get("ready"))
        body = {**state, "ready": ready}
        if self._warnings:
            body["warnings"] = [*state.get("warnings", ()), *self._warnings]
        return _json(body, 200 if ready else 503)


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    # Load balancers poll these; a cached answer would hide a change.
    return Response(
        orjson.dumps(body),
        status,
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )
