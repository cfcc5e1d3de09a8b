"""How carriers talk on a media socket: what each sends, and what it accepts.

Written from the carriers' documentation and sharing nothing with the server's own reading of it, so
that a mistake made on one side is seen by the other. The line behind the socket is always mu-law at
8 kHz; a wire converts to what its carrier was asked to stream.

A wire is one stream. It reads no socket; its times are an argument, but for those that the carrier
writes into messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self, TypeAlias

from voicecall.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.ports import AudioFormat

Fault: TypeAlias = Literal["binary", "malformed", "audio"]


class ProtocolBroken(CodecError):
    """The server sent what the carrier would complain about.

    Attributes:
        fault: `binary` for a binary message, `malformed` for missing, extra or wrong fields,
            `audio` for a payload that cannot be played.
    """

    def __init__(self, message: str, fault: Fault = "malformed") -> None:
        super().__init__(message)
        self.fault: Fault = fault


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """Whose stream it is.

    Attributes:
        call_id: the carrier's id of the call.
        account_id: the carrier's id of the customer.
        stream_id: the carrier's id of this stream; the wire makes a fresh one when empty.
        parameters: custom parameters the customer attached.
    """

    call_id: str
    account_id: str
    stream_id: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlayAudio:
    """The server wants audio played, here already the line's mu-law."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class PlaceMark:
    """The server wants to hear when everything before has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """The server wants everything that waits thrown away."""


@dataclass(frozen=True, slots=True)
class PressKeys:
    """The server wants keys pressed for it."""

    digits: str


ServerMessage: TypeAlias = PlayAudio | PlaceMark | ClearAudio | PressKeys


class Wire(Protocol):
    """One stream in one carrier's dialect.

    Whatever makes messages answers those to send now, in order: none where the carrier has no such
    message, or holds it back.

    Attributes:
        call_id: the carrier's id of the call.
        stream_id: the carrier's id of this stream.
        audio: how the carrier's audio is coded on the wire.
        marks_after_clear: whether marks flushed by a clear come back.
        codes: the carrier's error codes.
    """

    call_id: str
    stream_id: str
    audio: AudioFormat
    marks_after_clear: bool
    codes: ClassVar[Mapping[Fault, int]]

    def opening(self) -> list[bytes]:
        """What is said before any audio."""
        ...

    def media(self, frame: bytes, timestamp_ms: int) -> list[bytes]:
        """The caller's audio.

        Args:
            frame: 20 ms of mu-law at 8 kHz.
            timestamp_ms: its place, counted from the start of the stream.
        """
        ...

    def dtmf(self, digit: str) -> list[bytes]:
        """A key the caller pressed."""
        ...

    def mark(self, name: str) -> list[bytes]:
        """Everything before the mark `name` was played, or flushed where the carrier says so."""
        ...

    def cleared(self) -> list[bytes]:
        """What waited was thrown away."""
        ...

    def stop(self) -> list[bytes]:
        """The stream is over."""
        ...

    def complaint(self, broken: ProtocolBroken) -> list[bytes]:
        """What the carrier says about a message that `parse` refused."""
        ...

    def parse(self, message: bytes, *, binary: bool = False) -> ServerMessage:
        """Read a message from the server as strictly as the carrier does.

        Args:
            message: the whole message.
            binary: whether it came as a binary one.

        Raises:
            ProtocolBroken: something is missing, extra or wrong; says what.
        """
        ...

    def again(self) -> Self:
        """Another stream of the same call, with an id of its own."""
        ...
