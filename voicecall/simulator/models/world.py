"""What the services of one simulated model server share."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voicecall.simulator.models.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.clock import Clock
    from voicecall.simulator.models.brain import Brain
    from voicecall.simulator.models.engines import ModelEngines

MAX_RECEIVED = 4096
"""Of what was received so much is kept; beyond it the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request, or one event that came over a socket.

    Attributes:
        service: whose.
        path: of the URL, with its query.
        body: what was asked, as parsed; audio that is streamed is left out.
        headers: of the request, names in lower case.
        at_ns: when, on the monotonic clock.
    """

    service: str
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    at_ns: int


@dataclass(slots=True)
class World:
    """What the services of one server share.

    Attributes:
        engines: what they hear and speak with.
        brain: what they think with.
        clock: the time.
        api_key: what clients have to present.
        faults: what goes wrong.
        requests: what was received, the newest last.
    """

    engines: ModelEngines
    brain: Brain
    clock: Clock
    api_key: str
    faults: Faults = field(default_factory=Faults)
    requests: deque[Received] = field(default_factory=lambda: deque(maxlen=MAX_RECEIVED))

    def received(self, service: str) -> list[Received]:
        """What a service was asked, oldest first."""
        return [request for request in self.requests if request.service == service]

    def note(
        self, service: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        """Remember a request."""
        self.requests.append(Received(service, path, body, headers, self.clock.now_ns()))

    def authorized(self, headers: Mapping[str, str]) -> bool:
        """Whether a request presents the key the way OpenAI's clients do."""
        return headers.get("authorization") == f"Bearer {self.api_key}"
