"""Every error voicecall raises, in one tree.

::

    VoicecallError
    ├── ConfigError              the configuration is wrong; says which key
    ├── DependencyMissing        an optional package is not installed; says which extra
    ├── ServeError               the server cannot start (busy port, unreadable certificate)
    ├── CodecError (ValueError)  bytes that are not what the codec was told they are
    ├── CallError                a request about a call that cannot be met
    │   ├── InvalidRequest       a missing or malformed argument
    │   ├── UnknownCall          no call has that id
    │   ├── NotConnected         the call is not answered, or has no audio path yet
    │   ├── CallHasEnded         the call is over
    │   ├── TurnPending          somebody already waits for this call's next transcript
    │   ├── TranscriptTimeout    the caller said nothing in time
    │   ├── CapacityReached      the limit on calls is reached, or the server is draining
    │   └── IllegalTransition    our own bug: a move the call's state machine forbids
    ├── RemoteError              somebody else's service failed; `retryable`, `status`
    │   ├── CarrierError         the carrier refused or could not be reached
    │   └── SpeechError          an STT, TTS or language model failed
    ├── VerificationError        a request that does not prove where it comes from
    └── StoreError               a call record could not be read or written

`CallError` and `CarrierError` carry a stable `code` that travels to RPC clients.
"""

from __future__ import annotations

from typing import ClassVar


class VoicecallError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigError(VoicecallError):
    """The configuration cannot be used.

    Attributes:
        problems: one sentence for each problem, each naming the full path of its key.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DependencyMissing(VoicecallError):
    """An optional package is not installed; the message names the extra to install."""


class ServeError(VoicecallError):
    """The server cannot start or stop as asked."""


class CodecError(VoicecallError, ValueError):
    """Audio or message bytes are not what they were declared to be."""


class CallError(VoicecallError):
    """A request about a call cannot be met.

    Attributes:
        code: stable, machine-readable name of the reason.
        call_id: the call concerned, where known.
    """

    code: ClassVar[str] = "call_error"

    def __init__(self, message: str, *, call_id: str | None = None) -> None:
        super().__init__(message)
        self.call_id = call_id


class InvalidRequest(CallError):
    """An argument is missing or malformed."""

    code = "invalid_request"


class UnknownCall(CallError):
    """No call has the given id."""

    code = "unknown_call"


class NotConnected(CallError):
    """The call is not answered yet, or nothing can be played on it yet."""

    code = "not_connected"


class CallHasEnded(CallError):
    """The call is already over."""

    code = "call_ended"


class TurnPending(CallError):
    """Another request already waits for this call's next transcript."""

    code = "turn_pending"


class TranscriptTimeout(CallError):
    """The caller said nothing within `transcriptTimeoutMs`."""

    code = "transcript_timeout"


class CapacityReached(CallError):
    """No more calls are taken: the configured limit is reached or the server is draining."""

    code = "capacity_reached"


class IllegalTransition(CallError):
    """A move that only a bug of ours can ask for."""

    code = "illegal_transition"


class RemoteError(VoicecallError):
    """A service we depend on failed.

    Attributes:
        retryable: whether the same request may succeed later.
        status: the service's own status or error code, where it gave one.
    """

    def __init__(
        self, message: str, *, retryable: bool = False, status: str | int | None = None
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.status = status


class CarrierError(RemoteError):
    """The carrier refused a request or could not be reached."""

    @property
    def code(self) -> str:
        """`carrier_refused` when the carrier answered, `carrier_unreachable` when it did not."""
        return "carrier_unreachable" if self.status is None else "carrier_refused"


class SpeechError(RemoteError):
    """Speech recognition, synthesis or the language model failed."""


class VerificationError(VoicecallError):
    """A request does not prove that it comes from the carrier."""


class StoreError(VoicecallError):
    """A call record could not be read or written."""
