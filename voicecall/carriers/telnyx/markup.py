"""What Telnyx is told to do: call commands, as the parameters of REST requests.

Telnyx takes no markup in the answer to a webhook; each instruction is a request of its own. Here
they are made, as pure values; `client` sends them. Parameters have the vendor package's names,
which are the documented ones (`from_` for `from`).

A call's `client_state` comes back with each of its webhooks. It carries what a webhook cannot know
otherwise: our id of the call, who placed it, and whether its media are streamed to us.
"""

from __future__ import annotations

import base64
import math
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from voicecall.call.record import Direction
from voicecall.carriers._pieces import pieces
from voicecall.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.ports import DialRequest

TargetLegs = Literal["self", "opposite", "both"]

MAX_SPEECH_CHARS: Final = 3000
MAX_DIGITS_ON_ANSWER: Final = 64
RING_LIMITS_S: Final = (5, 600)
DURATION_LIMITS_S: Final = (60, 14_400)

_MS_PER_S = 1000

# mp3, the mode that Telnyx assumes, plays whole files only, one a second.
_STREAM: dict[str, Any] = {
    "stream_track": "inbound_track",
    # What the phone's leg negotiated may be a codec we do not speak, such as OPUS.
    "stream_codec": "PCMU",
    "stream_bidirectional_mode": "rtp",
    "stream_bidirectional_codec": "PCMU",
}
# `answer` alone has no such parameter; 8000 is what it assumes.
_STREAM_RATE: dict[str, Any] = {"stream_bidirectional_sampling_rate": 8000}
# Not a parameter of `start_streaming`.
_STREAM_IDLE: dict[str, Any] = {"send_silence_when_idle": True}


@dataclass(frozen=True, slots=True)
class TelnyxSettings:
    """The account and how calls are placed with it.

    Attributes:
        api_key: secret.
        connection_id: of the Call Control application.
        base_url: of the REST API, with its version; None is Telnyx's own.
        webhook_url: where Telnyx reports calls; None is what the application is set to.
        voice: speaks where no media are streamed, as `<Provider>.<Model>.<VoiceId>`.
        language: of that voice and of what callers say, where no media are streamed.
        transcription_engine: understands callers where no media are streamed.
        target_legs: who hears streamed audio; None leaves it to Telnyx.
        from_number: a number of ours, shown to those that calls are handed on to; None is the one
            that the call is to, which for calls we placed is none of ours.
        detect_machines: whether Telnyx listens for answering machines, which costs extra.
        max_duration_s: after which Telnyx ends a call even if we are gone; None is its 4 hours.
    """

    api_key: str = field(repr=False)
    connection_id: str
    base_url: str | None = None
    webhook_url: str | None = None
    voice: str = "AWS.Polly.Joanna-Neural"
    language: str = "en-US"
    transcription_engine: str = "Telnyx"
    target_legs: TargetLegs | None = None
    from_number: str | None = None
    detect_machines: bool = False
    max_duration_s: int | None = None


@dataclass(frozen=True, slots=True)
class ClientState:
    """What a call's webhooks bring back.

    Attributes:
        call_id: our id.
        direction: who placed the call.
        streams: whether its media are streamed to us.
    """

    call_id: str
    direction: Direction
    streams: bool = False

    def encode(self) -> str:
        """The state as Telnyx takes it: base64."""
        return _encoded(
            {
                "callId": self.call_id,
                "direction": self.direction.value,
                "streams": self.streams,
            }
        )

    @classmethod
    def decode(cls, encoded: object) -> ClientState | None:
        """The state that `encode` wrote; None for everything else, such as another program's."""
        match _decoded(encoded):
            case {
                "callId": str(call_id),
                "direction": "inbound" | "outbound" as direction,
                "streams": bool(streams),
            }:
                return cls(call_id, Direction(direction), streams)
            case _:
                return None


@dataclass(frozen=True, slots=True)
class FarEnd:
    """What webhooks of a leg bring back that somebody was handed on to: it is no call of ours.

    Attributes:
        provider_call_id: the call that was handed on.
    """

    provider_call_id: str

    def encode(self) -> str:
        """The state as Telnyx takes it: base64."""
        return _encoded({"farEndOf": self.provider_call_id})

    @classmethod
    def decode(cls, encoded: object) -> FarEnd | None:
        """The state that `encode` wrote; None for everything else."""
        match _decoded(encoded):
            case {"farEndOf": str(provider_call_id)}:
                return cls(provider_call_id)
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Command:
    """One instruction about a call that exists.

    Attributes:
        action: the method of the vendor package's `calls.actions` that sends it.
        parameters: its keyword arguments.
    """

    action: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def dial(settings: TelnyxSettings, request: DialRequest) -> dict[str, Any]:
    """The parameters of the request that places a call.

    Raises:
        InvalidRequest: something is asked for that Telnyx cannot do.
    """
    streams = request.stream_url is not None
    state = ClientState(request.call_id, Direction.OUTBOUND, streams)
    parameters: dict[str, Any] = {
        "connection_id": settings.connection_id,
        "from_": request.from_number,
        "to": request.to,
        "timeout_secs": _within(RING_LIMITS_S, math.ceil(request.ring_timeout_ms / _MS_PER_S)),
        # Otherwise Telnyx rings on by other routes after that time.
        "retry_on_timeout": False,
        "client_state": state.encode(),
        "command_id": request.call_id,
        **_webhook(settings),
    }
    if settings.max_duration_s is not None:
        parameters["time_limit_secs"] = _within(DURATION_LIMITS_S, settings.max_duration_s)
    if settings.detect_machines:
        parameters["answering_machine_detection"] = "detect"
    if request.dtmf_sequence:
        parameters["send_digits_on_answer"] = _digits_on_answer(request)
    if request.stream_url is not None:
        parameters |= _stream(settings, request.stream_url) | _STREAM_RATE | _STREAM_IDLE
    return parameters


