"""The server that the checks reach from outside: the one that runs, or one for the time being."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from voicecall.client.address import address_of, server_url
from voicecall.config.schema import IN_MEMORY, Realtime, Rpc, Serve, Stt, Tools, Tts
from voicecall.control.app import CHALLENGE_PATH
from voicecall.diagnosis.check import ok
from voicecall.errors import ConfigError, RemoteError
from voicecall.server import Server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from voicecall.client.address import ServerAddress
    from voicecall.config.load import LoadedConfig
    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding

_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Challenge:
    """A question that only one server in the world has the answer to."""

    question: str
    answer: str


class Host:
    """Finds the running server of a configuration, or runs one while the checks last.

    Use it as an async context manager.

    Args:
        loaded: the configuration.
    """

    def __init__(self, loaded: LoadedConfig) -> None:
        self._loaded = loaded
        self._looking = asyncio.Lock()
        self._runs: bool | None = None
        self._token = ""
        self._own: Server | None = None
        self._http: httpx.AsyncClient | None = None
        self.control_url = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def runs(self) -> bool:
        """Whether a server of this configuration runs.

        Raises:
            ConfigError: one runs, and has another token.
        """
        async with self._looking:
            if self._runs is None:
                self._runs = await self._find()
            return self._runs

    async def look(self) -> Finding:
        """Whether there is a server to reach; one is started if none runs.

        It takes no calls, keeps nothing, and loads no models.

        Raises:
            VoicecallError: it does not start; says why.
        """
        if await self.runs():
            return ok(f"runs at {self.control_url}")
        token = SecretStr(secrets.token_urlsafe(32))
        config = stand_in(self._loaded.config, token)
        self._own = server = Server(config)
        await server.start()
        port = urlsplit(server.control_url).port
        serve = config.serve.model_copy(update={"port": port})
        config = config.model_copy(update={"serve": serve})
        await self._connect(address_of(replace(self._loaded, config=config)))
        return ok("none runs; one was started for these checks. To keep one: voicecall serve")

    async def challenge(self) -> Challenge:
        """A question for whoever claims to be this server.

        Raises:
            RemoteError: the server gives none.
        """
        answer = await self._post_challenge()
        if answer.status_code != HTTPStatus.OK:
            raise RemoteError(
                f"the server at {self.control_url} gives no challenge; is it of another version?",
                status=answer.status_code,
            )
        told = answer.json()
        return Challenge(told["question"], told["answer"])

    async def public_url(self) -> str | None:
        """Where carriers reach the server: as configured, or as its tunnel says; None if nowhere.

        Raises:
            RemoteError: the server does not say.
        """
        configured = self._loaded.config.public_url
        if configured is not None:
            return configured
        state = await self._ask("GET", "/readyz")
        exposure = _object(state).get("exposure")
        url = exposure.get("url") if isinstance(exposure, dict) else None
        return url if isinstance(url, str) else None

    async def refusal(self, url: str, headers: Mapping[str, str]) -> tuple[int, str]:
        """The status and text with which the server on this machine answers a `GET` to `url`.

        Raises:
            RemoteError: it does not answer.
        """
        answer = await self._ask("GET", url, headers)
        return answer.status_code, answer.text

    def media_url(self) -> str:
        """Where media sockets go on this machine."""
        streaming = self._loaded.config.streaming
        if not streaming.port:
            return self.control_url
        # Media sockets have no TLS of their own: a proxy in front of them has it.
        media = Serve(port=streaming.port, bind=streaming.bind)
        return server_url(self._loaded.config.model_copy(update={"serve": media}))

    async def close(self) -> None:
        """Stop what was started."""
        if self._http is not None:
            await self._http.aclose()
        if self._own is not None:
            await self._own.stop()

    async def _find(self) -> bool:
        """Look for a server where the configuration says that it listens."""
        try:
            address = address_of(self._loaded)
        except ConfigError:
            # Without port, token or certificate none can have been started.
            return False
        await self._connect(address)
        try:
            answer = await self._post_challenge()
        except RemoteError:
            return False
        if answer.status_code == HTTPStatus.OK:
            return "question" in _object(answer)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and await self._is_voicecall():
            raise ConfigError(
                f"rpc.token: the voicecall server at {self.control_url} has another one; it was "
                "started with another configuration"
            )
        return False

    async def _is_voicecall(self) -> bool:
        return _object(await self._ask("GET", "/healthz")).get("status") == "alive"

    async def _post_challenge(self) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}"}
        return await self._ask("POST", CHALLENGE_PATH, headers)

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        if self._http is None:
            raise RemoteError("there is no server to ask")
        try:
            return await self._http.request(method, path, headers=headers)
        except httpx.HTTPError as error:
            raise RemoteError(
                f"no server answers at {self.control_url} ({type(error).__name__})", retryable=True
            ) from error

    async def _connect(self, address: ServerAddress) -> None:
        if self._http is not None:
            await self._http.aclose()
        self.control_url, self._token = address.url, address.token
        self._http = httpx.AsyncClient(
            base_url=address.url,
            timeout=_TIMEOUT_S,
            verify=address.verify,
            # Who looks for a server on this machine does not mean to ask a proxy for it.
            trust_env=False,
        )


def stand_in(config: Config, token: SecretStr) -> Config:
    """The configuration of a server that is only there to be reached.

    It listens where the real one would and verifies as the real one would, but keeps nothing,
    takes no calls and speaks with engines that need not be loaded.

    Args:
        config: of the real one.
        token: that it is asked with.
    """
    return config.model_copy(
        update={
            "store": IN_MEMORY,
            "inbound_policy": "disabled",
            "numbers": {},
            "stt": Stt(provider="scripted"),
            "tts": Tts(provider="scripted"),
            "response_model": "scripted/builtin",
            "realtime": Realtime(),
            "tools": Tools(),
            "rpc": Rpc(token=token),
        }
    )


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
