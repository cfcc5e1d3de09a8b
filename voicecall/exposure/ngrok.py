"""A tunnel by the ngrok agent.

The agent, a program of its own, rather than ngrok's Python package: the package runs the tunnel
with its threads inside the process that sends audio every 20 ms, and takes it down when it fails.
The agent fails alone, is updated alone, and uses the account that the operator already set it up
for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from voicecall.errors import RemoteError, ServeError
from voicecall.exposure.ngrok_log import AgentLog
from voicecall.exposure.process import CANNOT_RUN, NOT_FOUND, Leashed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pydantic import SecretStr

# A session takes one or two seconds; the rest is for networks that are bad or blocked.
START_TIMEOUT_S: Final = 30.0
NOT_INSTALLED: Final = (
    "tunnel.provider: ngrok is not installed, or not in PATH; install the agent from "
    "https://ngrok.com/download, or set publicUrl to a URL that leads here"
)


class Ngrok:
    """One HTTP tunnel to one local port; requests and WebSockets alike.

    Args:
        target: where requests go: scheme, host and port of the control plane.
        auth_token: the account's; without one the agent uses the one it was set up with.
        domain: the domain to serve, of the account's own; without one ngrok chooses.
        timeout_s: how long the agent may take to be reachable, at the start and after it lost its
            connection.
    """

    name = "ngrok"

    def __init__(
        self,
        target: str,
        *,
        auth_token: SecretStr | None = None,
        domain: str | None = None,
        timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self._target = target
        self._auth_token = auth_token
        self._domain = domain
        self._timeout_s = timeout_s

    async def reach(self) -> AsyncGenerator[str | None, None]:
        """Be reachable for as long as this is iterated over; closing it takes the tunnel down.

        Yields:
            The public URL, without a path, whenever it becomes known or changes; None when the
            agent lost its connection and tries to get it back.

        Raises:
            ServeError: there is no agent to run.
            RemoteError: the agent gave up, or said nothing in time; the message says why and what
                to do.
        """
        agent_log, told = AgentLog(), None
        async with Leashed(self._command(), self._secrets()) as agent:
            deadline = self._deadline()
            while True:
                # A tunnel that works may be silent for as long as nobody calls.
                waits_until = deadline if agent_log.url is None else None
                agent_log.read(await self._line(agent, agent_log, waits_until))
                if agent_log.url != told:
                    told = agent_log.url
                    deadline = self._deadline()
                    yield told

    def _command(self) -> list[str]:
        command = ["ngrok", "http", self._target, "--log", "stdout", "--log-format", "json"]
        # Its inspection page would keep numbers and transcripts of callers.
        command += ["--log-level", "info", "--inspect=false"]
        return [*command, "--url", f"https://{self._domain}"] if self._domain else command

    def _secrets(self) -> dict[str, str]:
        if self._auth_token is None:
            return {}
        return {"NGROK_AUTHTOKEN": self._auth_token.get_secret_value()}

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s

    async def _line(self, agent: Leashed, agent_log: AgentLog, deadline: float | None) -> str:
        """The agent's next line, or an error that says why there is none."""
        try:
            async with asyncio.timeout_at(deadline):
                line = await agent.line()
        except TimeoutError as error:
            raise RemoteError(
                f"ngrok: no tunnel within {self._timeout_s:g} s: "
                f"{agent_log.trouble or 'is the network there, and port 443 open to the outside?'}",
                retryable=True,
                status=agent_log.code,
            ) from error
        if line is None:
            raise _failure(await agent.end(), agent_log)
        return line


def _failure(status: int, agent_log: AgentLog) -> ServeError | RemoteError:
    if status == NOT_FOUND:
        return ServeError(NOT_INSTALLED)
    if status == CANNOT_RUN:
        return ServeError(f"tunnel.provider: ngrok cannot be run: {agent_log.trouble}")
    reason = agent_log.trouble or f"it ended with status {status} and said nothing"
    return RemoteError(f"ngrok: {reason}", retryable=True, status=agent_log.code)
