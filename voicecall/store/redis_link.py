"""The way to a database server: commands in, answers out, and what happens while it is away.

Imports the `redis` package, so it is itself imported only by a store that is opened.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError, RedisError

from voicecall.errors import StoreError
from voicecall.store.redis_scripts import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voicecall.store.redis_address import RedisAddress
    from voicecall.store.redis_scripts import Command

_log = logging.getLogger("voicecall.store")

MAX_WAITING: Final = 1000
"""How many wait for answers at most; more are refused at once."""

DEADLINE_S: Final = 2.0
"""How long one attempt may take. Two are less than anybody waits for a change to be stored."""

_CONNECTIONS: Final = 4
_FIRST_REST_S: Final = 0.1
_LONGEST_REST_S: Final = 2.0


class RedisLink:
    """Asks one database server; used within one event loop.

    A connection that broke is replaced and the commands are sent again, once: all that we send
    does nothing the second time. When that fails, too, the server is left alone for 0.1 s, twice
    as long after each further failure, 2 s at most, and whoever asks meanwhile is refused at once.

    Args:
        address: where it is.
        deadline_s: how long one attempt may take.
        max_waiting: how many may wait for answers at once.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        deadline_s: float = DEADLINE_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._place = address.place
        self._deadline_s = deadline_s
        self._max_waiting = max_waiting
        self._client = _client(address)
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        self._waiting = 0
        self._failures = 0
        self._reason = ""
        self._rests_until_s = 0.0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """What the server answers to each command; an exception where it refuses one.

        Raises:
            StoreError: it cannot be reached, is too slow, or too many wait for it.
        """
        self._check_rested()
        if self._waiting >= self._max_waiting:
            raise StoreError(f"the store does not keep up: {self._waiting} wait for its answers")
        self._waiting += 1
        try:
            answers = await self._twice(commands)
        except (RedisError, OSError, TimeoutError) as error:
            raise self._failed(error) from error
        finally:
            self._waiting -= 1
        self._succeeded()
        return answers

    async def ask(self, command: Command) -> Any:  # noqa: ANN401  (whatever the command answers)
        """What the server answers to one command.

        Raises:
            StoreError: as for `run`, or the server refuses the command.
        """
        (answer,) = await self.run([command])
        if isinstance(answer, Exception):
            raise StoreError(f"the store at {self._place} refused: {answer}") from answer
        return answer

    async def close(self) -> None:
        """Close the connections. Nobody may be waiting any more."""
        await self._client.aclose()

    # --- one attempt ----------------------------------------------------------------------------

    async def _twice(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await self._attempt(commands)
        except Disconnected:
            return await self._attempt(commands)

    async def _attempt(self, commands: Sequence[Command]) -> list[Any]:
        async with asyncio.timeout(self._deadline_s), self._turns:
            answers = await self._send(commands)
            unknown = [n for n, each in enumerate(answers) if isinstance(each, NoScriptError)]
            if unknown:
                # The first time, and after the server was started again.
                await self._send([("SCRIPT LOAD", script.text) for script in SCRIPTS])
                again = await self._send([commands[n] for n in unknown])
                for n, answer in zip(unknown, again, strict=True):
                    answers[n] = answer
            return answers

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                _ = pipeline.execute_command(*command)
            return list(await pipeline.execute(raise_on_error=False))

    # --- while it is away -----------------------------------------------------------------------

    def _check_rested(self) -> None:
        left_s = self._rests_until_s - asyncio.get_running_loop().time()
        if left_s > 0:
            raise StoreError(
                f"the store at {self._place} is away ({self._reason}); it is asked again in "
                f"{left_s:.1f} s"
            )

    def _failed(self, error: Exception) -> StoreError:
        self._reason = str(error) or f"no answer within {self._deadline_s:g} s"
        if self._failures == 0:
            _log.warning("the store is away", extra={"store": self._place, "reason": self._reason})
        self._failures += 1
        # Halved by chance at most, so that many servers do not all come back at once.
        rest_s = min(_FIRST_REST_S * 2 ** min(self._failures - 1, 10), _LONGEST_REST_S)
        rest_s *= random.uniform(0.5, 1.0)  # noqa: S311  (spreads load, protects nothing)
        self._rests_until_s = asyncio.get_running_loop().time() + rest_s
        return StoreError(
            f"the store at {self._place} cannot be reached: {self._reason}; start it, or correct "
            "`store` in the configuration"
        )

    def _succeeded(self) -> None:
        if self._failures:
            _log.info("the store is back", extra={"store": self._place, "failures": self._failures})
        self._failures = 0


def _client(address: RedisAddress) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.username,
        password=address.password,
        ssl=address.tls,
        ssl_ca_certs=address.ca_file,
        ssl_certfile=address.certificate_file,
        ssl_keyfile=address.key_file,
        max_connections=_CONNECTIONS,
        # Deadlines and second attempts are ours.
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        # Understood by every server of either name, and free of messages that nobody asked for.
        protocol=2,
    )
