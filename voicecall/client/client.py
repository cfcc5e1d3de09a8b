"""A server's calls, from another process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from voicecall.client.address import address_of
from voicecall.client.connection import PREFIX, Connection
from voicecall.client.events import Events

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from types import TracebackType

    from voicecall.client.results import AskResult, Changes, Latency, Mode, Record
    from voicecall.config.load import LoadedConfig

__all__ = ["Client"]

DEFAULT_URL: Final = "http://127.0.0.1:3334"
TIMEOUT_S: Final = 30.0
CALL_TIMEOUT_S: Final = 600.0

# They last as long as people speak, and listen.
_LASTING: Final = frozenset(f"{PREFIX}{name}" for name in ("continue", "speak", "dtmf"))


class Client:
    """The calls of a running server.

    ::

        async with Client(token=token) as client:
            call_id = await client.initiate("Hello!", to="+15550001234", mode="conversation")
            answer = await client.ask(call_id, "How are you?")

    What goes wrong is raised as in the server's own process: `UnknownCall`, `CallHasEnded`,
    `CarrierError` ...; and `RemoteError` where the server itself cannot be reached. Nothing is
    ever sent twice: after an error of which nobody knows what came of it, `retryable` is false.
    Call ids are ours or the carrier's. It is used in one event loop; where there is none, see
    `SyncClient`.

    Args:
        url: the server's control plane, without a path.
        token: its `rpc.token`.
        timeout_s: how long a request may take.
        call_timeout_s: the same for what lasts as long as people speak: `ask`, `speak`,
            `send_dtmf`. Longer than `transcriptTimeoutMs` and `maxDurationSeconds` of the server.
        verify: whose TLS certificate is believed: that of any known authority, those of a context,
            or, with False, anybody's.

    What cannot be used of these is told by the first request, as a `ConfigError`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
        call_timeout_s: float = CALL_TIMEOUT_S,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._call_timeout_s = call_timeout_s
        self._verify = verify
        self._opened: Connection | None = None
        self._events: set[Events] = set()

    @classmethod
    def from_config(
        cls,
        path: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Self:
        """A client of the server that runs with this configuration on this machine.

        Args:
            path: the configuration file; None looks in the usual places.
            environ: what is taken for the environment; None for that of this process.
            timeout_s: how long a request may take.

        Raises:
            ConfigError: the configuration cannot be used, or it is not known where the server is,
                or its token.
        """
        # The models of the configuration are not worth loading for who knows URL and token.
        from voicecall.config.load import load  # noqa: PLC0415

        loaded = load(
            None if path is None else Path(path),
            environ=os.environ if environ is None else environ,
            cwd=Path.cwd(),
            home=Path.home(),
        )
        return cls.from_loaded(loaded, timeout_s=timeout_s)

    @classmethod
    def from_loaded(cls, loaded: LoadedConfig, *, timeout_s: float = TIMEOUT_S) -> Self:
        """The same for a configuration that is loaded already.

        Raises:
            ConfigError: it is not known where the server is, or its token.
        """
        address = address_of(loaded)
        return cls(
            address.url,
            address.token,
            timeout_s=timeout_s,
            call_timeout_s=address.call_timeout_s,
            verify=address.verify,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections and end all `events`; the server's calls go on."""
        for events in list(self._events):
            await events.aclose()
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    # --- placing and ending calls -------------------------------------------------------------

    async def initiate(
        self,
        message: str,
        to: str | None = None,
        mode: Mode | None = None,
        dtmf_sequence: str | None = None,
    ) -> str:
        """Place a call; returns once the carrier has accepted it.

        It is sent once. If that fails in a way that leaves it open whether somebody's phone rings,
        `calls` and `history` tell.

        Args:
            message: what to say first; empty for nothing, which needs `to`.
            to: E.164, or a `sip:` address where the carrier takes them; the default is configured.
            mode: what happens after the message; the default is configured.
            dtmf_sequence: keys to send once answered, before anything is said.

        Returns:
            The call's id.

        Raises:
            InvalidRequest: there is nobody to call, or nothing to do.
            CapacityReached: no more calls are taken.
            CarrierError: the carrier refused or did not answer; the call has ended as failed.
            StoreError: the call could not be stored and was not placed.
            RemoteError: the server cannot be reached, or did not answer.
        """
        # The older method is the one that can do without a message.
        method = "initiate" if message.strip() else "start"
        placed = await self.request(
            method, message=message, to=to, mode=mode, dtmfSequence=dtmf_sequence
        )
        return str(placed["callId"])

    async def transfer(self, call_id: str, to: str) -> None:
        """Have the carrier connect the other side with `to`; then the call is over here.

        Raises:
            InvalidRequest: `to` is nobody, or the carrier cannot hand calls on.
            CallError: the call is unknown, over, or not answered.
            CarrierError, StoreError, RemoteError: it was not done, or nobody knows.
        """
        await self.request("transfer", callId=call_id, to=to)

    async def end(self, call_id: str) -> None:
        """Hang up; a call that is over already is a success.

        Raises:
            UnknownCall: no call has that id.
            StoreError, RemoteError: it is not known whether it was done.
        """
        await self.request("end", callId=call_id)

    # --- talking ------------------------------------------------------------------------------

    async def speak(self, call_id: str, message: str) -> None:
        """Say something; returns when it was played or cut short.

        Raises:
            CallError: the call is unknown, over, or not answered.
            SpeechError, RemoteError: it was not said, or nobody knows.
        """
        await self.request("speak", callId=call_id, message=message)

    async def ask(self, call_id: str, message: str) -> str:
        """Say something and wait for the caller's words. Who stops waiting can ask again.

        Raises:
            TurnPending: somebody else waits for them.
            TranscriptTimeout: the caller said nothing in time.
            CallHasEnded: the call ended before he did.
            CallError: the call is unknown or not answered.
            SpeechError, RemoteError: it was not said, or nobody knows.
        """
        answer = await self.request("continue", callId=call_id, message=message)
        return str(answer["transcript"])

    async def start_ask(self, call_id: str, message: str) -> str:
        """Begin to `ask`, not waiting; the id of the operation. Raises like `ask`."""
        begun = await self.request("continue.start", callId=call_id, message=message)
        return str(begun["operationId"])

    async def ask_result(self, operation_id: str) -> AskResult:
        """How the operation stands.

        Raises:
            InvalidRequest: there is no such operation, or it was long ago.
            RemoteError: the server cannot be reached.
        """
        result: Any = await self.request("continue.result", operationId=operation_id)
        return result  # type: ignore[no-any-return]  # described by this very type

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        """Send keys: 0-9, `*`, `#`, and `w` or `W` for pauses.

        Raises:
            InvalidRequest: they are no keys, or too many.
            CallError: the call is unknown, over, or not answered.
            CarrierError, SpeechError, RemoteError: they were not sent, or nobody knows.
        """
        await self.request("dtmf", callId=call_id, digits=digits)

    # --- looking ------------------------------------------------------------------------------

    async def status(self, call_id: str) -> Record | None:
        """One call as far back as calls are kept, None if there is none.

        Raises:
            StoreError, RemoteError: nobody can tell.
        """
        return (await self.request("status", callId=call_id)).get("call")

    async def calls(self) -> list[Record]:
        """The calls that have not ended. Raises RemoteError."""
        found: list[Record] = (await self.request("status"))["calls"]
        return found

    async def history(self, last: int = 20, since: int | None = None) -> list[Record]:
        """The newest calls, newest first, live ones among them.

        Args:
            last: how many at most, 1 to 1000.
            since: only those that began then or later, ms since the epoch.

        Raises:
            InvalidRequest: a number is out of its range.
            StoreError, RemoteError: nobody can tell.
        """
        found: list[Record] = (await self.request("history", last=last, since=since))["calls"]
        return found

    async def changes(self, since: int = 0, limit: int = 100) -> Changes:
        """What has happened so far, as it was stored.

        Args:
            since: the number of the last change that is known already, or `last` of an earlier
                answer; a negative number looks back so many changes from the newest.
            limit: how many at most, 1 to 1000.

        Raises:
            InvalidRequest: a number is out of its range.
            StoreError, RemoteError: nobody can tell.
        """
        found: Any = await self.request("changes", since=since, limit=limit)
        return found  # type: ignore[no-any-return]  # described by this very type

    async def latency(self, last: int = 200) -> Latency:
        """How long callers waited for answers, and we for callers.

        Args:
            last: how many calls to look at, the newest, 1 to 1000.

        Raises:
            InvalidRequest: the number is out of its range.
            StoreError, RemoteError: nobody can tell.
        """
        measured: Any = await self.request("latency", last=last)
        return measured  # type: ignore[no-any-return]  # described by this very type

    def events(self, call_id: str | None = None) -> Events:
        """Changes as they happen.

        Args:
            call_id: whose alone; None for those of all calls.

        Returns:
            An asynchronous iterator, and a context manager that begins at once: a change between
            making the iterator and its first step would be missed otherwise.
        """
        events = Events(
            self._connection,
            call_id,
            timeout_s=self._timeout_s,
            on_close=self._events.discard,
        )
        self._events.add(events)
        return events

    async def request(self, method: str, /, **params: object) -> dict[str, Any]:
        """Have any method run; `rpc.discover` describes them all.

        Args:
            method: its name; `voicecall.` in front may be left out.
            params: by name, as the method takes them; None is left out.

        Raises:
            VoicecallError: what the server says, or a RemoteError if it says nothing.
        """
        name = method if method.startswith((PREFIX, "rpc.")) else f"{PREFIX}{method}"
        timeout_s = self._call_timeout_s if name in _LASTING else self._timeout_s
        given = {key: value for key, value in params.items() if value is not None}
        return await self._connection.request(name, given, timeout_s)

    @property
    def _connection(self) -> Connection:
        if self._opened is None:
            self._opened = Connection(self.url, self._token, self._verify)
        return self._opened
