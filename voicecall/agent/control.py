"""What the tool acts through: a client of a running server, or a server in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voicecall.call.record import Mode
    from voicecall.control.services import Calls


class CallControl(Protocol):
    """Calls as the tool uses them; `voicecall.Client` is one.

    Call ids are ours or the carrier's. What goes wrong is raised as a `VoicecallError`.
    """

    async def initiate(self, message: str, to: str | None = None, mode: Mode | None = None) -> str:
        """Place a call; its id."""
        ...

    async def speak(self, call_id: str, message: str, /) -> object:
        """Say something; returns when it was played."""
        ...

    async def ask(self, call_id: str, message: str, /) -> str:
        """Say something and wait for the answer."""
        ...

    async def send_dtmf(self, call_id: str, digits: str, /) -> object:
        """Press keys."""
        ...

    async def transfer(self, call_id: str, to: str, /) -> object:
        """Hand the call on."""
        ...

    async def end(self, call_id: str, /) -> object:
        """Hang up."""
        ...

    async def status(self, call_id: str, /) -> Mapping[str, Any] | None:
        """The call's record in the wire format, None if there is no such call."""
        ...

    async def calls(self) -> Sequence[Mapping[str, Any]]:
        """The records of the calls that have not ended."""
        ...


class Holder(Protocol):
    """Whoever has calls; `voicecall.Server` does."""

    @property
    def manager(self) -> Calls:
        """Its calls."""
        ...


class InProcess:
    """The calls of a server in this process, without a detour over the network.

    To be used in the server's event loop, while it runs.

    Args:
        server: a started `voicecall.Server`.
    """

    def __init__(self, server: Holder) -> None:
        self._calls = server.manager

    async def initiate(self, message: str, to: str | None = None, mode: Mode | None = None) -> str:
        """Place a call; its id."""
        return (await self._calls.initiate(message, to=to, mode=mode)).call_id

    async def speak(self, call_id: str, message: str) -> None:
        """Say something; returns when it was played."""
        await self._calls.speak(call_id, message)

    async def ask(self, call_id: str, message: str) -> str:
        """Say something and wait for the answer."""
        return await self._calls.ask(call_id, message)

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        """Press keys."""
        await self._calls.send_dtmf(call_id, digits)

    async def transfer(self, call_id: str, to: str) -> None:
        """Hand the call on."""
        await self._calls.transfer(call_id, to)

    async def end(self, call_id: str) -> None:
        """Hang up."""
        await self._calls.end(call_id)

    async def status(self, call_id: str) -> Mapping[str, Any] | None:
        """The call's record in the wire format, None if there is no such call."""
        record = await self._calls.lookup(call_id)
        return None if record is None else record.to_json()

    async def calls(self) -> Sequence[Mapping[str, Any]]:
        """The records of the calls that have not ended."""
        return [record.to_json() for record in self._calls.live()]