def answer(settings: TelnyxSettings, call_id: str, stream_url: str | None) -> Command:
    """Pick up an inbound call, with its media streamed to `stream_url` where there is one."""
    state = ClientState(call_id, Direction.INBOUND, stream_url is not None)
    parameters: dict[str, Any] = {
        "client_state": state.encode(),
        # Repeating the command, after an error that leaves open what happened, is harmless.
        "command_id": f"{call_id}-answer",
        **_webhook(settings),
    }
    if stream_url is not None:
        parameters |= _stream(settings, stream_url) | _STREAM_IDLE
    return Command("answer", parameters)


def stream(settings: TelnyxSettings, state: ClientState, stream_url: str) -> Command:
    """Stream the media of a call that is answered already."""
    parameters = _stream(settings, stream_url) | _STREAM_RATE
    parameters["client_state"] = state.encode()
    # As with `answer`: to the same URL it is the same command.
    parameters["command_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, stream_url))
    return Command("start_streaming", parameters)


def speak(settings: TelnyxSettings, text: str) -> list[Command]:
    """Say `text` after what is being said, in as many pieces as Telnyx needs."""
    return [
        Command(
            "speak",
            {
                "payload": piece,
                # Text is never read as SSML: a caller's words may come back in it.
                "payload_type": "text",
                "voice": settings.voice,
                "language": settings.language,
            },
        )
        for piece in pieces(text, MAX_SPEECH_CHARS)
    ]


def stop_speaking() -> Command:
    """Say nothing of what is queued, and cut what is being said."""
    return Command("stop_playback", {"stop": "all"})


def listen(settings: TelnyxSettings) -> Command:
    """Transcribe what the caller says, until the call ends or this is stopped."""
    engine = settings.transcription_engine
    # Engines know languages without a country, which voices want.
    language = settings.language.partition("-")[0]
    return Command(
        "start_transcription",
        {
            "transcription_engine": engine,
            "transcription_engine_config": {"transcription_engine": engine, "language": language},
            "transcription_tracks": "inbound",
        },
    )


def stop_listening() -> Command:
    """End the transcription."""
    return Command("stop_transcription")


def keys(digits: str) -> Command:
    """Send key tones."""
    return Command("send_dtmf", {"digits": digits})


def transfer(settings: TelnyxSettings, provider_call_id: str, to: str) -> Command:
    """Connect the call with `to`, E.164 or a `sip:` address; when either leaves, both are over."""
    parameters: dict[str, Any] = {
        "to": to,
        # Its leg is reported as a call that somebody places, which would be taken on as ours.
        "target_leg_client_state": FarEnd(provider_call_id).encode(),
        **_webhook(settings),
    }
    if settings.from_number is not None:
        parameters["from_"] = settings.from_number
    return Command("transfer", parameters)


def hang_up() -> Command:
    """End the call."""
    return Command("hangup")


def _encoded(fields: Mapping[str, object]) -> str:
    return base64.b64encode(orjson.dumps(dict(fields))).decode("ascii")


def _decoded(encoded: object) -> object:
    """What was encoded; None for what was not."""
    if not isinstance(encoded, str):
        return None
    try:
        return orjson.loads(base64.b64decode(encoded, validate=True))
    except ValueError:
        return None


def _stream(settings: TelnyxSettings, url: str) -> dict[str, Any]:
    legs = settings.target_legs
    where = {} if legs is None else {"stream_bidirectional_target_legs": legs}
    return {"stream_url": url, **_STREAM, **where}


def _webhook(settings: TelnyxSettings) -> dict[str, Any]:
    if settings.webhook_url is None:
        return {}
    return {"webhook_url": settings.webhook_url, "webhook_url_method": "POST"}


def _digits_on_answer(request: DialRequest) -> str:
    digits = request.dtmf_sequence or ""
    if len(digits) > MAX_DIGITS_ON_ANSWER:
        raise InvalidRequest(
            f"Telnyx sends at most {MAX_DIGITS_ON_ANSWER} keys when a call is answered",
            call_id=request.call_id,
        )
    return digits


def _within(limits: tuple[int, int], value: int) -> int:
    low, high = limits
    return min(max(value, low), high)
